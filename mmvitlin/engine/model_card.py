"""A model card in Markdown, from a checkpoint and the files of its run.

Only values go in. Folders, files and addresses that a config or a command names stay out.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from torch import Tensor

from mmvitlin.engine.origin import NOT_KNOWN, RANDOM, Run
from mmvitlin.engine.run_scores import circumstances, run_record, run_scores
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.normalisation import Normalisation
from mmvitlin.utils.paths import is_place

TO_FILL_IN = 'TO BE FILLED IN'
_STARTS = ('init_cfg', 'checkpoint', 'pretrained', 'load_from')  # keys of a config
_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
_TASKS = {'decode_head': 'image-segmentation', 'panoptic_head': 'image-segmentation',
          'roi_head': 'object-detection', 'bbox_head': 'object-detection',
          'head': 'image-classification'}
_LICENCE_WORD = re.compile(r'[A-Za-z0-9][A-Za-z0-9.+-]*')


def check_licence(licence: str | None) -> None:
    """Refuse what is not an abbreviation, and would break the card's header.

    Raises:
        ConfigError: it is another text than letters, digits, '.', '+' and '-'.
    """
    if licence is not None and not _LICENCE_WORD.fullmatch(licence):
        raise ConfigError(f"--license '{licence}': give an abbreviation such as apache-2.0, mit or "
                          'cc-by-nc-4.0; a text of your own goes into the card')


def model_card(weights: Path, sha256: str, source: Path, meta: Mapping, state: Mapping[str, Tensor],
               licence: str | None = None) -> str:
    """The card of published weights.

    Args:
        weights: The file that is published, for its name and size.
        sha256: Of its content.
        source: The checkpoint that it was made of; its folder may hold the run's config and
            ``result.json``.
        meta: Its entries besides the weights.
        state: Its weights.
        licence: Abbreviation of their licence; None leaves a line to be filled in.

    Returns:
        Markdown, with Hugging Face's YAML header.
    """
    run = Run(source, meta)
    config, model = run.config, run.model
    whole = model.get('student') or ({} if 'teacher' in model else model)  # beside a backbone
    network = whole or model.get('backbone') or {}
    task = _task(state)
    sections = [
        _header(task, model, licence), f'# {weights.stem}',
        f'Made by `mmvitlin publish_model` from the checkpoint of a run and what lay beside it. '
        f'What it does not tell is marked **{TO_FILL_IN}** or said to be {NOT_KNOWN}.',
        '## Licence', _licence(licence), '## File', '\n'.join(_file(weights, sha256, state)),
        '## Network', *_network(network, bool(whole), meta),
        '## Images', _normalisation(meta), '## Classes', _classes(meta),
        '## Training', *_training(run),
        '## Scores', run_scores(source, meta),
        '## Loading', *_loading(weights.name, task, network, config),
        '## Intended use and limits', f'**{TO_FILL_IN}**: what the weights are for, on what images '
        'they fail, and what the data they were trained on does not show.']
    return '\n\n'.join(sections) + '\n'


def _task(state: Mapping[str, Tensor]) -> str:
    """Hugging Face's name of the task."""
    parts = {key.split('.')[0] for key in state}
    return next((task for part, task in _TASKS.items() if part in parts),
                'image-feature-extraction')


def _header(task: str, model: Mapping, licence: str | None) -> str:
    backbone = (model.get('student') or model).get('backbone') or {}
    kinds = str(backbone.get('type', '')) + str(backbone.get('attention', ''))
    tags = ['openmmlab', *['distillation'] * ('teacher' in model),
            *['mamba'] * bool(re.search('Adventurer|[Mm]amba', kinds)),
            *(f'{kind}-attention' for kind in ('linear', 'focal', 'window') if kind in kinds)]
    return '\n'.join(['---', 'library_name: mmvitlin', f'pipeline_tag: {task}', 'tags:',
                      *(f'- {tag}' for tag in tags), f"license: {licence or 'other'}", '---'])


def _licence(licence: str | None) -> str:
    own = f'Of these weights: {licence}, as whoever published them states.' if licence else \
        f'**{TO_FILL_IN}**: the licence of these weights (here and at the top of this file).'
    return own + (' The licences of the teacher, of the weights that training started from and of '
                  'the images may apply too; whoever publishes the weights must judge that.')


def _file(weights: Path, sha256: str, state: Mapping[str, Tensor]) -> Iterator[str]:
    yield f'- Name: `{weights.name}`, {weights.stat().st_size / 2**20:.1f} MiB'
    yield f'- SHA-256: `{sha256}`'
    counts: dict[str, int] = {}
    for key, value in state.items():
        part, _, last = key.partition('.')
        if isinstance(value, Tensor) and last.rpartition('.')[2] not in _STATISTICS:
            counts[part if last else 'other'] = counts.get(part if last else 'other', 0
                                                           ) + value.numel()
    each = ', '.join(f'{part} {count:,}' for part, count in counts.items())
    yield f'- Parameters: {sum(counts.values()):,} ({each}), running statistics not counted'


