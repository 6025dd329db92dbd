"""The main job on drawn street scenes: teacher, distillation, fine-tuning, comparison, speed."""
import itertools
import json
import os
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path

import torch

from mmvitlin.analysis.comparison import report
from mmvitlin.analysis.figures import latency_figure, loss_curves
from mmvitlin.analysis.latency import backbone_latency, backbone_memory, machine
from mmvitlin.analysis.report_page import Page, find_runs, samples_of, write_page
from mmvitlin.analysis.resolution import labelled_images
from mmvitlin.analysis.side_by_side import difference_figure, predictions
from mmvitlin.apis import SegInferencer
from mmvitlin.datasets.streets import write_streets
from mmvitlin.device import half_dtype
from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.recipe import load_recipe, load_report, run_recipe

RECIPES = Path(__file__).parents[1] / 'configs' / 'recipes'
SHAPES = ((512, 512), (1024, 1024), (1024, 2048), (2048, 2048))


def say(text: str) -> None:
    print(f'\n== {text}', flush=True)


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('--recipe', type=Path, default=RECIPES / 'streets_demo.py',
                        help='what is run')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--scenes', type=int, nargs=2, default=(240, 60), metavar=('TRAIN', 'VAL'),
                        help='drawn')
    args = parser.parse_args()
    start, out = time.perf_counter(), args.work_dir
    recipe, told = load_recipe(args.recipe), load_report(args.recipe)

    data = out / 'streets'
    if not (data / 'annotations' / 'instancesonly_filtered_gtFine_val.json').is_file():
        say(f'drawing {sum(args.scenes)} street scenes of 256x512 into {data}')
        write_streets(data, dict(zip(('train', 'val'), args.scenes, strict=True)), (256, 512),
                      seed=args.seed)

    amp = half_dtype() is not None
    say(f"{len(recipe)} runs, two side by side, in {'mixed' if amp else 'single'} precision; "
        'one that is done is not repeated')
    runs = run_recipe(recipe, out, (args.seed, ), {'data_root': str(data)},
                      amp=amp, jobs=1 if torch.cuda.is_available() else 2)[args.seed]

    say('timing the backbones of teacher and student, batch 1, in turn')
    stages = out / f'seed{args.seed}'
    trained = {who: SegInferencer.of_run(stages / stage)
               for who, stage in (('teacher', told.teacher), ('student', told.student))}
    nets = {who: infer.model.backbone for who, infer in trained.items()}
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    latency = backbone_latency(nets, SHAPES, device, warmup=1, rounds=9, seconds=6)
    peak = {who: backbone_memory(infer.cfg.model.backbone.to_dict(), SHAPES)
            for who, infer in trained.items()}

    say('figures and report')
    results = dict(
        miou={name: round(runs[name]['metrics']['mIoU'], 2) for name in told.rows},
        iterations={name: run['iterations'] for name, run in runs.items()},
        seconds={name: run['seconds'] for name, run in runs.items()},
        params={who: sum(p.numel() for p in net.parameters()) for who, net in nets.items()},
        latency_ms=latency,
        peak_mb={shape: {who: peak[who][shape] for who in peak} for shape in latency},
        seeds=[args.seed], machine=machine(), versions=versions(),
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        recipe=os.path.relpath(args.recipe), command=command_line(),
        total_seconds=round(time.perf_counter() - start, 1))
    (out / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
    rows = list(predictions(*trained.values(), itertools.islice(
        labelled_images(trained['teacher'].cfg), 4)))
    palette = trained['teacher'].palette
    difference_figure(rows, palette, trained['teacher'].classes, out / 'predictions.png',
                      {who: results['miou'][getattr(told, who)] for who in trained})
    loss_curves({name: stages / name for name in runs}, told.unlabelled, out / 'losses.png')
    latency_figure(latency, nets['student'].patch_size, out / 'latency.png')
    write_page(Page(told.title, find_runs([stages]), {
        'Time of the backbones against tokens, batch 1': out / 'latency.png',
        'Predictions on held-out scenes': out / 'predictions.png'
    }, samples_of(rows, palette, told.student)), out / 'report.html')
    text = report(results, told)
    (out / 'report.md').write_text(text)
    print('\n' + text)
    width = min(shutil.get_terminal_size().columns, 100)
    print('-' * width + f'\nwritten to {out}: report.html, report.md, results.json and figures; '
          f'{time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
    main()
