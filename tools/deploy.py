"""Run an exported file on images, without torch.

    mmvitlin deploy student.onnx street.png more_images/ --out-dir found

The same as ``python -m mmvitlin.deploy``.
"""
from mmvitlin.deploy.__main__ import main

if __name__ == '__main__':
    main()
