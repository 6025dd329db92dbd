"""Base of the inferencers: reading images, checking memory, batches and results."""
from __future__ import annotations

import logging
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmvitlin.apis.data_sets import data_set_of, names_and_colours, pipelines
from mmvitlin.apis.memory import MemoryLaw, fit, free_mebibytes, measure, probe_sides
from mmvitlin.apis.sources import Source, list_inputs, rgb_of, size_of_file, upright
from mmvitlin.datasets.transforms.decoding import in_grey
from mmvitlin.datasets.transforms.loading import LoadImage
from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.rules import check, check_whole
from mmvitlin.engine.runner.config import config_of_run, load_config
from mmvitlin.engine.runner.launch import without_initial_weights
from mmvitlin.utils.device import usable_device, warn_if_slow
from mmvitlin.utils.errors import ConfigError, in_words
from mmvitlin.utils.outputs import save_png

_LARGE = 4 * 2**20  # pixels from which memory is checked first
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass
class Result:
    """Result of one image.

    Attributes:
        name: File name without suffix, relative to the folder that was given; longer where two
            inputs would have the same.
        image: (H, W, 3) uint8 RGB as the network's pipeline read it; None where ``error`` is set.
        error: Why there is no result.
        classes: Names of the classes.
        palette: (C, 3) colours, RGB.
        turned: How the file's pixels were turned, as its EXIF orientation says, before the network
            saw them; '' for not at all. Results, and the files written, fit the image as viewers
            show it, and not the pixels as they are stored (for that the config's ``LoadImage``
            takes ``color_type='color_ignore_orientation'``).
        KINDS: What can be saved, with the suffix of its files; the first two are by default.
    """
    KINDS: ClassVar[dict[str, str]] = {}
    name: str
    image: np.ndarray | None = None
    error: Exception | None = None
    classes: Sequence[str] = ()
    palette: np.ndarray | None = None
    turned: str = ''

    def save(self, folder: str | Path, what: Sequence[str] | None = None) -> list[Path]:
        """Write ``<folder>/<what>/<name>`` with the suffix of each kind.

        Raises:
            ConfigError: something unknown, or what was not asked for.
            Exception: ``error`` itself, where there is no result.
        """
        if self.error is not None:
            raise self.error
        written = []
        for kind in what or list(self.KINDS)[:2]:
            if kind not in self.KINDS:
                raise ConfigError(f"cannot save '{kind}'; choose from {', '.join(self.KINDS)}")
            path = Path(folder) / kind / f'{self.name}{self.KINDS[kind]}'
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(kind, path)
            written.append(path)
        return written

    def _write(self, kind: str, path: Path) -> None:
        """Write one kind."""
        raise NotImplementedError

    def _save_png(self, pixels: np.ndarray, path: Path) -> None:
        """Write pixels; where the image's were turned, a text in the file says so."""
        notes = PngInfo()
        if self.turned:
            notes.add_text('Raster', f'as viewers show the image ({self.turned} by its EXIF '
                           'orientation), not as its pixels are stored')
        save_png(Image.fromarray(pixels), path, pnginfo=notes)


