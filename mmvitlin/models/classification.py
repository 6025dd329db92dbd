"""Batches of classification; empty where mmpretrain is not installed."""
from __future__ import annotations

from importlib.util import find_spec

from mmvitlin.compat.mmpretrain import part
from mmvitlin.compat.quiet import quiet_imports
from mmvitlin.models.preprocessor import WithoutWaiting
from mmvitlin.registry import MODELS

__all__ = []

if find_spec('mmpretrain') is not None:
    with quiet_imports():
        _ClsDataPreprocessor = part('models').ClsDataPreprocessor
    __all__ += ['ClsPreprocessor']

    @MODELS.register_module()
    class ClsPreprocessor(_ClsDataPreprocessor):
        """mmpretrain's ``ClsDataPreprocessor`` that does not make the host wait for the device.

        mmpretrain's waits in every step for the copies of the images and of their labels, and for
        the permutation by which Mixup and CutMix mix a batch. Values are the same.

        Args:
            **kwargs: As mmpretrain's.
        """

        def forward(self, data: dict, training: bool = False) -> dict:
            """See mmpretrain."""
            with WithoutWaiting(self.device):
                return super().forward(data, training)
