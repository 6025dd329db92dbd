"""Packaging of mmvitlin: ranges here, exact versions in requirements/lock.txt."""
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = [p.relative_to(ROOT) for folder in ('configs', 'tools')
           for p in sorted((ROOT / folder).rglob('*')) if p.suffix in ('.py', '.sh', '.yml')]
SHIPPED.append(Path('model-index.yml'))
VERSION = re.search(r"__version__ = '(.+)'",
                    (ROOT / 'mmvitlin' / '__init__.py').read_text()).group(1)


class BuildWithConfigs(build_py):
    """Puts configs and tools into the package as ``.mim``, where the mm libraries look."""

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            return  # a checkout has them beside the package
        shutil.rmtree(Path(self.build_lib) / 'mmvitlin' / '.mim', ignore_errors=True)  # older ones
        for path in SHIPPED:
            target = Path(self.build_lib) / 'mmvitlin' / '.mim' / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, target)


setup(
    name='mmvitlin',
    version=VERSION,
    description='Linear-time vision students distilled from ViTs, for high-resolution '
    'segmentation and detection on OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmvitlin', 'mmvitlin.*']),
    cmdclass=dict(build_py=BuildWithConfigs),
    install_requires=[
        'torch>=2.4',
        'torchvision>=0.19',
        'timm>=1.0.15',
        'numpy>=1.24',
        'opencv-python-headless>=4.8',
        'pillow>=10',
        'safetensors>=0.4',
        'rich>=13',
        'matplotlib>=3.7',
        'psutil>=5.9',
        'scipy>=1.10',
        'filelock>=3.12',
    ],
    extras_require={
        # the maintained OpenMMLab distributions; they own the import names mmengine, mmcv, …
        'onedl': [
            'onedl-mmengine>=0.10.12',
            'onedl-mmcv>=2.3.6',
            'onedl-mmsegmentation>=1.4.2',
            'onedl-mmpretrain>=1.3.6',
        ],
        # detection with the maintained distributions; needs mmcv's compiled ops
        'onedl-det': ['onedl-mmdetection>=3.5.1'],
        # the original distributions; the same import names, so never beside the above
        'openmmlab': [
            'mmengine>=0.10.4,<1.0',
            'mmcv>=2.0.0rc4,<2.3',
            'mmsegmentation>=1.2,<2.0',
            'mmpretrain>=1.2,<2.0',
            'mmdet>=3.3,<4.0',
            'ftfy',
            'regex',
        ],
        # accelerators; transformers 5 breaks mmpretrain, mamba-ssm asks for transformers
        'cuda': ['mamba-ssm>=2.2.5', 'fla-core>=0.4', 'transformers<5'],
        # writing ONNX; the file itself needs onnxruntime alone
        'export': ['onnx>=1.16', 'onnxscript>=0.2', 'onnxruntime>=1.18'],
        'app': ['gradio>=4.40'],
        'robustness': ['imagecorruptions-imaug>=1.1'],
        # sharding by DeepSpeed (tried: 0.17.6); by FSDP needs nothing
        'deepspeed': ['deepspeed>=0.14'],
        'tracking': ['tensorboard>=2.16', 'wandb>=0.17', 'mlflow>=2.14'],
        'dev': ['pytest>=8', 'pytest-xdist>=3.6', 'hypothesis>=6.100', 'ruff>=0.6'],
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
