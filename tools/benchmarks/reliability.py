"""Killed runs, layouts of processes, restarts: is the result the same?

    python tools/benchmarks/reliability.py --out docs/results/reliability.json     about 15 minutes

Runs of small networks on a CPU: a distillation with averaged weights that is killed at random
moments until it has been killed 20 times, against one that was not; distillation and segmentation
as 1×1, 1×2 and 2×2 (machines × processes, each machine with an address of its own) with one
global batch, and distillation sharded over them; one worker killed under torchrun; configs,
checkpoints and data with something wrong.
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import torch

from mmvitlin.datasets.streets import write_streets
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.utils import read_state_dict
from mmvitlin.utils.machine import machine
from mmvitlin.utils.weights import safe_torch_load

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests import fuzzing

BATCH = 4
_NANO = """
_base_ = ['{root}/configs/{config}']
custom_imports = dict(imports=['tools.benchmarks.global_loss'])
max_iters = {iters}
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=0,
                        end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval={interval}, max_keep_ckpts=3),
                     logger=dict(interval=5))
train_dataloader = dict(batch_size={batch}, num_workers=0, persistent_workers=False)
"""
_DISTILL = """
allow_random_weights = True  # of the teacher
model = dict(backbone=dict(arch=dict(embed_dims=64, num_layers=4), img_size=(64, 128)),
             objectives=dict(activation=dict(num_stages=2)),
             teacher=dict(checkpoint=None, backbone=dict(img_size=(64, 128), model_kwargs=dict(
                 embed_dim=48, depth=4, num_heads=2))))
custom_hooks = [dict(type='mmvitlin.StudentCheckpointHook'), dict(type='GlobalLossHook'),
                dict(type='EMAHook')]
train_dataloader['dataset'] = dict(pipeline=[
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResize', scale=(128, 64), ratio_range=(1.0, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 128)), dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')])
"""
# batch norm sees the samples of one process, group norm does not care; what a sample drops is
# drawn by the process that has it
_SEGMENT = """
model = dict(backbone=dict(arch=dict(embed_dims=64, num_layers=4), drop_path_rate=0.),
             decode_head=dict(in_channels=64, channels=32, dropout_ratio=0.,
                              norm_cfg=dict(type='GN', num_groups=4)))
custom_hooks = [dict(type='GlobalLossHook')]
"""
_NOT_AVERAGED = """
custom_hooks = [dict(type='mmvitlin.StudentCheckpointHook'), dict(type='GlobalLossHook')]
"""


def config(folder: Path, kind: str, iters: int, interval: int, batch: int,
           switch: str = 'averaged') -> Path:
    path = folder / f'{kind}_{batch}{switch}.py'
    name, more = dict(distill=('distill/linearizer_adventurer-nano_streets.py', _DISTILL),
                      segment=('seg/fcn_adventurer-nano_streets.py', _SEGMENT))[kind]
    text = _NANO.format(root=ROOT, config=name, iters=iters, interval=interval, batch=batch)
    if switch != 'averaged':
        more += _NOT_AVERAGED
    if switch in ('fsdp', 'deepspeed'):
        text = text.replace("']", f"', '{ROOT}/configs/_base_/switches/{switch}.py']", 1)
    path.write_text(text + more)
    return path


def start(command: list, threads: int = 1, **env: str) -> subprocess.Popen:
    outer = os.environ
    settings = dict(OMP_NUM_THREADS=str(threads), PYTHONWARNINGS='ignore',
                    PYTHONPATH=f"{ROOT}:{outer.get('PYTHONPATH', '')}".rstrip(':'),
                    PATH=f"{Path(sys.executable).parent}:{outer['PATH']}")
    return subprocess.Popen(
        [str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env={**outer, **settings, **env})


def finish(child: subprocess.Popen) -> str:
    output = child.communicate()[0]
    if child.returncode:
        raise RuntimeError(f'{child.args} ended with {child.returncode}:\n{output[-3000:]}')
    return output


def train(cfg: Path, work: Path, data: Path, *more: str) -> list:
    return [sys.executable, 'tools/train.py', cfg, '--work-dir', work, *more, '--cfg-options',
            f'data_root={data}']


def gap(a: dict, b: dict) -> float:
    """Largest difference of two state dicts, relative to each tensor's largest value."""
    if a.keys() != b.keys():
        raise RuntimeError('the runs ended with other parameters')
    return max(float((a[k].double() - b[k].double()).abs().max() /
                     b[k].double().abs().max().clamp_min(1e-12)) for k in a)


def outcome(work: Path, iters: int) -> dict[str, torch.Tensor]:
    """Weights and averaged weights."""
    path = work / f'iter_{iters}.pth'
    content = safe_torch_load(path)
    averaged = {f'averaged.{k}': v for k, v in content.get('ema_state_dict', {}).items()}
    return {**read_state_dict(path, prefix=''), **averaged}


