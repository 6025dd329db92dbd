"""Image corruptions, for measuring robustness."""
from __future__ import annotations

import inspect

import numpy as np
from mmcv.transforms import BaseTransform

from mmvitlin.datasets.samplers.seeding import mix, set_seed
from mmvitlin.registry import TRANSFORMS
from mmvitlin.utils.errors import ConfigError


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """One of the usual image corruptions, as the library ``imagecorruptions`` draws it.

    The noise follows from the corruption, its severity and the file's name, so that every network
    is shown the same pictures.

    Args:
        corruption: Name, such as 'gaussian_noise', 'motion_blur' or 'fog'.
        severity: 1 to 5.

    Raises:
        ConfigError: an unknown name or severity, or the library is not installed.

    Source: Hendrycks and Dietterich (arXiv 1903.12261).
    """

    def __init__(self, corruption: str, severity: int):
        library = _library()
        if corruption not in corruption_names('all'):
            raise ConfigError(f"unknown corruption '{corruption}'; choose from "
                              f"{corruption_names('all')}")
        if severity not in range(1, 6):
            raise ConfigError(f'severity must be 1 to 5, got {severity}')
        self.corrupt, self.corruption, self.severity = library.corrupt, corruption, severity
        draw = library.corruption_dict[corruption]  # some have a generator of their own to seed
        self.takes_seed = 'seed' in inspect.signature(draw).parameters

    def transform(self, results: dict) -> dict:
        """Change 'img' (H, W, 3), uint8, BGR."""
        name = str(results['img_path']).rsplit('/', 1)[-1]
        seed = mix(self.severity, *self.corruption.encode(), *name.encode())
        set_seed(seed)
        image = np.ascontiguousarray(results['img'][..., ::-1])
        height, width = image.shape[:2]
        if min(height, width) < 32:  # the library refuses smaller ones
            image = np.pad(image, ((0, max(32 - height, 0)), (0, max(32 - width, 0)), (0, 0)),
                           mode='edge')
        changed = self.corrupt(image, corruption_name=self.corruption, severity=self.severity,
                               **(dict(seed=seed % 2**32) if self.takes_seed else {}))
        results['img'] = np.ascontiguousarray(changed[:height, :width, ::-1])
        return results


@TRANSFORMS.register_module()
class CentreShare(BaseTransform):
    """Cut the middle out of the image and its label map: the same pixels with less around them.

    Args:
        share: Of each side, in (0, 1].

    Raises:
        ConfigError: another share.
    """

    def __init__(self, share: float):
        if not 0 < share <= 1:
            raise ConfigError(f'share must be above 0 and at most 1, got {share}')
        self.share = share

    def transform(self, results: dict) -> dict:
        """Change 'img' and every map of 'seg_fields', each by its own size."""
        for key in ('img', *results.get('seg_fields', ())):
            size = results[key].shape[:2]
            results[key] = np.ascontiguousarray(results[key][middle(*size, self.share)])
            if key == 'img':
                results['img_shape'] = results[key].shape[:2]
            results['ori_shape'] = results[key].shape[:2]  # predictions at the labels' size
        return results


def middle(height: int, width: int, share: float) -> tuple[slice, slice]:
    """Where the middle of an image lies that has this share of each side."""
    h, w = (max(round(share * n), 1) for n in (height, width))
    top, left = (height - h) // 2, (width - w) // 2
    return slice(top, top + h), slice(left, left + w)


def corruption_names(which: str = 'common') -> list[str]:
    """The 15 'common' corruptions, 'validation' (4 more), or 'all'."""
    return list(_library().get_corruption_names(which))


def _library():
    try:
        import imagecorruptions
    except ImportError as error:
        raise ConfigError('corruptions need the library imagecorruptions: '
                          "pip install 'mmvitlin[robustness]'") from error
    return imagecorruptions
