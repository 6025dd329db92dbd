"""Features that are computed once and read back."""
from __future__ import annotations

import errno
import hashlib
import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import timm
import torch
import torch.nn as nn
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import mmvitlin
from mmvitlin.models.backbones import Tokens


class FeatureCache:
    """A frozen network's tokens on disk, found by the pixels of its input.

    A file holds one image's tokens after one layer, so objectives that compare other layers share
    what they have in common. Its name is the digest of the image's values, as the network gets
    them, and of the layer, in a folder named by the digest of the network's weights, its structure
    and the settings of its modules, so augmentations need no bookkeeping: an image that differs in
    one bit is another one. Images come again where the sampler is told how many views to make of
    each, see :class:`mmvitlin.datasets.samplers.seeding.SeededInfiniteSampler`.

    Several processes may share a folder. A file whose checksum is wrong is computed anew.

    Args:
        root: Folder.
        limit_gib: Nothing is added to a folder of that size, GiB. Each process counts what was
            there when it began and what it added itself.
        dtype: Of what is stored; None for what the network computes, which is exact.
    """

    def __init__(self, root: str | Path, limit_gib: float = 100., dtype: torch.dtype | None = None):
        self.root, self.limit, self.dtype = Path(root), limit_gib * 2**30, dtype
        self.hits = self.misses = 0
        self._folder: Path | None = None
        self._size = 0.

    def tokens(self, network: nn.Module, images: Tensor, layers: Sequence[int],
               compute: Callable[[Tensor], list[Tokens]], variant: str = '') -> list[Tokens]:
        """Tokens of each layer, from disk where they are there.

        Args:
            network: Whose tokens they are; its weights must not change.
            images: (B, 3, H, W).
            layers: Numbers of the layers, part of a file's name.
            compute: Gives the tokens of some of the images.
            variant: What ``compute`` does to them beside running the network, part of a name.
        """
        if self._folder is None:
            self._open(network)
        names = [self._names(image, layers, variant) for image in images]
        stored = [[self._read(name, images.device) for name in of_image] for of_image in names]
        missing = [n for n, tokens in enumerate(stored) if None in tokens]
        self.hits += len(names) - len(missing)
        self.misses += len(missing)
        if missing:
            for n, tokens in zip(missing, _one_by_one(compute(images[missing])), strict=True):
                for name, before, now in zip(names[n], stored[n], tokens, strict=True):
                    if before is None:
                        self._write(name, now)
                stored[n] = [self._as_stored(one) for one in tokens]
        dtypes = [t.patches.dtype for t in stored[missing[0]]] if missing else [None] * len(layers)
        return [_together([one[k] for one in stored], dtype) for k, dtype in enumerate(dtypes)]

    def _open(self, network: nn.Module) -> None:
        # weights do not determine activations, heads or windows
        describe = getattr(network, 'describe', dict)
        identity = (repr(network), torch.__version__, timm.__version__, mmvitlin.__version__,
                    describe(), [_settings(module) for module in network.modules()])
        self._folder = self.root / _digest(network.state_dict(), repr(identity), 12).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._size = 0.
        for path in self.root.rglob('*.safetensors'):
            with suppress(FileNotFoundError):  # another process may remove one
                self._size += path.stat().st_size

    def _names(self, image: Tensor, layers: Sequence[int], variant: str) -> list[Path]:
        kind = image.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        values = hashlib.blake2b(f'{tuple(image.shape)} {image.dtype} {precision} {self.dtype}'
                                 .encode(), digest_size=16)
        values.update(_bytes(image))
        names = []
        for layer in layers:
            digest = values.copy()
            digest.update(f'layer {layer}{variant}'.encode())
            name = digest.hexdigest()
            names.append(self._folder / name[:2] / f'{name[2:]}.safetensors')
        return names

    @staticmethod
    def _read(path: Path, device: torch.device) -> Tokens | None:
        try:
            stored = load(path.read_bytes())
            if not torch.equal(stored.pop('checksum'), _checksum(stored)):
                return None
            return Tokens(stored['patches'].to(device),
                          stored['cls'].to(device) if 'cls' in stored else None,
                          tuple(stored['grid'].tolist()))
        except (FileNotFoundError, SafetensorError, KeyError):
            return None

    def _as_stored(self, tokens: Tokens) -> Tokens:
        """With the digits that are stored, so that an image's first view is that of later ones."""
        if self.dtype is None:
            return tokens
        patches, cls = (t if t is None else t.to(self.dtype).to(t.dtype)
                        for t in (tokens.patches, tokens.cls))
        return Tokens(patches, cls, tokens.grid)

    def _write(self, path: Path, tokens: Tokens) -> None:
        if self._size >= self.limit:
            return
        kept = dict(grid=torch.tensor(tokens.grid))
        for name, value in (('patches', tokens.patches), ('cls', tokens.cls)):
            if value is not None:
                kept[name] = value.to('cpu', self.dtype or value.dtype).contiguous()
        content = save(dict(kept, checksum=_checksum(kept)))
        path.parent.mkdir(exist_ok=True)
        aside = path.with_name(f'.{path.stem}.{uuid.uuid4().hex}')
        try:
            aside.write_bytes(content)
            aside.replace(path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            aside.unlink(missing_ok=True)
            self.limit = 0.  # the run continues without storing
        self._size += len(content)
        if self._size >= self.limit:
            print_log(f"the teacher's cache {self.root} is full at {self._size / 2**30:.1f} GiB: "
                      'other images are computed every time', logger='current',
                      level=logging.WARNING)


def _settings(module: nn.Module) -> dict[str, bool | int | float | str]:
    """Numbers and strings among a module's attributes."""
    return {k: v for k, v in sorted(vars(module).items())
            if isinstance(v, (bool, int, float, str)) and not k.startswith('_') and k != 'training'}


def _digest(tensors: dict[str, Tensor], text: str, size: int) -> hashlib.blake2b:
    digest = hashlib.blake2b(text.encode(), digest_size=size)
    for name, value in sorted(tensors.items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(_bytes(value))
    return digest


def _checksum(tensors: dict[str, Tensor]) -> Tensor:
    return torch.tensor(list(_digest(tensors, '', 16).digest()), dtype=torch.uint8)


def _bytes(value: Tensor) -> memoryview:
    return memoryview(value.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy())


def _one_by_one(layers: list[Tokens]) -> list[list[Tokens]]:
    """Tokens of each image from those of a batch."""
    count = len(layers[0].patches)
    return [[Tokens(t.patches[n], None if t.cls is None else t.cls[n], t.grid) for t in layers]
            for n in range(count)]


def _together(images: list[Tokens], dtype: torch.dtype | None) -> Tokens:
    cls = [t.cls for t in images]
    cls = None if cls[0] is None else torch.stack([c.to(dtype or c.dtype) for c in cls])
    return Tokens(torch.stack([t.patches.to(dtype or t.patches.dtype) for t in images]), cls,
                  images[0].grid)
