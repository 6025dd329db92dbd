"""The student's own checkpoint, with and without averaging; no teacher anywhere."""
import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import PixelData

from mmvitlin.datasets.samplers.seeding import mix
from mmvitlin.engine.hooks import StepSeedHook
from mmvitlin.engine.hooks.result import commit
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from mmvitlin.models import Adventurer


def distill_config(streets, work_dir, **options):
    vit = dict(embed_dim=24, depth=2, num_heads=2, patch_size=16)
    return load_config('configs/distill/linearizer_adventurer-nano_streets.py', {
        'data_root': str(streets), 'train_cfg.max_iters': 3,
        'model.backbone.arch': dict(embed_dims=32, num_layers=2),
        'model.backbone.img_size': (64, 128), 'model.teacher.checkpoint': None,
        'allow_random_weights': True,
        'model.teacher.backbone.img_size': (64, 128), 'model.teacher.backbone.model_kwargs': vit,
        'model.objectives.activation.num_stages': 2,
        'train_dataloader.dataset.pipeline.1.scale': (128, 64),
        'train_dataloader.dataset.pipeline.2.crop_size': (64, 128),
        'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
        'default_hooks.logger.interval': 1, 'default_hooks.checkpoint.interval': 3, **options,
    }, str(work_dir))


@pytest.mark.slow
@pytest.mark.parametrize('ema', [False, True])
def test_what_a_distillation_leaves(streets, tmp_path, ema):
    cfg = distill_config(streets, tmp_path)
    if ema:
        cfg.custom_hooks.append(dict(type='EMAHook', momentum=0.5, priority='ABOVE_NORMAL'))
    runner = train(cfg)

    written = torch.load(tmp_path / 'student.pth', weights_only=True)
    assert written['meta']['finished']
    assert written['meta']['normalisation'] == dict(rgb=True, mean=[123.675, 116.28, 103.53],
                                                    std=[58.395, 57.12, 57.375])
    student = written['state_dict']
    assert all(k.startswith('backbone.') for k in student)
    assert 'backbone.mask_token' not in student
    fresh = Adventurer(dict(embed_dims=32, num_layers=2), img_size=(64, 128), init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'student.pth'), prefix='backbone.'))
    fresh.init_weights()
    live = runner.model.backbone.layers[0].mlp.w1.weight
    assert torch.equal(fresh.layers[0].mlp.w1.weight, live) != ema  # the averaged one differs

    from mmvitlin.utils.weights import safe_torch_load
    full = safe_torch_load(tmp_path / 'iter_3.pth')
    keys = [*full['state_dict'], *full.get('ema_state_dict', {})]
    assert not any('teacher' in k or 'vit' in k for k in keys)
    assert ('ema_state_dict' in full) == ema
    trained = sum(p.numel() for p in runner.model.parameters())
    held = full['optimizer']['state'].values()
    assert sum(s['exp_avg'].numel() for s in held) == trained

    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['iterations'] == 3
    assert set(result['train']) >= {'loss', 'loss_activation', 'loss_mask'}
    assert result['parameters'] == trained
    assert result['train']['loss'] == pytest.approx(  # of all three, not of the last batch
        runner.message_hub.get_scalar('train/loss').data[0].mean())
    assert result.get('commit') == commit()


@pytest.mark.slow
def test_the_student_is_written_during_the_run(streets, tmp_path):
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    class Stop(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 2:
                raise KeyboardInterrupt

    cfg = distill_config(streets, tmp_path, **{'default_hooks.checkpoint.interval': 1})
    HOOKS.register_module(name='StopAtTwo', module=Stop, force=True)
    cfg.custom_hooks.append(dict(type='mmengine.StopAtTwo'))
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    meta = torch.load(tmp_path / 'student.pth', weights_only=True)['meta']
    assert (meta['iter'], meta['finished']) == (1, False)


def test_masks_do_not_depend_on_the_number_of_processes(monkeypatch):
    from mmvitlin.models.distillers import step_draws
    from mmvitlin.models.distillers.step_draws import StepDraws
    cfg = load_config('configs/distill/linearizer_adventurer-nano_streets.py')
    cfg.model.teacher.checkpoint = None
    model = MODELS.build(cfg.model)
    free = [model.random_mask(4, 30, 'cpu') for _ in range(2)]
    assert not torch.equal(*free)
    alone = model.random_mask(4, 30, 'cpu', StepDraws(7))
    assert torch.equal(alone, model.random_mask(4, 30, 'cpu', StepDraws(7)))
    monkeypatch.setattr(step_draws, 'get_world_size', lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(step_draws, 'get_rank', lambda rank=rank: rank)
        assert torch.equal(model.random_mask(2, 30, 'cpu', StepDraws(7)), alone[rank::2])
    assert not torch.equal(model.random_mask(2, 30, 'cpu', StepDraws(8)), alone[1::2])


@pytest.mark.parametrize('preprocessor', ['mmvitlin.ImagePreprocessor', 'mmseg.SegDataPreProcessor',
                                          'mmengine.ImgDataPreprocessor'])
def test_the_seed_of_a_step_travels_with_its_batch(preprocessor):
    """Through any preprocessor; a model that takes none gets none."""
    cfg = load_config('configs/distill/linearizer_adventurer-nano_streets.py')
    cfg.model.teacher.checkpoint = None
    cfg.model.data_preprocessor.type = preprocessor
    if preprocessor.startswith('mmseg'):
        cfg.model.data_preprocessor.size = (64, 64)
    model = MODELS.build(cfg.model)
    from mmseg.structures import SegDataSample
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 64, 64)))
    given = []
    model.distill = lambda images, draws: given.append(draws.seed) or dict(
        loss=images.sum().requires_grad_())
    runner = SimpleNamespace(model=model, seed=3, rank=0, iter=5)
    batch = dict(inputs=[torch.zeros(3, 64, 64, dtype=torch.uint8)], data_samples=[sample])
    StepSeedHook().before_train_iter(runner, 0, batch)
    model.train_step(batch, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.)))
    assert given == [mix(3, 5)]
    runner.model, other = torch.nn.Linear(2, 2), {}
    StepSeedHook().before_train_iter(runner, 0, other)
    assert other == {}


def test_metrics_that_are_no_numbers_are_left_out():
    from mmvitlin.engine.hooks.result import _scalars
    assert _scalars({'mIoU': torch.tensor(1.5), 'f1': [1, 2], 'n': 3}) == {'mIoU': 1.5, 'n': 3.0}


@pytest.mark.slow
def test_a_distillation_resumes(streets, tmp_path):
    first = distill_config(streets, tmp_path, **{'train_cfg.max_iters': 2,
                                                 'default_hooks.checkpoint.interval': 2})
    train(first)
    runner = train(distill_config(streets, tmp_path), resume=True)
    assert runner.iter == 3
    assert (tmp_path / 'iter_3.pth').is_file()
