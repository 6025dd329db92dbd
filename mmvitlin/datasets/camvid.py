"""CamVid in the SegNet split."""
from pathlib import Path

from mmseg.datasets import BaseSegDataset

from mmvitlin.registry import DATASETS
from mmvitlin.utils.errors import ConfigError


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid road scenes, 11 classes, 367/101/233 frames of 480×360.

    Layout: ``images/{train,val,test}/*.jpg`` (or ``.png``, as SegNet has them) and
    ``labels/{train,val,test}/*.png`` with class numbers in the order of ``METAINFO`` and 11 for
    void, which ``LoadSegLabels(void_labels=[11])`` turns into the ignored label.

    Source: Brostow et al. 2008; split and classes of SegNet (arXiv 1511.00561).
    """
    METAINFO = dict(
        classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign symbol', 'fence',
                 'car', 'pedestrian', 'bicyclist'),
        palette=[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
                 [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
                 [0, 128, 192]])

    def __init__(self, img_suffix: str | None = None, seg_map_suffix: str = '.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Images and labels; without ``img_suffix`` the suffix is that of the images in the folder.

        Raises:
            ConfigError: they have several.
        """
        if self.img_suffix is None:
            folder = Path(self.data_prefix['img_path'])
            found = sorted({path.suffix for path in folder.glob('*')
                            if path.suffix.lower() in ('.png', '.jpg', '.jpeg')})
            if len(found) > 1:
                raise ConfigError(f'{folder} holds images that end with {" and ".join(found)}; '
                                  'give the data set img_suffix, or make them one')
            self.img_suffix = found[0] if found else '.jpg'
        return super().load_data_list()
