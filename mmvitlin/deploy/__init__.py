"""Running exported files, with NumPy, Pillow and one runtime: nothing here imports torch.

    from mmvitlin.deploy import ExportedModel
    model = ExportedModel('student.onnx')
    model('street.png').overlay().save('street_overlay.png')
"""
from mmvitlin.deploy.model import ExportedModel, Prediction
from mmvitlin.deploy.runtimes import RUNTIMES, Runtime, open_file

__all__ = ['ExportedModel', 'Prediction', 'RUNTIMES', 'Runtime', 'open_file']
