"""Buffers that keep their type when the model's changes."""
from __future__ import annotations

import torch.nn as nn


class ExactBuffers(nn.Module):
    """Base of modules whose own buffers move with the model but keep their type and digits.

    Sums and averages over a run do not survive ``model.half()``, which DeepSpeed calls.
    """

    def buffers_restored(self) -> None:
        """Called when buffers were put back to earlier values."""

    def _apply(self, fn, recurse=True):
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self
