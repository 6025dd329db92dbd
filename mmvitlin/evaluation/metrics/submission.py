"""Predictions as the test servers of Cityscapes and ADE20K take them."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from PIL import Image

from mmvitlin.datasets.streets.classes import LABEL_IDS
from mmvitlin.registry import METRICS
from mmvitlin.utils.errors import ConfigError


@dataclass(frozen=True)
class Server:
    """Format of a test server: one PNG of one channel for each test image.

    Attributes:
        title: Name of the data set.
        dataset: mmseg's class of it, whose names of classes count.
        ids: Value that the server takes for each of them.
        image: Pattern of the test images' names without suffix; its first group is kept.
        example: Such a name.
        file: Name of the file of an image, of that group.
        count: Test images; None where it is not checked.
    """
    title: str
    dataset: str
    ids: tuple[int, ...]
    image: str
    example: str
    file: str
    count: int | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of ``ids``."""
        from mmseg import datasets
        return tuple(n.strip() for n in getattr(datasets, self.dataset).METAINFO['classes'])

    def file_of(self, image: str | Path) -> str:
        """Name of the file that belongs to an image.

        Raises:
            ConfigError: no image of this test set.
        """
        match = re.fullmatch(self.image, Path(image).stem)
        if match is None:
            raise ConfigError(f"{image} is no image of {self.title}'s test set, whose names are as "
                              f'{self.example}; give their folder with --cfg-options '
                              'test_dataloader.dataset.data_prefix.img_path=…')
        return self.file.format(match[1])

    def ids_of(self, classes: Sequence[str]) -> np.ndarray:
        """The server's value of each class of a network, by name; uint8.

        Raises:
            ConfigError: the names are not those of the data set.
        """
        names = [str(name).strip() for name in classes]
        known = dict(zip(self.classes, self.ids, strict=True))
        unknown = [n for n in dict.fromkeys(names) if n not in known]
        missing = [n for n in known if n not in names]
        if unknown or missing or len(names) != len(known):
            differences = [f'{len(names)} classes, {self.title} has {len(known)}']
            differences += [f"unknown to the server: {', '.join(unknown[:5])}"] if unknown else []
            differences += [f"missing here: {', '.join(missing[:5])}"] if missing else []
            raise ConfigError(f'test_dataloader.dataset has {"; ".join(differences)}; the server '
                              f'takes only the classes of mmseg.{self.dataset}')
        return np.array([known[n] for n in names], np.uint8)


SERVERS = {
    'cityscapes': Server('Cityscapes', 'CityscapesDataset', LABEL_IDS,
                         r'([\w-]+_\d{6}_\d{6})_leftImg8bit',
                         'berlin_000000_000019_leftImg8bit.png', '{}_pred_labelIds.png', 1525),
    'ade20k': Server('ADE20K', 'ADE20KDataset', tuple(range(1, 151)), r'(ADE_test_\d{8})',
                     'ADE_test_00000001.jpg', '{}.png', None),
}


@METRICS.register_module()
class SubmissionMetric(BaseMetric):
    """Write a file for each test image; no labels are needed, no score is given.

    Cityscapes: the 19 classes as label ids (7 to 33), ``CITY_SEQUENCE_FRAME_pred_labelIds.png``.
    ADE20K: 1 to 150, ``ADE_test_NUMBER.png``. Classes are matched by name.

    Args:
        server: 'cityscapes' or 'ade20k'.
        folder: To write to.
        **kwargs: As mmengine's.

    Raises:
        ConfigError: an unknown server; while running, classes or an image that are not the
            server's, a prediction of another size than its image, or two images of one name.
    """
    default_prefix = 'submission'

    def __init__(self, server: str, folder: str, **kwargs):
        super().__init__(**kwargs)
        if server not in SERVERS:
            raise ConfigError(f"no test server is called '{server}'; take one of "
                              f'{", ".join(SERVERS)}')
        self.server, self.folder = SERVERS[server], Path(folder)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Write the files of a batch."""
        ids = self.server.ids_of(self.dataset_meta['classes'])
        self.folder.mkdir(parents=True, exist_ok=True)
        for sample in data_samples:
            labels = sample['pred_sem_seg']['data'][0].cpu().numpy()
            if labels.shape != tuple(sample['ori_shape'][:2]):
                raise ConfigError(f"{sample['img_path']} has {sample['ori_shape'][:2]} pixels, its "
                                  f'prediction {labels.shape}; the server needs them equal')
            name = self.server.file_of(sample['img_path'])
            Image.fromarray(ids[labels]).save(self.folder / name)
            self.results.append((name, str(sample['img_path'])))

    def compute_metrics(self, results: list) -> dict[str, int]:
        """Count the files."""
        images = dict(results)
        for name, path in results:
            if images[name] != path:
                raise ConfigError(f'{path} and {images[name]} are both to be {name}; leave one out')
        count, expected = len(images), self.server.count
        print_log(f"{count} files for {self.server.title}'s test server are in {self.folder}",
                  logger='current')
        if expected and count != expected:
            print_log(f'the server takes all {expected} test images at once, and these are {count}',
                      logger='current', level=30)
        return dict(files=count)