def _network(network: Mapping, whole: bool, meta: Mapping) -> Iterator[str]:
    """The network, in words and as a config."""
    if network:
        backbone = network.get('backbone') or network if whole else network
        kinds = [f"`{network['type']}`"] * (whole and 'type' in network)
        kinds += [f"{'backbone ' * whole}`{backbone.get('type', NOT_KNOWN)}`"]
        kinds += [f"{part} `{settings['type']}`" for part, settings in network.items()
                  if whole and part != 'backbone' and part != 'data_preprocessor'
                  and isinstance(settings, Mapping) and 'type' in settings]
        yield ', '.join(kinds) + ':'
        name = 'model' if whole else 'backbone'
        yield _shown(name, network)
        return
    yield f'Its config is {NOT_KNOWN}: the checkpoint has none, nor is one beside it.'
    if meta.get('backbone'):
        yield 'What the file says of its backbone:'
        yield _shown('description', meta['backbone'])


def without_files(value: object) -> object:
    """A part of a config without the weights that it starts from; other files are 'PATH'."""
    if isinstance(value, Mapping):
        return {k: without_files(v) for k, v in value.items() if k not in _STARTS}
    if isinstance(value, (list, tuple)):
        return type(value)(without_files(v) for v in value)
    return 'PATH' if isinstance(value, str) and is_place(value) else value


def _shown(name: str, value: Mapping) -> str:
    """As the text of a config."""
    return f'```python\n{Config({name: without_files(value)}).pretty_text.strip()}\n```'


def _normalisation(meta: Mapping) -> str:
    known = Normalisation.of_meta(meta)
    if known is None:
        return f'How they must be normalised is {NOT_KNOWN}.'
    mean, std = (', '.join(f'{float(v):g}' for v in values) for values in (known.mean, known.std))
    colours = {True: 'RGB', False: 'BGR', None: f'an order that is {NOT_KNOWN}'}[known.rgb]
    return (f'Values from 0 to 255, channels in the order {colours}: subtract ({mean}), divide by '
            f'({std}). The `data_preprocessor` of a config does this.')


def _classes(meta: Mapping) -> str:
    described = meta.get('dataset_meta')
    names = described.get('classes') if isinstance(described, Mapping) else None
    if not names:
        return f'None, or {NOT_KNOWN}.'
    names = [' '.join(str(name).split()) for name in names]
    return f'{len(names)}, by number from 0: ' + ', '.join(names) + '.'


def _training(run: Run) -> Iterator[str]:
    """The run, and those that it started from."""
    for n, one in enumerate(run.chain()):
        if n:
            yield f"The run that {'this' if n == 1 else 'that'} one started from:"
        lines = list(_run(one))
        if n and (result := run_record(one.file, one.meta)) is not None:
            lines += [f"- Date: {result.get('date', NOT_KNOWN)}", *circumstances(result)]
        yield '\n'.join(lines)


def _run(run: Run) -> Iterator[str]:
    yield f'- Length: {run.iterations}'
    yield f'- Data set: {run.data_sets}'
    weights, licence = run.start()
    yield f'- Started from: {weights}'
    if licence != NOT_KNOWN:
        yield f'- Licence of the weights it started from: {licence}'
    taught = [one for one in run.chain() if one.teacher is not None]
    if run.teacher is not None:
        yield f"- Distilled by `{run.model.get('type', NOT_KNOWN)}`"
    if taught:
        weights, licence = taught[0].origin(taught[0].teacher)
        yield f'- Teacher: {weights}' + '; not in this run, but before it' * (run is not taught[0])
        yield f"- Licence of the teacher's weights: {licence}"
    elif run.config and weights.endswith(RANDOM):
        yield '- Teacher: none'
    else:
        yield f'- Teacher: {NOT_KNOWN}' + '; none in this run' * bool(run.config)


def _loading(name: str, task: str, network: Mapping, config: Mapping) -> Iterator[str]:
    """Lines of Python."""
    if not network:
        yield (f"`torch.load('{name}', weights_only=True)['state_dict']` has the weights; of "
               f'what network they are is {NOT_KNOWN}.')
        return
    if task == 'image-feature-extraction':
        yield 'With `backbone` from above:'
        yield ('```python\nfrom mmengine.registry import MODELS\n'
               'network = MODELS.build(dict(backbone, init_cfg=dict(\n'
               f"    type='Pretrained', checkpoint='{name}', prefix='backbone.')))\n"
               'network.init_weights()\n```')
        return
    scope = config.get('default_scope', 'mmengine')
    yield 'With `model` from above:'
    yield ('```python\nimport torch\nfrom mmengine.config import ConfigDict\n'
           'from mmengine.registry import MODELS, init_default_scope\n'
           f'init_default_scope({scope!r})\nnetwork = MODELS.build(ConfigDict(model))\n'
           f"network.load_state_dict(torch.load('{name}', weights_only=True)['state_dict'])\n```")
    inferencer = {'mmseg': 'SegInferencer', 'mmdet': 'DetInferencer'}
    if scope in inferencer:
        yield 'On images, with the config of the training, which is not in the file:'
        yield (f'```python\nfrom mmvitlin import {inferencer[scope]}\n'
               f"infer = {inferencer[scope]}('CONFIG.py', '{name}')\nresult, = infer('photo.jpg')\n"
               '```')
