"""Check a GPU in a quarter of an hour: kernels, speed, a training step, a recipe.

    python tools/gpu_check.py --out work_dirs/gpu_check.json      15 minutes at most
    ... --seconds 540 --parts kernels training_step backbones     ten minutes at most
    python tools/gpu_check.py --device cpu --tiny --out FILE      a rehearsal on a CPU

Each part runs in a process of its own within a limit of time; its rows are in the file also when it
fails or is stopped. Parts: kernels against references, values and gradients; operators, and
backbones of base size, beside fused attention and mamba-ssm; the time of a step of distillation and
the share of it that products of matrices have; the recipe of the pretrained teacher on CamVid,
which needs data/camvid, data/images and the weights of `mmvitlin fetch_teacher`; scans and
convolutions of other packages. The exit status is 1 where a kernel is wrong, something fails that
is installed, or a part does not come to its end.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from mmvitlin.benchmark.gpu_check import PARTS, TINY, Sizes


def run_part(name: str, device: str, tiny: bool, out: Path) -> None:
    """In the part's own process: write every row as it comes."""
    import torch
    torch.manual_seed(0)
    rows: dict[str, object] = {}

    def tell(row: str, value: object) -> None:
        rows[row] = value
        print(f'{name}, {row}: {json.dumps(value)}', flush=True)
        temporary = out.with_suffix('.new')
        temporary.write_text(json.dumps(rows))
        temporary.replace(out)

    PARTS[name][0](device, TINY if tiny else Sizes(), tell)


def start_part(name: str, seconds: float, args: argparse.Namespace) -> dict:
    """Run a part, stop it at its limit; its rows, its seconds and how it ended."""
    out = args.out.with_suffix(f'.{name}.json')
    out.unlink(missing_ok=True)
    command = [sys.executable, __file__, '--part', name, '--device', args.device, '--out', str(out),
               *(['--tiny'] if args.tiny else [])]
    began = time.monotonic()
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, errors = child.communicate(timeout=seconds)
        ended = 'done' if child.returncode == 0 else \
            f'failed with status {child.returncode}: {" ".join(errors.strip().splitlines()[-1:])}'
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # and what it has started
        _, errors = child.communicate()
        ended = f'stopped after {seconds:.0f} s'
    rows = json.loads(out.read_text()) if out.is_file() else {}
    out.unlink(missing_ok=True)
    said = [line for line in errors.splitlines() if 'Warning' in line]
    return dict(ended=ended, seconds=round(time.monotonic() - began, 1), warnings=said, rows=rows)


def faults(parts: dict[str, dict]) -> list[str]:
    """What is wrong, a line each: parts without an end, kernels that err, and what fails."""
    lines = [f"{name}: {part['ended']}" for name, part in parts.items() if part['ended'] != 'done']
    for part in parts.values():
        for name, row in part['rows'].items():
            if isinstance(row, dict) and row.get('right') is False:
                lines.append(f'{name}: wrong, {row}')
            lines += [f'{where}: {text}' for where, text in texts(name, row)
                      if 'cannot run' not in text]  # which is not installed
    return lines


def texts(name: str, row: object) -> list[tuple[str, str]]:
    """Messages in the place of results, and where they stand."""
    if isinstance(row, dict):
        return [found for key, value in row.items() for found in texts(f'{name}, {key}', value)
                if key not in ('precision', 'target')]
    return [(name, row)] if isinstance(row, str) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_check.json'))
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda')
    parser.add_argument('--tiny', action='store_true', help='sizes for a rehearsal')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    parser.add_argument('--seconds', type=float, default=840., help='for all parts together')
    parser.add_argument('--part', choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        return run_part(args.part, args.device, args.tiny, args.out)
    import torch

    from mmvitlin.benchmark.provenance import libraries
    from mmvitlin.engine.hooks.result import command_line, versions
    from mmvitlin.utils.machine import machine
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('no CUDA device here; --device cpu --tiny rehearses on a CPU')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + args.seconds
    result = dict(machine=machine(args.device), versions={**versions(), **libraries()},
                  command=command_line(),
                  date=datetime.now(timezone.utc).isoformat(timespec='seconds'), parts={})
    for name in args.parts:
        left = min(PARTS[name][1], end - time.monotonic())
        result['parts'][name] = start_part(name, left, args) if left > 1 else dict(
            ended='not started: no time was left', seconds=0., rows={})
        args.out.write_text(json.dumps(result, indent=2) + '\n')
        print(f"{name}: {result['parts'][name]['ended']}", flush=True)
    print('written to', args.out)
    if wrong := faults(result['parts']):
        sys.exit('\n'.join(wrong))


if __name__ == '__main__':
    main()
