"""Turn a config's test into one that writes files for a test server."""
from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.compat.kinds import is_kind
from mmvitlin.datasets.checks.checking import LABEL_STEPS
from mmvitlin.evaluation.metrics.submission import SERVERS, Server
from mmvitlin.utils.errors import ConfigError

_KEY = 'test_dataloader.dataset'
_OTHERWISE = dict(  # folder of validation images → those of the test images, from the root
    cityscapes={'leftImg8bit/val': ('leftImg8bit/test', )},
    ade20k={'images/validation': ('images/testing', '../release_test/testing',
                                  'release_test/testing')})


def prepare_submission(cfg: Config, server: str, folder: str | Path) -> None:
    """Let a config's test predict the test set of a server, without labels, and write its files.

    Where the config tests on validation images, the test images beside them are taken.

    Args:
        cfg: Of a segmentor.
        server: 'cityscapes' or 'ade20k'.
        folder: Empty, or not there.

    Raises:
        ConfigError: an unknown server, a folder that holds something, classes that are not the
            server's, or no test images.
    """
    if server not in SERVERS:
        raise ConfigError(f"--submit: no test server is called '{server}'; take one of "
                          f'{", ".join(SERVERS)}')
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f'--submit: {folder} is there and not empty; give another folder')
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if 'pipeline' not in dataset or (cfg.get('default_scope') or 'mmseg') != 'mmseg':
        raise ConfigError(f'--submit: {_KEY} must be one data set of mmseg with a pipeline')
    SERVERS[server].ids_of(_classes(dataset))
    _take_test_images(dataset, server, SERVERS[server])
    dataset.pipeline = _without_labels(dataset.pipeline)
    if 'tta_pipeline' in cfg:
        cfg.tta_pipeline = _without_labels(cfg.tta_pipeline)
    dataset.test_mode = True
    cfg.test_evaluator = dict(type='mmvitlin.SubmissionMetric', server=server, folder=str(folder))


def _classes(dataset: dict) -> tuple[str, ...]:
    """Names of a data set's classes, its own or its library's."""
    init_default_scope('mmseg')
    metainfo = dataset.get('metainfo') or {}
    own = BaseDataset._load_metainfo({k: metainfo[k] for k in ('classes', ) if k in metainfo})
    with DATASETS.switch_scope_and_registry(None) as registry:
        known = getattr(registry.get(dataset['type']), 'METAINFO', None) or {}
    return tuple(own.get('classes') or known.get('classes') or ())


def _take_test_images(dataset: dict, name: str, server: Server) -> None:
    """Name the folder of the test images, and leave out that of the labels."""
    prefix = dict(dataset.get('data_prefix') or {})
    prefix.pop('seg_map_path', None)
    places = _OTHERWISE[name].get(str(prefix.get('img_path', '')).strip('/'))
    if places:
        root = Path(dataset.get('data_root') or '.')
        existing = [place for place in places if (root / place).is_dir()]
        if not existing:
            raise ConfigError(f"--submit: {_KEY}.data_prefix.img_path='{prefix['img_path']}' holds "
                              f"validation images, and '{root}' has no {' nor '.join(places)}; "
                              f"give the folder of {server.title}'s test images there")
        prefix['img_path'] = existing[0]
        dataset.pop('ann_file', None)  # a list of validation images
    dataset.data_prefix = prefix


def _without_labels(steps: list) -> list:
    """A pipeline, with what is inside ``TestTimeAug``, without the steps that read labels."""
    kept = []
    for step in steps:
        if isinstance(step, (list, tuple)):
            if inner := _without_labels(step):
                kept.append(inner)
        elif not is_kind(step, LABEL_STEPS):
            inner = step.get('transforms')
            kept.append(dict(step, transforms=_without_labels(inner)) if inner else step)
    return kept
