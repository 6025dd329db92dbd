"""What making a strip holds."""
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from mmvitlin.ops.strips import MapRows, MaskClassRows, ResizedRows, WindowRows


class Live(TorchDispatchMode):
    """The most bytes that tensors made inside of it hold at one time."""

    def __init__(self):
        super().__init__()
        self.known, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            storage = out.untyped_storage()
            views = [a.untyped_storage()._cdata for a in args if isinstance(a, torch.Tensor)]
            if storage._cdata not in views:
                self.known[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
            self.known = {k: v for k, v in self.known.items() if not v[0].expired()}
            self.peak = max(self.peak, sum(size for _, size in self.known.values()))
        return out


def plain(size):
    return ResizedRows(MapRows(torch.randn(40, size[0] // 4, size[1] // 4)), size)


def queries(size):
    masks = ResizedRows(MapRows(torch.randn(60, size[0] // 4, size[1] // 4)), size)
    return MaskClassRows(masks, torch.rand(60, 3))


def windows(kind, channels):
    parts = {}  # made before, as coarse scores are

    def run(y1, y2, x1, x2):
        return parts[x1]

    source = WindowRows((256, 512), (256, 256), (192, 192), channels, run)
    parts.update((x1, kind((256, 256))) for x1, _ in source.columns)
    return source


@pytest.mark.parametrize('make', [
    lambda: plain((256, 512)), lambda: queries((256, 512)), lambda: windows(plain, 40),
    lambda: windows(queries, 3)], ids=['plain', 'queries', 'windows', 'windows of queries'])
def test_no_strip_holds_more_than_it_may(make):
    source, live = make(), Live()
    with live:
        for _, _, scores in source.strips(4.):
            assert scores.shape[0] == source.channels
    assert 1.5 < live.peak / 2**20 < 4
