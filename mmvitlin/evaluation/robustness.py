"""Scores of trained networks on images unlike those of their training."""
from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement, PixelData

from mmvitlin.datasets.subset import evenly
from mmvitlin.datasets.transforms.corruptions import Corrupt, corruption_names, middle
from mmvitlin.engine.rules import check, check_whole
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import without_initial_weights
from mmvitlin.utils.device import usable_device
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.paths import locate

SEVERITIES = (1, 2, 3, 4, 5)
SCALES = (0.5, 0.75, 1.5, 2.0)
SHARES = (0.75, 0.5, 0.25)
_READING = ('LoadImage', 'LoadImageFromFile')


def conditions(kinds: Sequence[str] = ('corruption', 'resolution', 'context'),
               corruptions: Sequence[str] | None = None,
               severities: Sequence[int] = SEVERITIES) -> dict[str, dict]:
    """Name → what is changed, 'clean' first.

    Less context is 'share', only the middle of the image; it is compared with 'centre', the score
    of the same pixels when the whole image was seen.

    Args:
        kinds: Of shifts.
        corruptions: Names; None for the fifteen common ones.
        severities: 1 to 5.
    """
    result: dict[str, dict] = {'clean': {}}
    if 'corruption' in kinds:
        for name in corruptions or corruption_names():
            result.update({f'{name} {n}': dict(corruption=name, severity=n) for n in severities})
    if 'resolution' in kinds:
        result.update({f'scale {s:g}': dict(scale=s) for s in SCALES})
    if 'context' in kinds:
        for share in SHARES:
            result.update({f'{kind} {share:g}': {kind: share} for kind in ('centre', 'share')})
    return result


def shifted(pipeline: Sequence[dict], shift: dict) -> list[dict]:
    """A test pipeline under one condition.

    Raises:
        ConfigError: it has no place for the change.
    """
    steps = [copy.deepcopy(dict(s)) for s in pipeline]
    names = [s['type'].split('.')[-1] for s in steps]
    if 'corruption' in shift:
        at = next((i for i, n in enumerate(names) if n in _READING), None)
        if at is None:
            raise ConfigError(f'the test pipeline reads no image; its steps are {names}')
        steps.insert(at + 1, dict(type='mmvitlin.Corrupt', **shift))
    elif 'scale' in shift:
        resized = [s for s, n in zip(steps, names, strict=True)
                   if n in ('Resize', 'ResizeEdge', 'CenterCrop')]
        padded = [s for s, n in zip(steps, names, strict=True) if n == 'Pad' and s.get('size')]
        if not resized:
            raise ConfigError(f'the test pipeline has no Resize whose scale could change; its '
                              f'steps are {names}. Leave resolution out of --kinds')
        for step in (*resized, *padded):
            for key in ('scale', 'crop_size', 'size', 'scale_factor'):
                if step.get(key) is not None:
                    step[key] = _times(step[key], shift['scale'], whole=key != 'scale_factor')
    elif 'share' in shift:
        pack = next((i for i, n in enumerate(names) if n.startswith('Pack')), len(steps))
        steps.insert(pack, dict(type='mmvitlin.CentreShare', **shift))
    return steps


def _times(value, factor: float, whole: bool):
    if isinstance(value, (list, tuple)):
        return tuple(_times(v, factor, whole) for v in value)
    return max(round(value * factor), 1) if whole and isinstance(value, int) else value * factor


def check_shifts(cfg: Config, shifts: dict[str, dict]) -> None:
    """Raises ConfigError where a config's test set cannot be put under one of the conditions."""
    for shift in shifts.values():
        shifted(cfg.test_dataloader.dataset.pipeline, shift)
        if 'corruption' in shift:
            Corrupt(**shift)


def made_of(cfg: Config, checkpoint: str, limit: int | None = None) -> dict:
    """What scores depend on: digests of the config (without the initial weights of training) and of
    the weights, and the number of images.

    Raises:
        CheckpointError: there is no such file.
    """
    file, cfg = locate(checkpoint), copy.deepcopy(cfg)
    if not file.is_file():
        raise CheckpointError(f'no checkpoint at {file}; give one that training with the config '
                              'wrote')
    without_initial_weights(cfg)
    whole = cfg.to_dict()
    used = {k: whole.get(k) for k in ('default_scope', 'model', 'data_preprocessor',
                                      'test_dataloader', 'test_evaluator')}
    return dict(config=_digest(json.dumps(used, default=str, sort_keys=True).encode()),
                checkpoint=_digest(file.read_bytes()), limit=limit)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def scores_of(results: dict, net: str, made: dict) -> dict[str, float]:
    """The scores of a network in a file of results, to be added to.

    Args:
        results: 'nets': name → scores, and 'made_of': name → what :func:`made_of` said of them.
        net: Name of the network.
        made: What it is made of now.

    Raises:
        ConfigError: its scores are of another network, or of other images.
    """
    scores = results['nets'].setdefault(net, {})
    known = results.setdefault('made_of', {})
    before = known.get(net, {}) if scores else made
    if changed := [k for k in made if k not in before or before[k] != made[k]]:
        raise ConfigError(f"the scores of '{net}' were made with another or an unknown "
                          f"{' and '.join(changed)}; take another name or another --out, or remove "
                          'the file')
    known[net] = made
    return scores


