"""Segmentation of images of any size, from a config and a checkpoint."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

from mmvitlin.analysis.figures import overlay
from mmvitlin.analysis.latency import peak_memory
from mmvitlin.apis.sources import Source, list_inputs
from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.launch import check_whole, load_config, without_initial_weights
from mmvitlin.errors import ConfigError, UserError

_LABEL_STEPS = ('LoadAnnotations', 'LoadSegLabels')
_LARGE = 4 * 2**20  # pixels from which memory is looked at first
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass
class Segmentation:
    """What became of one image.

    Attributes:
        name: File name without suffix, relative to the folder that was given.
        labels: (H, W) class numbers at the image's own size; None where ``error`` is set.
        image: (H, W, 3) uint8 RGB as the network's pipeline read it.
        probabilities: (C, H, W) float16, if asked for.
        top_classes: (k, H, W), and top_probs, float16, if asked for.
        error: Why there is no result.
        classes: Names of the classes.
        palette: (C, 3) colours, RGB.
    """
    name: str
    labels: np.ndarray | None = None
    image: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    top_classes: np.ndarray | None = None
    top_probs: np.ndarray | None = None
    error: Exception | None = None
    classes: Sequence[str] = ()
    palette: np.ndarray | None = None

    def overlay(self, opacity: float = 0.5) -> np.ndarray:
        """The image with its classes' colours over it, (H, W, 3) uint8 RGB."""
        return overlay(self.image, self.labels, self.palette, opacity)

    def save(self, folder: str | Path, what: Sequence[str] = ('labels', 'overlay')) -> list[Path]:
        """Write ``<folder>/<what>/<name>.png`` (``.npy`` for 'probabilities').

        Raises:
            ConfigError: something unknown, or probabilities that were not asked for.
        """
        written = []
        for kind in what:
            if kind not in ('labels', 'overlay', 'probabilities'):
                raise ConfigError(f"cannot save '{kind}'; choose from labels, overlay, "
                                  'probabilities')
            suffix = '.npy' if kind == 'probabilities' else '.png'
            path = Path(folder) / kind / f'{self.name}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == 'probabilities':
                if self.probabilities is None:
                    raise ConfigError('no probabilities were computed; set probabilities=True')
                np.save(path, self.probabilities)
            else:
                Image.fromarray(self.labels if kind == 'labels' else self.overlay()).save(path)
            written.append(path)
        return written


