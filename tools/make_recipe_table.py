"""Write docs/recipes.md: every full-size config with its settings, and which of them are published.

    python tools/make_recipe_table.py              writes the page
    python tools/make_recipe_table.py --check      fails where the page is not what it would write

What is published and what is not comes from the config's header ("# Published: …", "# Ours: …",
continued on lines that start with three spaces), the settings from the resolved config.
"""
import argparse
import itertools
import re
import sys
from pathlib import Path

from mmengine.config import Config

from mmvitlin.engine.runner.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs/recipes.md'
RECIPES_BY_SWITCH = ('l2', 'phi_s', 'clip_large', 'siglip_large', 'softmax', 'focal', 'student_448',
                     'columns', 'cascade', 'muon')
SMALL = ('camvid', 'cifar10', 'streets', '_images')
FOLDERS = dict(distill='Distillation', cls='Classification', seg='Segmentation',
               det='Detection, instances and panoptic segments')
INTRO = """# Every full-size config and its source

The full-size configs, what each runs with, and what of it is published. "Ours" is what the source
does not have, does not say, or has otherwise. None of these was trained here: what was measured,
with small networks, is in [results](results/README.md). A GPU needs `--amp`, see
[gpu.md](gpu.md).

`python tools/make_recipe_table.py` writes this page from the headers and the resolved configs.

Rates are for the batch that is named and follow another one in proportion (`auto_scale_lr`). Where
8 GPUs with the config's batch a GPU make another one, it stands in brackets: take other numbers of
GPUs, `train_dataloader.batch_size` or `optim_wrapper.accumulative_counts` for the one named here.
"layers" is the decay of the rate from block to block. Sizes are those of images or crops in
training.
"""


def full_size_configs() -> list[Path]:
    """All but those of small data sets."""
    return [path for folder in FOLDERS for path in sorted((ROOT / 'configs' / folder).glob('*.py'))
            if not any(name in path.stem for name in SMALL)]


def sources(path: Path) -> dict[str, str]:
    """The published and the own settings in a config's header.

    Raises:
        ValueError: one of the two is missing.
    """
    parts: dict[str, str] = {}
    word = None
    for line in path.read_text().splitlines():
        if not line.startswith('#'):
            break
        if match := re.match(r'# (Published|Ours): (.+)', line):
            word = match[1]
            parts[word] = match[2]
        elif word and line.startswith('#   '):
            parts[word] += ' ' + line[1:].strip()
        else:
            word = None
    for word in ('Published', 'Ours'):
        if word not in parts:
            raise ValueError(f'{path}: the header has no "# {word}: …"; write what of the recipe '
                             'is published, and what is ours and why')
    return parts


def _size(cfg: Config) -> str:
    for step in cfg.train_dataloader.dataset.pipeline:
        size = step.get('crop_size') or (step.get('scale') if 'Crop' in step['type'] else None)
        if size:
            break
    else:
        size = cfg.model.backbone.get('img_size')
    pair = (size, size) if isinstance(size, int) else tuple(size)
    return f'{pair[0]}×{pair[1]}'


def _length(cfg: Config) -> str:
    loop = cfg.train_cfg
    count = f"{loop['max_epochs']} epochs" if 'max_epochs' in loop else \
        f"{loop['max_iters'] // 1000}k steps"
    meant = cfg.auto_scale_lr.base_batch_size
    taken = 8 * cfg.train_dataloader.batch_size * cfg.optim_wrapper.get('accumulative_counts', 1)
    return f'{count} of {meant}' + ('' if taken == meant else f' (8 GPUs: {taken})')


def settings(cfg: Config) -> str:
    """Size, length, rates and the like, of a resolved config."""
    optimizer, paramwise = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.get('paramwise_cfg', {})
    parts = [_size(cfg), _length(cfg), f"{optimizer['type']} {optimizer['lr']:g}",
             f"decay {optimizer['weight_decay']:g}"]
    if paramwise.get('layer_decay_rate', 1.) != 1:
        parts.append(f"layers {paramwise['layer_decay_rate']:g}")
    if paramwise.get('backbone_lr_mult', 1.) != 1:
        parts.append(f"backbone × {paramwise['backbone_lr_mult']:g}")
    if 'clip_grad' in cfg.optim_wrapper:
        parts.append(f"clipped at {cfg.optim_wrapper.clip_grad['max_norm']:g}")
    if cfg.model.backbone.get('drop_path_rate'):
        parts.append(f"drop path {cfg.model.backbone['drop_path_rate']:g}")
    if (cfg.model.get('test_cfg') or {}).get('mode') == 'slide':
        parts.append('tested in windows')
    return ', '.join(parts)


def page() -> str:
    """The whole page."""
    lines = [INTRO.rstrip()]
    for folder, title in FOLDERS.items():
        lines += ['', f'## {title}', '', '| config | settings | published | ours |',
                  '| --- | --- | --- | --- |']
        for path in full_size_configs():
            if path.parent.name == folder:
                parts = sources(path)
                lines.append(f"| [`{path.stem}`](../configs/{folder}/{path.name}) | "
                             f"{settings(load_config(str(path)))} | {parts['Published']} | "
                             f"{parts['Ours']} |")
    lines += ['', '## By switch', '', 'Recipes that differ from the configs above in one thing: '
              '`--cfg-options switches=NAME`, or `switches = [...]` in a config of your own. A '
              'hybrid keeps softmax in some layers: `model.backbone.softmax_layers=(11,23)` '
              '(JetViT).',
              '', '| switch | what it changes |', '| --- | --- |', *switches()]
    return '\n'.join(lines) + '\n'


def switches() -> list[str]:
    """A row for each switch that makes another recipe of a config, from its first lines."""
    rows = []
    for name in RECIPES_BY_SWITCH:
        text = (ROOT / f'configs/_base_/switches/{name}.py').read_text()
        header = itertools.takewhile(lambda line: line.startswith('#'), text.splitlines())
        said = ' '.join(line[1:].strip() for line in header).removeprefix('a switch: ')
        rows.append(f'| [`switches={name}`](../configs/_base_/switches/{name}.py) | {said} |')
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing')
    args = parser.parse_args()
    made = page()
    if not args.check:
        PAGE.write_text(made)
    elif not PAGE.is_file() or PAGE.read_text() != made:
        sys.exit(f'{PAGE.relative_to(ROOT)} is stale; run `python tools/make_recipe_table.py`')


if __name__ == '__main__':
    main()