class _Network:
    """A trained network, and what its test set goes through."""

    def __init__(self, config: str, checkpoint: str, options: dict | None,
                 device: torch.device):
        self.cfg = cfg = load_config(config, options)
        check(cfg, 'infer', checkpoint=checkpoint)
        without_initial_weights(cfg)
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        if cfg.get('data_preprocessor') and 'data_preprocessor' not in cfg.model:
            cfg.model.data_preprocessor = cfg.data_preprocessor
        self.model = MODELS.build(cfg.model)
        self.model.load_state_dict(check_whole(self.model, checkpoint), strict=False)
        self.model.to(device).eval()
        self.data = cfg.test_dataloader.dataset
        self.batch = cfg.test_dataloader.get('batch_size', 1)

    def predict(self, samples: list[dict]) -> list[BaseDataElement]:
        """Of some samples, which are left as they are."""
        init_default_scope(self.cfg.get('default_scope', 'mmengine'))
        return self.model.test_step(pseudo_collate(copy.deepcopy(samples)))


class _Score:
    """Collects the predictions of a network under one condition."""

    def __init__(self, net: _Network, shift: dict, classes: dict | None):
        self.centre = shift.get('centre')
        self.evaluator = Evaluator(net.cfg.test_evaluator)
        self.evaluator.dataset_meta = classes

    def add(self, samples: list[BaseDataElement], batch: dict) -> None:
        if self.centre:
            samples = [_middle_of(sample, self.centre) for sample in samples]
        self.evaluator.process(data_samples=samples, data_batch=batch)

    def result(self, images: int) -> float:
        metrics = self.evaluator.evaluate(images)
        for key in ('mIoU', 'accuracy/top1'):
            if key in metrics:
                return round(float(metrics[key]), 3)
        raise ConfigError(f'the test metric gives {sorted(metrics)}; mIoU or accuracy/top1 is '
                          'needed')


def evaluate_shifts(nets: Mapping[str, tuple[str, str]],
                    shifts: dict[str, dict],
                    options: dict | None = None,
                    limit: int | None = None,
                    device: str | None = None,
                    done: Mapping[str, dict[str, float]] | None = None,
                    progress: Callable[[str, str, float], None] = lambda *_: None
                    ) -> dict[str, dict[str, float]]:
    """Scores of checkpoints under each condition.

    A shifted image is drawn once for all networks with the same test set; they see batches of the
    size that their configs test with, or the smallest of these.

    Args:
        nets: Name → config of a segmentor or classifier, whose test set and metric are used, and
            checkpoint that training with it wrote.
        shifts: From :func:`conditions`.
        options: ``--cfg-options``.
        limit: Images at most, evenly spread over the test set.
        device: See :func:`mmvitlin.utils.device.usable_device`.
        done: Scores that are there already, by network.
        progress: Called with network, condition and score.

    Returns:
        Network → condition → mIoU or top-1 accuracy, in percent.
    """
    for config, _ in nets.values():
        check_shifts(load_config(config, options), shifts)
    place = usable_device(device)
    scores = {net: dict((done or {}).get(net, {})) for net in nets}
    built = {net: _Network(*made_of, options, place) for net, made_of in nets.items()
             if shifts.keys() - scores[net].keys()}
    for group in _grouped(list(built), lambda net: str(built[net].data)):
        first = built[group[0]]
        init_default_scope(first.cfg.get('default_scope', 'mmengine'))
        data, dataset = first.data, DATASETS.build(first.data)
        images = {name: str(shifted(data.pipeline, shift)) for name, shift in shifts.items()}
        for names in _grouped(list(shifts), images.get):  # 'clean' and 'centre' have the same
            left = {net: [n for n in names if n not in scores[net]] for net in group}
            left = {net: missing for net, missing in left.items() if missing}
            if not left:
                continue
            init_default_scope(first.cfg.get('default_scope', 'mmengine'))
            scored = _score({net: built[net] for net in left}, left, shifts,
                            _through(dataset, shifted(data.pipeline, shifts[names[0]])), limit)
            for (net, name), score in scored.items():
                scores[net][name] = score
                progress(net, name, score)
    return scores


def _grouped(names: Sequence[str], key: Callable[[str], str]) -> list[list[str]]:
    """Names with one key together, in order."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return list(groups.values())


def _through(dataset: BaseDataset, pipeline: list[dict]) -> BaseDataset:
    """A data set whose images, listed already, go through another pipeline."""
    changed = copy.copy(dataset)
    changed.pipeline = Compose(pipeline)
    return changed


@torch.inference_mode()
def _score(nets: Mapping[str, _Network], left: Mapping[str, list[str]], shifts: dict[str, dict],
           dataset: BaseDataset, limit: int | None) -> dict[tuple[str, str], float]:
    """(network, condition) → score, of conditions that share their images."""
    classes = getattr(dataset, 'metainfo', None)
    running = {(net, name): _Score(nets[net], shifts[name], classes)
               for net, names in left.items() for name in names}
    numbers = evenly(len(dataset), limit)
    size = min(network.batch for network in nets.values())
    for start in range(0, len(numbers), size):
        batch = [dataset[number] for number in numbers[start:start + size]]
        for net, names in left.items():
            samples = nets[net].predict(batch)
            for name in names:
                running[net, name].add(samples, pseudo_collate(batch))
    return {key: score.result(len(numbers)) for key, score in running.items()}


def _middle_of(sample: BaseDataElement, share: float) -> BaseDataElement:
    """The middle of prediction and labels; an image's class is that of the whole image."""
    sample = sample.clone()
    for key in ('pred_sem_seg', 'gt_sem_seg'):
        if (labels := getattr(sample, key, None)) is not None:
            place = middle(*labels.data.shape[-2:], share)
            setattr(sample, key, PixelData(data=labels.data[(..., *place)]))
    return sample