class SegInferencer:
    """Runs a trained segmentor on images of any size and kind.

    Args:
        config: Config file of the segmentor.
        checkpoint: What training with that config wrote.
        device: 'cpu', 'cuda', 'cuda:1' …; None for a GPU where there is one.
        precision: 'fp32', 'bf16' or 'fp16' (autocast).
        scale: Size the network sees: None as the config's test pipeline says, 'original', a
            factor on the original size, or (width, height) to fit into.
        probabilities: Also give all class probabilities.
        top_k: Also give the k most probable classes.
        cfg_options: Changes to the config, as ``--cfg-options``; ``{'model.test_cfg.mode':
            'slide', …}`` for windows.

    Raises:
        ConfigError: no such config, an unknown precision or scale.
        CheckpointError: a checkpoint of another model.

    Example:
        >>> infer = SegInferencer('configs/seg/cityscapes_1024.py', 'iter_80000.pth')
        >>> for result in infer.stream('photos/'):
        ...     result.save('out')
    """

    def __init__(self,
                 config: str,
                 checkpoint: str,
                 device: str | None = None,
                 precision: str = 'fp32',
                 scale: str | float | tuple[int, int] | None = None,
                 probabilities: bool = False,
                 top_k: int = 0,
                 cfg_options: dict | None = None):
        if precision not in PRECISIONS:
            raise ConfigError(f"precision must be one of {sorted(PRECISIONS)}, got '{precision}'")
        cfg = self.cfg = load_config(config, cfg_options)
        without_initial_weights(cfg)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        cfg.model.setdefault('test_cfg', {}).update(probabilities=probabilities, top_k=top_k)
        self.model = MODELS.build(cfg.model)
        self.model.load_state_dict(check_whole(self.model, checkpoint), strict=False)
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.model.to(self.device).eval()
        self.dtype = PRECISIONS[precision]
        dataset = cfg.test_dataloader.dataset
        self.load, self.prepare = self._pipeline(dataset.pipeline, scale)
        info = dict(getattr(DATASETS.get(dataset.type), 'METAINFO', {}),
                    **(dataset.get('metainfo') or {}))
        self.classes = tuple(info.get('classes') or range(self.model.num_classes))
        palette = info.get('palette')
        self.palette = np.asarray(palette, np.uint8) if palette else _colours(len(self.classes))
        self._per_pixel: float | None = None

    @classmethod
    def of_run(cls, work_dir: str | Path, **kwargs) -> SegInferencer:
        """From a work directory: the config and the last checkpoint that lie there.

        Raises:
            ConfigError: one of them does not.
        """
        config = next(Path(work_dir).glob('*.py'), None)
        if config is None:
            raise ConfigError(f'no run left its config in {work_dir}')
        return cls(str(config), str(last_checkpoint(work_dir)), **kwargs)

    @staticmethod
    def _pipeline(steps: Sequence[dict], scale) -> tuple[Compose, Compose]:
        """How a file is read, and what follows."""
        steps = [dict(s) for s in steps if s['type'].split('.')[-1] not in _LABEL_STEPS]
        if scale is not None:
            if isinstance(scale, (int, float)) and not isinstance(scale, bool) and scale > 0:
                resize = [dict(type='Resize', scale_factor=float(scale), keep_ratio=True)]
            elif scale == 'original':
                resize = []
            elif isinstance(scale, (tuple, list)) and len(scale) == 2:
                resize = [dict(type='Resize', scale=tuple(scale), keep_ratio=True)]
            else:
                raise ConfigError("scale must be None, 'original', a positive factor or (width, "
                                  f'height), got {scale!r}')
            steps = [steps[0], *resize, *(s for s in steps[1:] if s['type'] != 'Resize')]
        return Compose(steps[:1]), Compose(steps[1:])

    def __call__(self, inputs: Source | Iterable[Source], batch_size: int = 1
                 ) -> list[Segmentation]:
        """All results at once; :meth:`stream` holds one batch at a time."""
        return list(self.stream(inputs, batch_size))

    def stream(self, inputs: Source | Iterable[Source], batch_size: int = 1
               ) -> Iterator[Segmentation]:
        """Results in the order of the inputs.

        Images of a batch that differ in size are run by themselves. An image that cannot be read,
        or for which memory does not suffice, gives a result with ``error``; the others go on.

        Args:
            inputs: See :func:`mmvitlin.apis.sources.list_inputs`.
            batch_size: Images in a batch.
        """
        batch: list[tuple[Segmentation, dict | None]] = []
        for name, source in list_inputs(inputs):
            batch.append(self._read(name, source))
            if len(batch) == batch_size:
                yield from self._run(batch)
                batch = []
        if batch:
            yield from self._run(batch)

    def _read(self, name: str, source: Path | np.ndarray) -> tuple[Segmentation, dict | None]:
        found = Segmentation(name, classes=self.classes, palette=self.palette)
        try:
            if isinstance(source, np.ndarray):
                image = np.ascontiguousarray(source[..., ::-1])
                results = dict(img=image, img_path=name, img_shape=image.shape[:2],
                               ori_shape=image.shape[:2])
            else:
                results = self.load(dict(img_path=str(source)))
            found.image = np.ascontiguousarray(results['img'][..., ::-1])
            data = self.prepare(dict(results, reduce_zero_label=False, seg_fields=[]))
            self._look_at_memory(tuple(data['inputs'].shape[-2:]), name)
            return found, data
        except (UserError, OSError, ValueError) as error:
            found.error = error
            return found, None

    def read(self, path: str | Path) -> tuple[np.ndarray, dict]:
        """The image, RGB, and what :meth:`predict` takes.

        Raises:
            UnreadableFileError: it cannot be decoded.
        """
        found, data = self._read(Path(path).stem, Path(path))
        if found.error is not None:
            raise found.error
        return found.image, data

    def predict(self, data: dict) -> np.ndarray:
        """Labels (H, W) of one image that was read."""
        return self._predict([data])[0].pred_sem_seg.data[0].cpu().numpy()

    def _run(self, batch: list[tuple[Segmentation, dict | None]]) -> Iterator[Segmentation]:
        good = [n for n, (_, data) in enumerate(batch) if data is not None]
        shapes = {tuple(batch[n][1]['inputs'].shape) for n in good}
        groups = [good] if len(shapes) == 1 else [[n] for n in good]
        for group in groups:
            try:
                outputs = self._predict([batch[n][1] for n in group])
            except (UserError, ValueError, torch.OutOfMemoryError) as error:
                for n in group:  # too small for a patch, or too large for the device
                    batch[n][0].error = error
                continue
            for n, output in zip(group, outputs, strict=True):
                self._fill(batch[n][0], output)
        for found, _ in batch:
            yield found

    @torch.inference_mode()
    def _predict(self, data: list[dict]) -> list:
        with torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext():
            return self.model.test_step(pseudo_collate(data))

    @staticmethod
    def _fill(found: Segmentation, output) -> None:
        found.labels = output.pred_sem_seg.data[0].cpu().numpy()
        for name, key in (('probabilities', 'class_probs'), ('top_classes', 'top_classes'),
                          ('top_probs', 'top_probs')):
            if key in output:
                setattr(found, name, output.get(key).data.cpu().numpy())

    def _look_at_memory(self, size: tuple[int, int], name: str) -> None:
        """Refuse an image that memory will not hold, rather than be killed for it.

        Raises:
            ConfigError: says how much it needs and how much there is.
        """
        pixels = size[0] * size[1]
        if pixels < _LARGE:
            return
        if self._per_pixel is None:  # every part of the way is linear in pixels
            side = 1024
            blank = dict(img=np.zeros((side, side, 3), np.uint8), img_path='', reduce_zero_label=0,
                         img_shape=(side, side), ori_shape=(side, side), seg_fields=[])
            data = [Compose([s for s in self.prepare.transforms
                             if type(s).__name__ != 'Resize'])(blank)]
            self._per_pixel = 2**20 * peak_memory(lambda: self._predict(data),
                                                  self.device) / side**2
        needed = self._per_pixel * pixels / 2**30
        there = (torch.cuda.mem_get_info(self.device)[0] if self.device.type == 'cuda' else
                 psutil.virtual_memory().available) / 2**30
        if needed > there:
            raise ConfigError(
                f'{name}: {size[0]}x{size[1]} pixels need about {needed:.1f} GiB, and '
                f"{there:.1f} GiB are free; give scale=0.5 or less, or windows: cfg_options="
                "{'model.test_cfg.mode': 'slide', 'model.test_cfg.crop_size': (1024, 1024), "
                "'model.test_cfg.stride': (768, 768)}")


def _colours(count: int) -> np.ndarray:
    """Distinct colours for classes without a palette."""
    return np.random.RandomState(0).randint(32, 256, (count, 3)).astype(np.uint8)
