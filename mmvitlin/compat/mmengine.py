"""Work-arounds for MMEngine, and readers of checkpoints that execute no code."""
from __future__ import annotations

import hashlib
import io
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import checkpoint as loading
from mmengine.runner.checkpoint import CheckpointLoader

from mmvitlin.compat import detection, installed
from mmvitlin.compat.config_types import name_types
from mmvitlin.utils import paths as shipped
from mmvitlin.utils.errors import CheckpointError
from mmvitlin.utils.weights import read_safetensors, safe_torch_load

_PATHS = threading.RLock()


@contextmanager
def config_names() -> Iterator[None]:
    """Let ``'mmvitlin::…'`` and ``'mmseg::…'`` resolve inside.

    mmengine knows only the packages of OpenMMLab, and looks for mmseg under its original
    distribution's name, which onedl-mmsegmentation 1.4 does not have. The configs of mmvitlin are
    read without a scope: they name other libraries' types by the default scope that they set.
    Patches ``mmengine.config.Config._get_cfg_path`` of mmengine up to 0.10.12, and puts it back.
    """
    with _PATHS:
        usual = Config.__dict__['_get_cfg_path']

        def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
            if cfg_path.startswith('mmvitlin::'):
                return str(_own_config(cfg_path.removeprefix('mmvitlin::'))), None
            if cfg_path.startswith('mmdet::'):
                detection.prepare(filename or cfg_path)
            if cfg_path.startswith('mmseg::') and not installed('mmsegmentation'):
                return _config_of_mmseg(cfg_path.removeprefix('mmseg::')), 'mmseg'
            return usual.__func__(cfg_path, filename)

        Config._get_cfg_path = staticmethod(get_cfg_path)
        try:
            yield
        finally:
            Config._get_cfg_path = usual


def read_config(path: str | Path) -> Config:
    """``Config.fromfile``, with bases ``'mmvitlin::…'`` and ``'mmseg::…'``, and with names in the
    place of the classes that a pure-Python config imports."""
    with config_names():
        cfg = Config.fromfile(path)
    name_types(cfg._cfg_dict)
    return cfg


def config_path(name: str) -> str:
    """The file of ``'mmvitlin::…'``, ``'mmseg::…'`` and the like.

    Raises:
        FileNotFoundError, ModuleNotFoundError: there is no such config, or no such library.
    """
    with config_names():
        return str(Config._get_cfg_path(name, '')[0])


def _own_config(name: str) -> Path:
    path = shipped.folder('configs') / name
    if not path.is_file():
        if now := shipped.renamed(name):
            raise FileNotFoundError(f'mmvitlin::{name} has another name: mmvitlin::{now}')
        raise FileNotFoundError(f'mmvitlin::{name}: mmvitlin has no such config (looked in '
                                f'{path.parent})')
    return path


def _config_of_mmseg(name: str) -> str:
    from mmengine.config.utils import _get_external_cfg_base_path, _get_external_cfg_path
    from mmengine.utils import get_installed_path
    folder = get_installed_path('mmseg')
    try:
        return _get_external_cfg_path(folder, name)
    except ValueError:  # bases are in no metafile
        return _get_external_cfg_base_path(folder, name)


@contextmanager
def short_console() -> Iterator[None]:
    """Keep what Runners print while they are built in their log file alone.

    Versions, the whole config and the order of hooks are 450 lines, before a first loss, and
    options of single parameters one line each. Patches
    ``mmengine.logging.MMLogger.callHandlers`` of mmengine up to 0.10.12, and puts it back.
    """
    usual = MMLogger.callHandlers

    def call_handlers(self: MMLogger, record: logging.LogRecord) -> None:
        long = record.levelno <= logging.INFO and record.getMessage().lstrip('-\n').startswith(
            ('System environment:', 'Config:\n', 'Hooks will be executed', 'paramwise_options '))
        for handler in self.handlers:
            if record.levelno >= handler.level and not (long and type(handler)
                                                        is logging.StreamHandler):
                handler.handle(record)

    MMLogger.callHandlers = call_handlers
    try:
        yield
    finally:
        MMLogger.callHandlers = usual


@contextmanager
def without_deepspeed_optimizers() -> Iterator[None]:
    """Let mmengine's DeepSpeedStrategy be built with current DeepSpeed.

    It registers optimisers that newer DeepSpeeds do not have; of these none is used here. Patches
    ``mmengine._strategy.deepspeed.register_deepspeed_optimizers`` of mmengine up to 0.10.12 with
    DeepSpeed 0.17 or newer, and puts it back.
    """
    from mmengine._strategy import deepspeed
    usual = deepspeed.register_deepspeed_optimizers
    deepspeed.register_deepspeed_optimizers = list
    try:
        yield
    finally:
        deepspeed.register_deepspeed_optimizers = usual


