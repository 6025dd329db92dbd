"""Backends for a run's curves."""
from __future__ import annotations

import os

from mmengine.visualization import MLflowVisBackend as MMEngineMLflowVisBackend

from mmvitlin.registry import VISBACKENDS


@VISBACKENDS.register_module()
class MLflowVisBackend(MMEngineMLflowVisBackend):
    """mmengine's MLflow backend, which MLflow 3 lets write into the run's folder.

    MLflow 3 refuses folders by default, and mmengine sends it to one unless ``tracking_uri``
    says otherwise. A value of the environment variable MLFLOW_ALLOW_FILE_STORE that is set already
    is kept.

    Args:
        **kwargs: As mmengine's.
    """

    def __init__(self, save_dir: str, **kwargs):
        if kwargs.get('tracking_uri') is None:
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        super().__init__(save_dir, **kwargs)