def kills(folder: Path, data: Path, count: int, iters: int = 400) -> dict:
    """One distillation, killed until it has been killed ``count`` times."""
    cfg = config(folder, 'distill', iters, 5, BATCH)
    for name in ('whole', 'killed'):
        shutil.rmtree(folder / name, ignore_errors=True)
    finish(start(train(cfg, folder / 'whole', data)))
    draw, killed, resumed = random.Random(0), 0, []
    work = folder / 'killed'

    def newest() -> int:
        return max((int(p.stem.split('_')[1]) for p in work.glob('iter_*.pth')), default=0)

    while not (work / 'result.json').is_file():
        child = start(train(cfg, work, data, '--resume'))
        if killed < count:
            if draw.random() < 0.25:  # while it starts and loads
                time.sleep(draw.uniform(0.5, 6))
            else:  # anywhere on the way, at such steps that all kills find room
                step = 2 * max(iters - newest(), 10) // (count - killed + 1)
                target = newest() + draw.randint(0, step)
                while newest() < target and child.poll() is None:
                    time.sleep(0.02)
                time.sleep(draw.uniform(0, 0.6))
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                killed += 1
            child.communicate()
        else:
            finish(child)
        resumed.append(newest())
        print(f'kill {killed}: newest checkpoint {resumed[-1]}', flush=True)
    same = outcome(work, iters), outcome(folder / 'whole', iters)
    return dict(kills=killed, iterations=iters, checkpoint_every=5, newest_after_each=resumed,
                parameters=len(same[0]),
                bit_equal=all(torch.equal(same[0][k], same[1][k]) for k in same[1]),
                half_written_files=[p.name for p in work.glob('.*.pth.*')])


LAYOUTS = {'1x1': (1, 1, 'averaged'), '1x2': (1, 2, 'averaged'), '2x2': (2, 2, 'averaged')}
SHARDED = {'1x1': (1, 1, ''), '1x2 FSDP': (1, 2, 'fsdp'), '2x2 FSDP': (2, 2, 'fsdp')}
if find_spec('deepspeed'):
    SHARDED['1x2 DeepSpeed in bfloat16'] = (1, 2, 'deepspeed')


