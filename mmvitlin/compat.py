"""Work-arounds for the libraries mmvitlin stands on.

Each function says what it mends and for which versions. :func:`apply` runs them all and
is called when ``mmvitlin.registry`` is imported, so before any of the libraries builds
anything of ours.
"""
from __future__ import annotations

import argparse
import functools
import logging
import os
import pickle
import re
import sys
import warnings
from importlib import metadata
from pathlib import Path

from mmvitlin import detection, shipped
from mmvitlin.errors import CheckpointError, ConfigError

_FAMILIES = (  # maintained distribution, original distribution, import name
    ('onedl-mmengine', 'mmengine', 'mmengine'),
    ('onedl-mmcv', 'mmcv', 'mmcv'),
    ('onedl-mmcv', 'mmcv-lite', 'mmcv'),
    ('onedl-mmsegmentation', 'mmsegmentation', 'mmseg'),
    ('onedl-mmpretrain', 'mmpretrain', 'mmpretrain'),
    ('onedl-mmdetection', 'mmdet', 'mmdet'),
)


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_distributions(installed=_installed) -> None:
    """Refuse the maintained and the original OpenMMLab distributions side by side.

    Both write the same import folders and pip does not warn; which files survive depends
    on the order of installation.

    Raises:
        RuntimeError: both families are installed; names them and the remedy.
    """
    both = [(ours, theirs, name) for ours, theirs, name in _FAMILIES
            if installed(ours) and installed(theirs)]
    if both:
        pairs = ', '.join(f'{ours} and {theirs} (both write {name}/)'
                          for ours, theirs, name in both)
        out = ' '.join(sorted({name for ours, theirs, _ in both for name in (ours, theirs)}))
        raise RuntimeError(
            f'Two distributions own the same import folder: {pairs}. Keep one family: '
            f"`pip uninstall -y {out}`, then `pip install 'mmvitlin[onedl]'` (or "
            "'mmvitlin[openmmlab]').")


def name_config_packages() -> None:
    """Let ``_base_ = 'mmseg::…'`` and ``'mmvitlin::…'`` resolve.

    mmengine maps the prefix to the original distribution's name and finds it not
    installed beside onedl-mmsegmentation 1.4; it does not know ours at all. All mmengine.
    """
    from mmengine.config import Config, utils
    if not _installed('mmsegmentation'):
        utils.MODULE2PACKAGE['mmseg'] = 'mmseg'
    utils.MODULE2PACKAGE['mmvitlin'] = 'mmvitlin'
    usual = Config._get_cfg_path
    if getattr(usual, 'knows_mmvitlin', False):
        return

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if not cfg_path.startswith('mmvitlin::'):
            if cfg_path.startswith('mmdet::'):
                detection.prepare(filename or cfg_path)
            return usual(cfg_path, filename)
        # no scope: our configs name other libraries' types by the default scope they set
        return str(_own_config(cfg_path.removeprefix('mmvitlin::'))), None

    get_cfg_path.knows_mmvitlin = True
    Config._get_cfg_path = staticmethod(get_cfg_path)
    _lend_configs_to_the_hub()


def _lend_configs_to_the_hub() -> None:
    """``mmengine.hub.get_config('mmvitlin::…')`` and ``get_model``, also from a checkout.

    mmengine looks in an installed package's ``.mim`` alone, and builds in a scope of the package's
    name, where our configs name other libraries' types by the scope they set. All mmengine.
    """
    from mmengine import hub
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope
    usual, usual_model = hub.get_config, hub.get_model

    def get_config(cfg_path: str, pretrained: bool = False) -> Config:
        if not cfg_path.startswith('mmvitlin::'):
            return usual(cfg_path, pretrained)
        if pretrained:
            raise ConfigError(f'{cfg_path}: mmvitlin has no published weights; train them, or name '
                              "a file you have in the config's init_cfg")
        name = cfg_path.removeprefix('mmvitlin::')
        return Config.fromfile(_own_config(name if name.endswith('.py') else f'{name}.py'))

    def get_model(cfg_path: str, pretrained: bool = False, **kwargs):
        if not cfg_path.startswith('mmvitlin::'):
            return usual_model(cfg_path, pretrained, **kwargs)
        cfg = get_config(cfg_path, pretrained)
        scope = cfg.get('default_scope', 'mmengine')
        if scope == 'mmdet':
            detection.prepare(cfg_path)
        if 'data_preprocessor' in cfg:
            cfg.model.data_preprocessor = cfg.data_preprocessor
        with DefaultScope.overwrite_default_scope(scope):
            return MODELS.build(cfg.model, default_args=kwargs)

    hub.get_config, hub.get_model = get_config, get_model


def _own_config(name: str) -> Path:
    """File of a config of ours."""
    path = shipped.folder('configs') / name
    if not path.is_file():
        raise FileNotFoundError(f'mmvitlin::{name}: mmvitlin has no such config (looked in '
                                f'{path.parent})')
    return path


def spare_mmpretrain_multimodal() -> None:
    """Keep mmpretrain importable beside transformers 5.

    Its multimodal models subclass names that transformers 5 no longer has and raise at
    import. mmpretrain up to 1.3.6, transformers >= 5.
    """
    try:
        major = int(metadata.version('transformers').split('.')[0])
    except metadata.PackageNotFoundError:
        return
    if major >= 5 and 'mmpretrain.models' not in sys.modules:
        try:
            from mmpretrain.utils import dependency
        except ImportError:
            return
        dependency.WITH_MULTIMODAL = False


