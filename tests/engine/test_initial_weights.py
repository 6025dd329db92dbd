"""A checkpoint that a config names is used, or the run is refused; the log names it."""
import copy

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import CheckpointLoader

from mmvitlin.engine.hooks import InitialWeightsHook
from mmvitlin.engine.runner.launch import train
from mmvitlin.models.teachers.frozen_teacher import FrozenTeacher
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.engine.nano import nano

RESNET = dict(type='mmseg.ResNet', depth=18, base_channels=8, norm_cfg=dict(type='BN'))


@pytest.fixture(scope='module')
def resnet(tmp_path_factory):
    """Files of a small ResNet: as it is, inside of a segmentor, and with its norms alone."""
    folder = tmp_path_factory.mktemp('resnet')
    init_default_scope('mmseg')
    torch.manual_seed(7)  # not that of the runs
    state = MODELS.build(RESNET).state_dict()
    torch.save(dict(state_dict=state, ema=dict(steps=1)), folder / 'bare.pth')
    whole = {f'encoder.{k}': v for k, v in state.items()}
    torch.save(dict(state_dict=whole), folder / 'whole.pth')
    torch.save(dict(model=state), folder / 'wrapped.pth')
    return folder


def segmentor(streets, work_dir, **options):
    """One step of a segmentor with that ResNet."""
    cfg = nano(streets, work_dir, **{'train_cfg.max_iters': 1})
    cfg.model.backbone = dict(RESNET)
    cfg.model.decode_head.update(in_channels=64, in_index=-1)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.optim_wrapper.pop('paramwise_cfg', None)
    cfg.merge_from_dict(options)
    return cfg


def start_of(runner):
    """What a run says of its weights; two of one second share a log."""
    return next(h for h in runner.hooks if isinstance(h, InitialWeightsHook))._words(runner)


def given(path, **more):
    return dict(type='Pretrained', checkpoint=str(path), **more)


@pytest.mark.parametrize(('key', 'file', 'words'), [
    ('model.backbone.init_cfg', 'whole.pth', r"model.backbone.init_cfg: nothing of .*whole.pth was "
     r"loaded into this ResNet: .*set model.backbone.init_cfg.prefix='encoder.'"),
    ('model.init_cfg', 'bare.pth', r'model.init_cfg: nothing of .*bare.pth was loaded into this '
     'HighResSegmentor: .*give a checkpoint of the same network, or the prefix'),
    ('model.decode_head.init_cfg', 'bare.pth', 'model.decode_head.init_cfg: nothing of .*bare.pth'),
])
def test_a_named_checkpoint_that_matches_no_parameter(streets, tmp_path, resnet, key, file, words):
    with pytest.raises(CheckpointError, match=words):
        train(segmentor(streets, tmp_path, **{key: given(resnet / file)}))


def test_checkpoints_that_are_used_are_logged(streets, tmp_path, resnet):
    for name, init in (('bare', given(resnet / 'bare.pth')),
                       ('prefix', [dict(type='Kaiming', layer='Conv2d'),
                                   given(resnet / 'whole.pth', prefix='encoder.')])):
        runner = train(segmentor(streets, tmp_path / name, **{'model.backbone.init_cfg': init}))
        assert start_of(runner).startswith('model.backbone from ')
    runner = train(segmentor(streets, tmp_path / 'none'))
    assert start_of(runner) == 'random'
    torch.save(dict(model=runner.model.state_dict()), tmp_path / 'wrapped.pth')
    runner = train(segmentor(streets, tmp_path / 'on', load_from=str(tmp_path / 'wrapped.pth')))
    count = len(runner.model.state_dict())
    assert f'wrapped.pth ({count} of {count} tensors)' in start_of(runner)
    before = torch.load(tmp_path / 'wrapped.pth')['model']
    after = runner.model.state_dict()  # one step moves them little
    assert all((after[k] - v).abs().max() < 0.01 for k, v in before.items()
               if k.endswith('conv1.weight'))


def test_a_url_is_compared_when_it_has_been_fetched(streets, tmp_path, resnet, monkeypatch):
    CheckpointLoader.register_scheme(
        'fetched://', lambda name, map_location=None: torch.load(
            resnet / name.removeprefix('fetched://'), map_location), force=True)
    with pytest.raises(CheckpointError, match='load_from: fetched://bare.pth is of another '
                                              'backbone: .* keys are not in the file'):
        train(segmentor(streets, tmp_path, load_from='fetched://bare.pth'))


def test_a_run_is_resumed_by_its_own_network(streets, tmp_path, resnet):
    train(segmentor(streets, tmp_path / 'run'))
    cfg = segmentor(streets, tmp_path / 'run', **{'train_cfg.max_iters': 2})
    wider = copy.deepcopy(cfg)
    wider.model.decode_head.channels = 24
    with pytest.raises(CheckpointError, match=r'--resume: .*iter_1.pth is of another network .*'
                                              r"have another shape \(\['decode_head"):
        train(wider, resume=True)
    runner = train(cfg, resume=True)
    assert runner.iter == 2
    assert start_of(runner).startswith('resumed from')


def test_a_teacher_of_mmpretrain_has_the_weights_of_its_init_cfg(tmp_path):
    network = dict(type='mmpretrain.VisionTransformer', img_size=32, patch_size=16,
                   arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64))
    init_default_scope('mmpretrain')
    torch.manual_seed(2)
    state = MODELS.build(network).state_dict()
    torch.nn.init.normal_(state['pos_embed'])
    torch.save({f'backbone.{k}': v for k, v in state.items()}, tmp_path / 'a.pth')
    torch.manual_seed(3)
    teacher = FrozenTeacher(dict(network, init_cfg=given(tmp_path / 'a.pth', prefix='backbone.')))
    result = teacher.network.network.state_dict()
    assert all(torch.equal(result[k], v) for k, v in state.items())
    with pytest.raises((CheckpointError, ConfigError), match='model.teacher.backbone.init_cfg: '
                       r"nothing of .*set model.teacher.backbone.init_cfg.prefix='backbone.'"):
        FrozenTeacher(dict(network, init_cfg=given(tmp_path / 'a.pth')))


def test_weights_that_a_student_inherits_are_said():
    from types import SimpleNamespace
    hook, model = InitialWeightsHook(), torch.nn.Linear(1, 1)
    runner = SimpleNamespace(model=model, cfg=SimpleNamespace(get=lambda _: {}))
    assert hook._words(runner) == 'random'
    model.inherited = True
    assert hook._words(runner) == "model.backbone inherited from the teacher's; all else random"
