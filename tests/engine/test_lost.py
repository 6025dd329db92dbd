"""What a run would lose, or not train, without a word."""
import pytest
import torch
from mmengine.config import Config

from mmvitlin.engine.rules import Context, heads, missing_hooks
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import augment_tests, train
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.engine.nano import nano


def apply(rule, cfg):
    rule(Context(cfg, 'train', ()))


def test_losses_that_would_only_be_logged():
    head = dict(num_classes=3, loss_decode=[dict(type='CrossEntropyLoss'),
                                            dict(type='DiceLoss', loss_name='dice')])
    cfg = Config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder', decode_head=head)))
    with pytest.raises(ConfigError, match=r"loss_decode.1.loss_name='dice'.*take 'loss_dice'"):
        apply(heads.loss_names, cfg)
    cfg.model.decode_head.loss_decode[1].loss_name = 'loss_dice'
    apply(heads.loss_names, cfg)


def test_a_distillation_that_lost_its_hook_says_so(monkeypatch):
    path = str(ROOT / 'configs/distill/linearizer_adventurer-nano_streets.py')
    told = []
    monkeypatch.setattr(missing_hooks, 'warn', told.append)
    apply(missing_hooks.hooks, load_config(path))
    assert told == []
    apply(missing_hooks.hooks, load_config(path, {'custom_hooks': []}))
    assert 'no student.pth will be written' in told[0]


@pytest.mark.slow
def test_the_end_of_a_run_that_stops_early_is_saved(streets, tmp_path):
    cfg = nano(streets, tmp_path, **{
        'train_cfg.max_iters': 6, 'train_cfg.val_interval': 1,
        'default_hooks.checkpoint.interval': 6})
    cfg.custom_hooks = [dict(type='EarlyStoppingHook', monitor='mIoU', patience=1, min_delta=1e3)]
    runner = train(cfg)
    assert runner.iter < 6
    assert (tmp_path / f'iter_{runner.iter}.pth').is_file()
    assert (tmp_path / 'last_checkpoint').read_text().endswith(f'iter_{runner.iter}.pth')


@pytest.mark.slow
def test_tensors_of_another_shape_do_not_count_as_loaded(streets, tmp_path):
    runner = train(nano(streets, tmp_path / 'a', **{'train_cfg.max_iters': 2}))
    state = runner.model.state_dict()
    state['decode_head.conv_seg.bias'] = torch.zeros(7)
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    train(nano(streets, tmp_path / 'b', load_from=str(tmp_path / 'other.pth'),
               **{'train_cfg.max_iters': 2}))
    log = ''.join(path.read_text() for path in (tmp_path / 'b').rglob('*.log'))
    assert f'({len(state) - 1} of {len(state)} tensors)' in log


def test_the_views_of_mmseg_are_averaged_by_our_model():
    cfg = load_config(str(ROOT / 'configs/seg/cityscapes_1024.py'))
    cfg.tta_model = dict(type='mmseg.SegTTAModel')
    augment_tests(cfg)
    assert cfg.model.type == 'mmvitlin.HighResTTAModel'