def safe_torch_load(file, map_location='cpu', weights_only=None):
    """``torch.load`` of tensors, plain containers and mmengine's log buffers only.

    The one class allowed besides is ``argparse.Namespace``, plain attributes, which the
    released Adventurer files were saved with.

    Raises:
        CheckpointError: the file holds anything else, or is not a whole checkpoint; names
            it and the remedy. Nothing in it has been executed.
    """
    import numpy as np
    import torch
    try:
        from mmengine.runner.checkpoint import get_torch_safe_globals
        allowed = list(get_torch_safe_globals())
    except ImportError:
        allowed = []
    try:
        if hasattr(np, '_core'):  # files whose logs were written with NumPy 1
            allowed += [(np._core.multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
                        (np._core.multiarray.scalar, 'numpy.core.multiarray.scalar')]
        numbers = [type(np.dtype(code)) for code in '?bBhHiIlLqQefdg']  # of logged scalars
        with torch.serialization.safe_globals([*allowed, *numbers, argparse.Namespace]):
            return torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{file} holds objects other than tensors and plain containers and was not '
            f'unpickled ({_culprit(error)}). Save its state_dict alone, as '
            '.safetensors or with torch.save, where you trust the file.') from error
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged pickle
        if 'TorchScript' in str(error):
            raise CheckpointError(
                f'{file} is a TorchScript archive, a programme, as OpenAI publishes CLIP. Where '
                'you trust it, write its weights: torch.save(torch.jit.load(FILE, '
                "map_location='cpu').state_dict(), OTHER)") from error
        if str(file).endswith('.safetensors'):
            raise CheckpointError(f'{file} is read as a torch file, and is called .safetensors; '
                                  'this needs a checkpoint of torch') from error
        # a damaged pickle ends in errors of many kinds
        raise CheckpointError(f'{file} is not a readable checkpoint, or is cut short '
                           f'({type(error).__name__}: {(str(error).splitlines() or [""])[0]}). '
                           'Copy or download it again.') from error


def read_safetensors(path: str | Path) -> tuple[dict, dict[str, str]]:
    """Tensors and metadata of a .safetensors file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged.
    """
    from safetensors import safe_open
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at '{path}'")
    try:
        with safe_open(path, 'pt') as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # SafetensorError, and what a damaged header leads to
        raise CheckpointError(f'{path} is not a readable checkpoint, or is cut short '
                              f'({type(error).__name__}: {error}). Copy or download it again.'
                              ) from error


def _culprit(error: Exception) -> str:
    found = re.search(r'GLOBAL (\S+)|but got (<.+?>)|function (\S+)', str(error))
    return next(filter(None, found.groups())) if found else str(error).splitlines()[0]


def load_tensors_only() -> None:
    """Make mmengine's loaders refuse to unpickle code.

    Local files and URLs. onedl-mmengine 0.10.12 tries ``weights_only=True`` and falls back to
    the unsafe load with a warning; the original 0.10 loads unsafely at once.
    """
    from mmengine.runner import checkpoint
    checkpoint._safe_torch_load = safe_torch_load

    def load_from_local(filename, map_location='cpu'):
        path = shipped.locate(filename)
        if path.suffix == '.safetensors':
            return dict(state_dict=read_safetensors(path)[0])
        return safe_torch_load(path, map_location)

    def load_from_http(filename, map_location='cpu', model_dir=None):
        from torch.hub import download_url_to_file, get_dir
        folder = Path(model_dir or Path(get_dir()) / 'checkpoints')
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / filename.rsplit('/', 1)[-1]
        if not target.is_file():
            download_url_to_file(filename, str(target))
        return safe_torch_load(target, map_location)

    checkpoint.load_from_http = load_from_http  # torchvision://, open-mmlab:// and the like use it
    register = checkpoint.CheckpointLoader.register_scheme
    register('', load_from_local, force=True)
    register(('http://', 'https://'), load_from_http, force=True)


def keep_mlflow_files() -> None:
    """Let MLflow 3 write into a run's folder, where mmengine's backend sends it unless told else.

    It refuses folders otherwise; whoever sets MLFLOW_ALLOW_FILE_STORE decides.
    """
    os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')


def hush() -> None:
    """Drop what the libraries say at every import of what is missing and not needed.

    mmcv warns of its compiled ops (what needs them says so when it is built); the onedl
    distributions of mmseg 1.4 and mmdet 3.4 print, as words for debugging, that OneDL is missing.
    """
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    from mmengine import logging as mmengine_logging
    usual = mmengine_logging.print_log
    if hasattr(usual, 'heeds_level'):
        return

    @functools.wraps(usual)
    def print_log(msg, logger=None, level: int = logging.INFO) -> None:
        if logger is not None or level > logging.DEBUG:
            usual(msg, logger, level)

    print_log.heeds_level = True
    mmengine_logging.print_log = print_log


def apply() -> None:
    """Run every work-around; cheap and repeatable."""
    check_distributions()
    name_config_packages()
    spare_mmpretrain_multimodal()
    load_tensors_only()
    keep_mlflow_files()
    hush()
