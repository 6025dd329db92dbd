"""Networks of the speed benchmark as they are exported: plain images in, results out."""
from __future__ import annotations

from mmvitlin.apis.export import Deployed, normalisation
from mmvitlin.engine.runner.config import load_config


def deployed(built) -> Deployed:
    """From plain images to the results of a network.

    Args:
        built: A :class:`mmvitlin.benchmark.subjects.Built`.
    """
    if built.subject.source != 'config':
        return Deployed(built.network, [0.] * 3, [255.] * 3)
    cfg = load_config(built.subject.what, built.subject.options)
    net = Deployed(built.network, *normalisation(cfg))
    net.config = cfg
    return net
