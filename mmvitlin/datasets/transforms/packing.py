"""The last step of a pipeline: the form in which a sample leaves the data set."""
from __future__ import annotations

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement

from mmvitlin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """The image and its path, for training that reads no labels.

    With ``collate_fn=dict(type='default_collate')`` the images of a batch are then one tensor; of
    the data samples only the path is left, which error messages name.
    """

    def transform(self, results: dict) -> dict:
        """'img' (H, W, 3), uint8, to 'inputs' (3, H, W), uint8, and 'data_samples'."""
        image = np.ascontiguousarray(results['img'])
        planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
        cv2.split(image, list(planes))
        sample = BaseDataElement(metainfo=dict(img_path=results.get('img_path')))
        return dict(inputs=torch.from_numpy(planes), data_samples=sample)