def read_tensors_only() -> None:
    """Register loaders with mmengine that refuse to unpickle code, for every scheme it has.

    onedl-mmengine 0.10.12 tries ``weights_only=True`` and falls back to the unsafe load with a
    warning; the original 0.10 loads unsafely at once. Local files may be .safetensors, and
    ``mmvitlin::NAME`` (see :func:`mmvitlin.utils.paths.locate`). Cheap and repeatable.
    """
    if CheckpointLoader._schemes.get('') is load_from_local:
        return
    for prefixes, loader in (
            ('', load_from_local),
            (('http://', 'https://'), load_from_http),
            (('modelzoo://', 'torchvision://'), load_from_torchvision),
            (('open-mmlab://', 'openmmlab://'), load_from_openmmlab),
            ('mmcls://', load_from_mmcls),
            ((r'(\S+\:)?s3://', r'(\S+\:)?petrel://'), load_from_ceph),
            ('pavi://', load_from_pavi)):
        CheckpointLoader.register_scheme(prefixes, loader, force=True)


def load_from_local(filename: str, map_location='cpu') -> dict:
    """A file of torch, or of safetensors.

    Raises:
        FileNotFoundError: there is none.
        CheckpointError: it holds other things than tensors and plain containers, or is damaged.
    """
    path = shipped.locate(filename)
    if path.suffix == '.safetensors':
        return dict(state_dict=read_safetensors(path)[0])
    return safe_torch_load(path, map_location)


def load_from_http(filename: str, map_location='cpu', model_dir: str | None = None) -> dict:
    """A URL, fetched once into torch's folder of checkpoints.

    Files of different addresses may have one name, as pytorch_model.bin: below a folder of its own
    for each address, unless the name ends in a hash, as in model zoos.

    Raises:
        CheckpointError: it cannot be fetched, or as of :func:`load_from_local`.
    """
    from torch.hub import download_url_to_file, get_dir
    folder = Path(model_dir or Path(get_dir()) / 'checkpoints')
    name = Path(urlsplit(filename).path).name
    if not re.search(r'[-_][0-9a-f]{8,}\.\w+$', name):
        folder /= hashlib.sha256(filename.encode()).hexdigest()[:12]
    target = folder / name
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            download_url_to_file(filename, str(target))
        except OSError as error:  # URLError and HTTPError are some
            raise CheckpointError(f'{filename} cannot be fetched: {error}; fetch it by other means '
                                  'and give the file') from error
    if target.suffix == '.safetensors':
        return dict(state_dict=read_safetensors(target)[0])
    return safe_torch_load(target, map_location)


def load_from_torchvision(filename: str, map_location='cpu') -> dict:
    """``torchvision://NAME``."""
    return load_from_http(_url(filename, loading.get_torchvision_models), map_location)


def load_from_openmmlab(filename: str, map_location='cpu') -> dict:
    """``open-mmlab://NAME``: a URL, or a file below mmengine's own folder."""
    name = filename.partition('://')[2]
    name = loading.get_deprecated_model_names().get(name, name)
    place = _url(f'open-mmlab://{name}', loading.get_external_models)
    if place.startswith(('http://', 'https://')):
        return load_from_http(place, map_location)
    return load_from_local(str(Path(loading._get_mmengine_home()) / place), map_location)


def load_from_mmcls(filename: str, map_location='cpu') -> dict:
    """``mmcls://NAME``: only the backbone."""
    return loading._process_mmcls_checkpoint(
        load_from_http(_url(filename, loading.get_mmcls_models), map_location))


def load_from_ceph(filename: str, map_location='cpu') -> dict:
    """``s3://…`` and ``petrel://…``."""
    from mmengine.fileio import get_file_backend
    content = get_file_backend(filename, backend_args=dict(backend='petrel')).get(filename)
    return safe_torch_load(io.BytesIO(content), map_location)


def load_from_pavi(filename: str, map_location='cpu') -> dict:
    """``pavi://…``, which is refused.

    Raises:
        CheckpointError: always.
    """
    raise CheckpointError(f'{filename}: files of pavi are not read; download it and give its path')


def _url(filename: str, models: Callable[[], dict]) -> str:
    name, known = filename.partition('://')[2], models()
    if name not in known:
        raise CheckpointError(f'{filename}: there is no model of this name; give a file or a URL')
    return known[name]
