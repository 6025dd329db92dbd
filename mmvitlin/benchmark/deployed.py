"""Networks of the speed benchmark as they are exported: plain images in, results out."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmvitlin.apis.export import Deployed
from mmvitlin.apis.shown_by_tests import multiple, normalisation, windows_of
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.layers import pad_to_multiples


def deployed(built) -> Deployed:
    """From plain images to the results of a network.

    Args:
        built: A :class:`mmvitlin.benchmark.subjects.Built`.
    """
    if built.subject.source != 'config':
        return Deployed(built.network, [0.] * 3, [255.] * 3)
    cfg = load_config(built.subject.what, built.subject.options)
    net = Deployed(built.network, *normalisation(cfg))
    net.config, net.windows = cfg, windows_of(cfg)
    net.multiple = multiple(cfg, net.patch)
    return net


def takes_windows(net: Deployed, shape: Sequence[int]) -> bool:
    """Whether images of (height, width) go through a network in windows, as its config tests."""
    return net.windows is not None and any(
        length > side for length, side in zip(shape, net.windows[0], strict=True))


def to_labels(net: Deployed, images: Tensor) -> Callable[[], Sequence[Tensor]]:
    """What gives the labels (B, H, W) of plain images, first among others; see
    :func:`takes_windows`."""
    if not takes_windows(net, images.shape[2:]):
        return lambda: net(images)

    height, width = images.shape[2:]
    patch = getattr(net.net.backbone, 'patch_size', 1)

    def run() -> list[Tensor]:
        x = pad_to_multiples(net.normalised(images), (patch, patch))
        samples = net.net.predict(x)
        return [torch.cat([s.pred_sem_seg.data for s in samples])[:, :height, :width]]
    return run
