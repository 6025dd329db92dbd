"""The main job on drawn street scenes: teacher, distillation, fine-tuning, comparison, speed.

The pretrained teacher is fetched once, by pip. Where it cannot be, the recipe's offline form runs,
with a small teacher that is trained on the drawn scenes first.
"""
import itertools
import json
import os
import shutil
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import torch

from mmvitlin.apis import SegInferencer
from mmvitlin.benchmark.latency import backbone_latency, backbone_memory
from mmvitlin.datasets.streets import write_streets
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.evaluation.resolution import labelled_images
from mmvitlin.experiments.comparison import report
from mmvitlin.experiments.recipe import load_recipe, load_report
from mmvitlin.experiments.running import run_recipe
from mmvitlin.experiments.stage import Stage
from mmvitlin.models.teachers.fetch import fetch
from mmvitlin.utils.device import half_dtype
from mmvitlin.utils.errors import ConfigError, UserError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine
from mmvitlin.visualization.figures import latency_figure, loss_curves, plt
from mmvitlin.visualization.report_page import Page, find_runs, samples_of, write_page
from mmvitlin.visualization.side_by_side import difference_figure, predictions

STEPS_ONLY = ('teacher and student learn only from drawings: this shows the steps, not the '
              'benefit of distillation')
RECIPES = Path(__file__).parents[1] / 'configs' / 'recipes'


def say(text: str) -> None:
    print(f'\n== {text}', flush=True)


def runnable(recipe: Path, work_dir: Path) -> tuple[Path, Path]:
    """The recipe and its work directory, or those of its offline form where the pretrained teacher
    cannot be fetched."""
    report = load_report(recipe)
    if not report.pretrained:
        say(STEPS_ONLY)
        return recipe, work_dir
    say(f'the pretrained teacher {report.pretrained}')
    try:
        print(fetch(report.pretrained))
    except UserError as error:
        print(error)
        say(f'without it {report.offline} runs: {STEPS_ONLY}')
        return recipe.with_name(report.offline), work_dir.with_name(f'{work_dir.name}-offline')
    return recipe, work_dir


def draw(data: Path, scenes: Sequence[int], seed: int, recipe: Sequence[Stage]) -> None:
    """Draw scenes, unless they are there.

    Raises:
        ConfigError: others are there, or they are fewer than the recipe counts on.
    """
    needed = 1 + max((n for stage in recipe for n in stage.options.get(
        'train_dataloader.dataset.indices', ())), default=0)
    if scenes[0] < needed:
        raise ConfigError(f'--scenes: the labelled scenes of this recipe are among {needed} for '
                          f'training, got {scenes[0]}')
    drawn, now = data / 'drawn.json', dict(scenes=list(scenes), seed=seed)
    if drawn.is_file():
        if (before := json.loads(drawn.read_text())) != now:
            raise ConfigError(f'{data} holds other scenes ({before}, not {now}); give another '
                              '--work-dir')
        return
    say(f'drawing {sum(scenes)} street scenes of 256x512 into {data}')
    write_streets(data, dict(zip(('train', 'val'), scenes, strict=True)), (256, 512), seed=seed)
    write_whole(f'{json.dumps(now)}\n'.encode(), drawn)


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('--recipe', type=Path, default=RECIPES / 'streets_pretrained.py',
                        help='what is run')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--scenes', type=int, nargs=2, default=(240, 60), metavar=('TRAIN', 'VAL'),
                        help='drawn')
    args = parser.parse_args()
    plt.load()
    start = time.perf_counter()
    args.recipe, out = runnable(args.recipe, args.work_dir)
    recipe, layout = load_recipe(args.recipe), load_report(args.recipe)

    data = out / 'streets'
    draw(data, args.scenes, args.seed, recipe)

    amp = half_dtype() is not None
    say(f"{len(recipe)} runs, two side by side, in {'mixed' if amp else 'single'} precision; "
        'one that is done is not repeated')
    runs = run_recipe(recipe, out, (args.seed, ), {'data_root': str(data)},
                      amp=amp, jobs=1 if torch.cuda.is_available() else 2)[args.seed]

    say('timing the backbones of teacher and student, batch 1, in turn')
    stages = out / f'seed{args.seed}'
    trained = {role: SegInferencer.of_run(stages / stage)
               for role, stage in (('teacher', layout.teacher), ('student', layout.student))}
    nets = {role: infer.model.backbone for role, infer in trained.items()}
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    latency = backbone_latency(nets, layout.shapes, device, warmup=1, rounds=layout.rounds,
                               seconds=6)
    peak = {role: backbone_memory(infer.cfg.model.backbone.to_dict(), layout.shapes)
            for role, infer in trained.items()}

    say('figures and report')
    results = dict(
        miou={name: round(runs[name]['metrics']['mIoU'], 2) for name in layout.rows},
        iterations={name: run['iterations'] for name, run in runs.items()},
        seconds={name: run['seconds'] for name, run in runs.items()},
        params={role: sum(p.numel() for p in net.parameters()) for role, net in nets.items()},
        latency_ms=latency,
        peak_mb={shape: {role: peak[role][shape] for role in peak} for shape in latency},
        seeds=[args.seed], machine=machine(), versions=versions(),
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        recipe=os.path.relpath(args.recipe), command=command_line(),
        total_seconds=round(time.perf_counter() - start, 1))
    (out / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
    rows = list(predictions(*trained.values(), itertools.islice(
        labelled_images(trained['teacher'].cfg), 4)))
    palette = trained['teacher'].palette
    difference_figure(rows, palette, trained['teacher'].classes, out / 'predictions.png',
                      {role: results['miou'][getattr(layout, role)] for role in trained})
    loss_curves({name: stages / name for name in runs}, layout.unlabelled, out / 'losses.png')
    latency_figure(latency, nets['student'].patch_size, out / 'latency.png')
    write_page(Page(layout.title, find_runs([stages]), {
        'Time of the backbones against tokens, batch 1': out / 'latency.png',
        'Predictions on held-out scenes': out / 'predictions.png'
    }, samples_of(rows, palette, layout.student)), out / 'report.html')
    text = report(results, layout)
    (out / 'report.md').write_text(text)
    print('\n' + text)
    width = min(shutil.get_terminal_size().columns, 100)
    print('-' * width + f'\nwritten to {out}: report.html, report.md, results.json and figures; '
          f'{time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
    main()
