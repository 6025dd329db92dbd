"""Settings of the speed benchmark: networks, sizes, precisions."""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mmvitlin.benchmark.subjects import DTYPES, Subject
from mmvitlin.deploy.runtimes import GPU_RUNTIMES, RUNTIME_PRECISIONS
from mmvitlin.utils.errors import ConfigError


@dataclass
class Grid:
    """What is measured.

    Attributes:
        subjects: The networks.
        shapes: (height, width) of the images.
        batch_sizes: Images at a time.
        precisions: Of 'fp32', 'tf32', 'bf16', 'fp16'; the halves are autocast over float32
            weights, tf32 is of GPUs.
        part: One of :data:`mmvitlin.benchmark.subjects.PARTS`.
        mode: 'inference', or 'train' for a forward and a backward pass.
        compiled: Also through ``torch.compile``.
        device: 'cpu' or a CUDA device.
        threads: Of a CPU; None for torch's own choice.
        rounds: Runs of each network that are counted, at most.
        seconds: Time for counting a cell; at least three runs of each are made.
        time_limit: Seconds. A network whose first run takes longer has that run as its only one,
            which its row says; one that takes six times as long is given up.
        memory: Measure peak memory.
        again: Measure what the file already holds.
        repeats: Times that a cell which other processes disturbed is measured again, at most.
        mend: Measure the rows again that other processes disturbed.
        files: Folder of the files that are exported on the way.
    """
    subjects: Sequence[Subject]
    shapes: Sequence[tuple[int, int]]
    batch_sizes: Sequence[int] = (1, )
    precisions: Sequence[str] = ('fp32', )
    part: str = 'backbone'
    mode: str = 'inference'
    compiled: bool = False
    device: str = 'cpu'
    threads: int | None = None
    rounds: int = 20
    seconds: float = 10.
    time_limit: float = 120.
    memory: bool = True
    again: bool = False
    repeats: int = 2
    mend: bool = False
    files: Path = Path('work_dirs/benchmark/exported')

    def cells(self) -> list[dict]:
        """Size, batch and precision of each cell, small to large."""
        shapes = sorted(self.shapes, key=lambda s: s[0] * s[1])
        return [dict(shape=list(shape), batch=batch, precision=precision)
                for shape, batch, precision in itertools.product(shapes, self.batch_sizes,
                                                                 self.precisions)]

    def cpu_threads(self) -> int:
        """Threads that the networks get."""
        return self.threads or torch.get_num_threads()

    def where(self) -> str:
        """Device and, of a CPU, threads."""
        if torch.device(self.device).type != 'cpu':
            return self.device
        return f'{self.device}, {self.cpu_threads()} threads'

    def runs(self) -> list[tuple[Subject, bool]]:
        """Networks, and whether compiled."""
        return [(s, c) for s in self.subjects for c in ([False, True] if self.compiled else
                                                        [False])]

    def check(self) -> None:
        """Refuse what would be measured as something else.

        Raises:
            ConfigError: two subjects of one name, a precision that is not known or not of the
                device, or a part that is not compiled.
        """
        names = [s.name for s in self.subjects]
        if len(set(names)) < len(names):
            raise ConfigError(f'two subjects have one name: {sorted(names)}; rows would be mixed. '
                              'Give one another: NAME=SUBJECT')
        if bad := [n for n in names if '|' in n or ' · ' in n]:
            raise ConfigError(f"names of subjects cannot hold '|' or ' · ': {bad}")
        if torch.device(self.device).type == 'cuda' and not torch.cuda.is_available():
            raise ConfigError(f'there is no device {self.device} here')
        if unknown := sorted(set(self.precisions) - set(DTYPES)):
            raise ConfigError(f'precisions {unknown} are none of {sorted(DTYPES)}')
        if 'tf32' in self.precisions and torch.device(self.device).type == 'cpu':
            raise ConfigError('tf32 is of GPUs; on a CPU it would be fp32 by another name')
        self._check_files([s for s in self.subjects if s.runtime])
        if self.compiled and self.part in ('whole', 'post', 'labels'):
            raise ConfigError(f"'{self.part}' is not compiled: it ends in code that is no graph; "
                              "take part 'backbone', 'features' or 'head'")


    def _check_files(self, subjects: list[Subject]) -> None:
        on_gpu = torch.device(self.device).type == 'cuda'
        for subject in subjects:
            if self.mode == 'train' or self.part not in ('backbone', 'labels'):
                raise ConfigError(f"{subject.name}: an exported file is timed in inference, with "
                                  "part 'labels' or, of a bare backbone, 'backbone'")
            if not any(self.takes(subject, p, False) for p in self.precisions):
                raise ConfigError(f"{subject.name}: {subject.runtime} computes in "
                                  f"{RUNTIME_PRECISIONS.get(subject.runtime, ('fp32', ))}, not in "
                                  f'{tuple(self.precisions)}; nothing would be measured')
            if (subject.runtime in GPU_RUNTIMES) != on_gpu:
                where = 'a GPU: --device cuda' if on_gpu is False else 'the CPU: --device cpu'
                raise ConfigError(f'{subject.runtime} runs on {where}')

    def takes(self, subject: Subject, precision: str, compiled: bool) -> bool:
        """Whether there is such a row: a file is not compiled, and few runtimes compute in another
        precision than the file's."""
        if not subject.runtime:
            return True
        return not compiled and precision in RUNTIME_PRECISIONS.get(subject.runtime, ('fp32', ))


def key_of(grid: Grid, cell: dict, subject: Subject, compiled: bool) -> str:
    """Name of a row; the same measurement has the same name in every file."""
    return '|'.join([subject.name, grid.part, grid.mode, '{}x{}'.format(*cell['shape']),
                     f"batch {cell['batch']}", cell['precision'],
                     'compiled' if compiled else 'eager', grid.where()])