class Inferencer(metaclass=ABCMeta):
    """Reads inputs and runs a trained network on them; one that fails does not stop the others.

    Subclasses define the type of a result (``result``), how the network is built, and how an output
    becomes a result.

    Args:
        config: Config file of the model.
        checkpoint: What training with that config wrote.
        device: 'cpu', 'cuda', 'cuda:1' …; None for a GPU where there is one.
        precision: 'fp32', 'bf16' or 'fp16' (autocast).
        scale: Size the network sees: None as the config's test pipeline says, 'original', a
            factor on the original size, or (width, height) to fit into.
        cfg_options: Changes to the config, as ``--cfg-options``.
        check_memory: Before the first image of some megapixels, measure what the network needs
            (with blank ones), and refuse images that memory will not hold.

    Raises:
        ConfigError: no such config, one without a single test data set or with classes in another
            order than the checkpoint's (see :mod:`mmvitlin.engine.rules`), an unknown precision
            or scale, or a device that is not there.
        CheckpointError: a checkpoint of another model.
    """
    result: type[Result]
    default_scope: str
    other_remedy: str = ''
    measures_results: bool = False  # blank images give results as large as others
    kept_size: tuple[dict, ...] = ()  # steps instead of a resize to the original size

    def __init__(self,
                 config: str,
                 checkpoint: str,
                 device: str | None = None,
                 precision: str = 'fp32',
                 scale: str | float | tuple[int, int] | None = None,
                 cfg_options: dict | None = None,
                 check_memory: bool = True):
        if precision not in PRECISIONS:
            raise ConfigError(f"precision must be one of {sorted(PRECISIONS)}, got '{precision}'")
        self.device = usable_device(device)
        cfg = self.cfg = load_config(config, cfg_options)
        dataset = data_set_of(cfg, config, self.default_scope)
        check(cfg, 'infer', checkpoint=checkpoint)
        without_initial_weights(cfg)
        init_default_scope(cfg.get('default_scope', self.default_scope))
        self.model = self._build(cfg)
        self.model.load_state_dict(check_whole(self.model, checkpoint), strict=False)
        self.model.to(self.device).eval()
        self.dtype = PRECISIONS[precision]
        warn_if_slow(f'precision={precision}', self.dtype, self.device)
        self.load, self.prepare = pipelines(dataset.pipeline, scale, self.kept_size)
        self.classes, self.palette = names_and_colours(dataset, self.num_classes)
        self._unscaled = pipelines(dataset.pipeline, 'original', self.kept_size)[1]
        self._check_memory = check_memory
        self._law: MemoryLaw | None = None
        if isinstance(reader := self.load.transforms[0], LoadImage):
            reader.max_pixels = None  # memory decides, see _look_at_file

    def _build(self, cfg: Config) -> torch.nn.Module:
        """The network of a config."""
        return MODELS.build(cfg.model)

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Classes of the network, where the data set does not name them."""

    @abstractmethod
    def _fill(self, result: Result, output) -> None:
        """Put an output of the network, a data sample, into a result."""

    def _bytes_of_results(self, pixels: int) -> int:
        """What a result takes beside the network's own work, for that many original pixels."""
        return 0

    @classmethod
    def of_run(cls, work_dir: str | Path, **kwargs) -> Inferencer:
        """From a work directory: the newest config and the last checkpoint that lie there.

        Raises:
            ConfigError: one of them does not.
        """
        return cls(str(config_of_run(work_dir)), str(last_checkpoint(work_dir)), **kwargs)

    def __call__(self, inputs: Source | Iterable[Source], batch_size: int = 1
                 ) -> list[Result]:
        """All results at once; :meth:`stream` holds one batch at a time."""
        return list(self.stream(inputs, batch_size))

    def stream(self, inputs: Source | Iterable[Source], batch_size: int = 1
               ) -> Iterator[Result]:
        """Results in the order of the inputs.

        Images of a batch that have one size are run together, as far as memory allows. An image
        that cannot be read, or does not fit into memory, gives a result with ``error``; the others
        are processed.

        Args:
            inputs: See :func:`mmvitlin.apis.sources.list_inputs`.
            batch_size: Images in a batch, at least 1.
        """
        batch: list[tuple[Result, dict | None]] = []
        for name, source in list_inputs(inputs):
            batch.append(self._read(name, source))
            if len(batch) >= batch_size:
                yield from self._run(batch)
                batch = []
        if batch:
            yield from self._run(batch)

    def _read(self, name: str, source: Path | np.ndarray | Image.Image | Exception
              ) -> tuple[Result, dict | None]:
        result = self.result(name, classes=self.classes, palette=self.palette)
        try:
            if isinstance(source, Exception):
                raise source
            if isinstance(source, Image.Image):
                source, result.turned = upright(source, self._reads('ignores_orientation', False))
            if isinstance(source, np.ndarray):
                image = self._as_read(source)
                results = dict(img=image, img_path=name, img_shape=image.shape[:2],
                               ori_shape=image.shape[:2])
            else:
                self._look_at_file(source)
                results = self.load(dict(img_path=str(source)))
            result.image = rgb_of(results['img'])
            if not results.get('ignores_orientation', True):
                result.turned = results['image_header'].turn
            data = self.prepare(dict(results, reduce_zero_label=False, seg_fields=[]))
            self._look_at_memory(name, data)
            return result, data
        except Exception as error:  # of OpenCV, Pillow, a transform: one image, not the others
            result.error, result.image = error, None
            return result, None

    def _reads(self, option: str, default):
        """An option of the step that reads images."""
        return getattr(self.load.transforms[0], option, default)

    def _as_read(self, image: np.ndarray) -> np.ndarray:
        """An RGB image as the pipeline's first step would give it."""
        image = np.ascontiguousarray(image[..., ::-1])
        return in_grey(image) if self._reads('color_type', '').startswith('grayscale') else image

    def read(self, source: str | Path | np.ndarray | Image.Image) -> tuple[np.ndarray, dict]:
        """The image, RGB, and what :meth:`predict` takes.

        Raises:
            UnreadableFileError: it cannot be decoded.
        """
        if isinstance(source, (np.ndarray, Image.Image)):
            result, data = self._read('image', source)
        else:
            result, data = self._read(Path(source).stem, Path(source))
        if result.error is not None:
            raise result.error
        return result.image, data

    def _run(self, batch: list[tuple[Result, dict | None]]) -> Iterator[Result]:
        groups: dict[tuple, list[int]] = {}
        for n, (_, data) in enumerate(batch):
            if data is not None:
                groups.setdefault(tuple(data['inputs'].shape), []).append(n)
        waiting = list(groups.values())
        while waiting:
            group = waiting.pop()
            if len(group) > 1 and self._needed([batch[n][1] for n in group]) > \
                    free_mebibytes(self.device):
                half = len(group) // 2
                waiting += [group[half:], group[:half]]
                continue
            try:
                outputs = self.outputs([batch[n][1] for n in group])
            except Exception as error:  # too small for a patch, or too large for the device
                if len(group) > 1:  # together; each by itself may do
                    waiting += [[n] for n in group]
                else:
                    batch[group[0]][0].error = error
                continue
            for n, output in zip(group, outputs, strict=True):
                self._fill(batch[n][0], output)
        for result, _ in batch:
            yield result

    @torch.inference_mode()
    def outputs(self, data: list[dict]) -> list:
        """Data samples of images that were read and have one size."""
        with torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext():
            return self.model.test_step(pseudo_collate(data))

    def _look_at_file(self, path: Path) -> None:
        """Refuse a file whose pixels alone do not fit into memory, before it is decoded.

        Raises:
            ConfigError: says how much it needs and how much there is.
        """
        if not self._check_memory or (size := size_of_file(path)) is None:
            return
        height, width = size
        # decoded, as RGB and BGR, and the network's own copy
        self._refuse_beyond(path.name, (height, width), 4 * 3 * height * width / 2**20,
                            torch.device('cpu'))

    def _look_at_memory(self, name: str, data: dict) -> None:
        """Refuse an image that does not fit into memory, before the process is killed for it.

        Raises:
            ConfigError: says how much it needs and how much there is.
        """
        self._refuse_beyond(name, data['inputs'].shape[-2:], self._needed([data]), self.device)

    def _needed(self, data: list[dict]) -> float:
        """MiB that images of one size take together; 0 of a few pixels and where it is unknown."""
        pixels, count = int(np.prod(data[0]['inputs'].shape[-2:])), len(data)
        originals = [int(np.prod(d['data_samples'].metainfo['ori_shape'][:2])) for d in data]
        if not self._check_memory or max(count * pixels, sum(originals)) < _LARGE:
            return 0.
        if self._law is None:
            sides = probe_sides(getattr(self.model, 'test_cfg', None) or {})
            points, reason = ([], []), 'the smallest image does not fit'
            try:
                points = measure(self._run_blank, self.device, sides)
            except Exception as error:  # of the network or the kernel, which images may not meet
                reason = in_words(error)
            if not points[0]:
                print_log(f'memory is not checked: measuring it ended with: {reason}',
                          logger='current', level=logging.WARNING)
                self._check_memory = False
                return 0.
            self._law = fit(*points)
        # what is given back has the size of the original
        extra = sum(max(w - pixels, 0) + self._bytes_of_results(
            max(w - pixels, 0) if self.measures_results else w) for w in originals)
        return self._law(pixels, count) + extra / 2**20

    def _run_blank(self, side: int) -> list:
        image = self._as_read(np.zeros((side, side, 3), np.uint8))
        return self.outputs([self._unscaled(dict(
            img=image, img_path='blank', img_shape=image.shape[:2], ori_shape=image.shape[:2],
            reduce_zero_label=False, seg_fields=[]))])

    def _refuse_beyond(self, name: str, size: tuple[int, int], needed: float, device: torch.device
                       ) -> None:
        available = free_mebibytes(device)
        if needed > available:
            raise ConfigError(
                f'{name}: {size[0]}x{size[1]} pixels need about {needed / 1024:.1f} GiB, and '
                f'{available / 1024:.1f} GiB are free; let the network see less (scale=0.5, '
                f'--scale 0.5){self.other_remedy}')