def layouts(folder: Path, data: Path, kind: str, chosen: dict = LAYOUTS, iters: int = 50) -> dict:
    """The same global batch on one process, two, and two machines of two."""
    rows, losses, weights, metrics = {}, {}, {}, {}
    for port, (name, (nodes, each, switch)) in enumerate(chosen.items()):
        cfg = config(folder, kind, iters, iters, BATCH // (nodes * each), switch)
        work = folder / f'{kind}_{name}'.replace(' ', '_')
        shutil.rmtree(work, ignore_errors=True)
        children = [start(
            ['bash', 'tools/dist_train.sh', cfg, each, '--work-dir', work, '--cfg-options',
             f'data_root={data}'], NNODES=str(nodes), NODE_RANK=str(n), PORT=str(29710 + port),
            MASTER_ADDR='127.0.0.1', LOCAL_ADDR=f'127.0.0.{n + 1}') for n in range(nodes)]
        for child in children:
            finish(child)
        losses[name] = [json.loads(line)[1] for line in
                        (work / 'losses.jsonl').read_text().splitlines()]
        weights[name] = read_state_dict(work / f'iter_{iters}.pth', prefix='')
        metrics[name] = json.loads((work / 'result.json').read_text())['metrics']
        first, now = losses['1x1'], losses[name]
        rows[name] = dict(
            processes=nodes * each, steps=len(now), first_loss=now[0], last_loss=now[-1],
            loss_gap=max(abs(a - b) / abs(a) for a, b in zip(first, now, strict=True)),
            weight_gap=gap(weights[name], weights['1x1']), metrics=metrics[name])
        print(kind, name, rows[name], flush=True)
    return rows


def evaluation(folder: Path, data: Path) -> dict:
    """One checkpoint, 7 images, on one process and on two."""
    cfg = config(folder, 'segment', 50, 50, BATCH)
    checkpoint = folder / 'segment_1x1' / 'iter_50.pth'
    scores = {}
    for n in (1, 2):
        work = folder / f'test_{n}'
        finish(start(['bash', 'tools/dist_test.sh', cfg, checkpoint, n, '--work-dir', work,
                      '--cfg-options', f'data_root={data}'], PORT=str(29730 + n)))
        scores[n] = json.loads((work / 'test_result.json').read_text())['metrics']
    return dict(images=7, one=scores[1], two=scores[2], equal=scores[1] == scores[2])


def restart(folder: Path, data: Path, iters: int = 60) -> dict:
    """One of two workers is killed; torchrun restarts both and they resume."""
    cfg = config(folder, 'distill', iters, 5, BATCH // 2)
    for name in ('smooth', 'restarted'):
        shutil.rmtree(folder / name, ignore_errors=True)
    finish(start(['bash', 'tools/dist_train.sh', cfg, 2, '--work-dir', folder / 'smooth',
                  '--cfg-options', f'data_root={data}'], PORT='29740'))
    work = folder / 'restarted'
    child = start(['bash', 'tools/dist_train.sh', cfg, 2, '--work-dir', work, '--cfg-options',
                   f'data_root={data}'], PORT='29741', MAX_RESTARTS='2')
    while not (work / 'iter_20.pth').is_file():
        time.sleep(0.2)
        if child.poll() is not None:
            finish(child)
    workers = subprocess.run(['pgrep', '-f', f'train.py .*{cfg} .*{work}'], capture_output=True,
                             text=True).stdout.split()
    victims = [int(p) for p in workers if _is_worker(int(p))]
    os.kill(victims[-1], signal.SIGKILL)
    output = finish(child)
    return dict(killed_after=20, iterations=iters, resumed='resumed' in output,
                bit_equal=all(torch.equal(a, b) for a, b in zip(
                    outcome(work, iters).values(), outcome(folder / 'smooth', iters).values(),
                    strict=True)))


def fuzzed(folder: Path, data: Path, configs: int = 300, checkpoints: int = 1000) -> dict:
    """Configs with something wrong, trained and validated for a step, and checkpoints: a result,
    or one clear error."""
    os.chdir(ROOT)
    counts = {'configs': Counter(), 'checkpoints': Counter()}
    broken = []
    cfg = load_config('configs/seg/fcn_adventurer-nano_streets.py', {
        'data_root': str(data), 'model.backbone.arch': dict(embed_dims=32, num_layers=2),
        'model.decode_head.in_channels': 32, 'model.decode_head.channels': 16,
        'model.backbone.img_size': (64, 128), 'model.data_preprocessor.size': (64, 128),
        'train_dataloader.dataset.pipeline.2.scale': (128, 64),
        'train_dataloader.dataset.pipeline.3.crop_size': (64, 128),
        'val_dataloader.dataset.pipeline.1.scale': (128, 64), **fuzzing.ONE_STEP,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False, 'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False}, str(folder / 'fuzzed'))
    whole = fuzzing.checkpoint_bytes()
    for kind, count in (('configs', configs), ('checkpoints', checkpoints)):
        for seed in range(count):
            try:
                if kind == 'configs':
                    changed, change = fuzzing.mutate_config(cfg, seed)
                    counts[kind][fuzzing.outcome_of_config(changed)] += 1
                else:
                    change, path = f'seed {seed}', folder / 'fuzzed.pth'
                    path.write_bytes(fuzzing.mutate_bytes(whole, seed))
                    counts[kind][fuzzing.outcome_of_checkpoint(path)] += 1
            except Exception as error:
                counts[kind]['unclear'] += 1
                broken.append(f'{change}: {type(error).__name__}: {str(error)[:200]}')
    return dict({k: dict(c) for k, c in counts.items()}, unclear=broken)


def damaged(folder: Path, data: Path, count: int = 260) -> dict:
    """Data sets with one damaged image or label file: named by the check and by training?"""
    os.chdir(ROOT)
    cfg = load_config('configs/seg/fcn_adventurer-nano_streets.py', {'data_root': str(data)})
    counts: dict[str, Counter] = {}
    for seed in range(count):
        kind, outcome = fuzzing.outcome_of_damage(cfg, seed)
        counts.setdefault(kind, Counter())[outcome] += 1
    return {kind: dict(counter) for kind, counter in counts.items()}


def _is_worker(pid: int) -> bool:
    try:
        return b'LOCAL_RANK=' in Path(f'/proc/{pid}/environ').read_bytes()
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/reliability.json'))
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reliability'))
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--resume', action='store_true', help='keep the rows that are there')
    args = parser.parse_args()
    folder = args.work_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / 'streets'
    if not data.is_dir():
        write_streets(data, dict(train=12, val=7), (64, 128), dict(train=1, val=1), 32, seed=3)
    results = {'rows': {}}
    if args.resume and args.out.is_file():
        results = json.loads(args.out.read_text())
    rows: dict[str, Callable[[], dict]] = {
        'killed at random': lambda: kills(folder, data, args.kills),
        'layouts, distillation': lambda: layouts(folder, data, 'distill'),
        'layouts, segmentation': lambda: layouts(folder, data, 'segment'),
        'sharded distillation': lambda: layouts(folder, data, 'distill', SHARDED),
        'evaluation on two processes': lambda: evaluation(folder, data),
        'worker killed under torchrun': lambda: restart(folder, data),
        'mutated configs and checkpoints': lambda: fuzzed(folder, data),
        'damaged data': lambda: damaged(folder, data),
    }
    for name, run in rows.items():
        if name in results['rows']:
            continue
        results['rows'][name] = run()
        results.update(machine=machine(), versions=versions(),
                       command=command_line().replace(' --resume', ''),
                       date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + '\n')
        print(name, json.dumps(results['rows'][name]), flush=True)


if __name__ == '__main__':
    main()
