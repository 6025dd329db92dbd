"""Runs: what stops them, what they go on from, what they leave."""
import json

import pytest
import torch
from mmengine.config import Config

from mmvitlin.engine.runner import launch
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import augment_tests, build_runner, evaluate, train
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.engine.nano import nano


@pytest.mark.slow
def test_augmented_tests(streets, tmp_path):
    train(nano(streets, tmp_path / 'run', **{'train_cfg.max_iters': 2}))
    scores = [evaluate(nano(streets, tmp_path / f'test{tta}', **{
        'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False,
        'test_dataloader.batch_size': 1}), str(tmp_path / 'run' / 'iter_2.pth'), tta=tta)
        for tta in (False, True)]
    assert all(0 <= s['mIoU'] <= 100 for s in scores)
    assert scores[0] != scores[1]
    cfg = nano(streets, tmp_path)
    augment_tests(cfg, (0.5, 1.))
    dataset = load_config('configs/seg/fcn_adventurer-nano_streets.py').test_dataloader.dataset
    wide, high = next(t['scale'] for t in dataset.pipeline if t['type'] == 'Resize')
    views = cfg.test_dataloader.dataset.pipeline[1]['transforms']
    assert [v['scale'] for v in views[0]] == [(wide // 2, high // 2), (wide, high)]
    assert len(views[1]) == 2


def test_two_configs_of_one_name_are_told_apart(streets, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr('mmvitlin.engine.runner.launch.warn', told.append)
    for n, folder in enumerate(('a', 'a', 'b')):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / 'mine.py'
        path.write_text('x = 1')
        cfg = Config.fromfile(path)
        cfg.work_dir = str(tmp_path / 'work')
        launch._mark(tmp_path / 'work' / '.started', cfg)
        assert len(told) == (n == 2)
    assert f'holds runs of {tmp_path}/a/mine.py, and this one is of {tmp_path}/b/mine.py' in told[0]


def test_what_can_be_augmented(streets, tmp_path):
    joined = nano(streets, tmp_path)
    one = joined.test_dataloader.dataset
    joined.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[one, one])
    augment_tests(joined, (0.5, 1.))
    for dataset in joined.test_dataloader.dataset.datasets:
        assert dataset.pipeline[1]['type'] == 'TestTimeAug'
    for options, expected in ((dict(scale=64), (32, 32)), (dict(scale_factor=1.5), (0.75, 0.75))):
        cfg = nano(streets, tmp_path)
        cfg.test_dataloader.dataset.pipeline[1] = dict(type='Resize', **options)
        augment_tests(cfg, (0.5, 1.))
        view = cfg.test_dataloader.dataset.pipeline[1]['transforms'][0][0]
        assert view[next(iter(options))] == expected
    for change, words in ((dict(test_dataloader=None), 'no test_dataloader'),
                          (dict(tta_pipeline=[dict(type='mmvitlin.LoadImage')]),
                           'no step TestTimeAug')):
        cfg = nano(streets, tmp_path)
        cfg.update(change)
        with pytest.raises(ConfigError, match=f'--tta: .*{words}'):
            augment_tests(cfg)


def test_the_console_names_the_file_of_what_is_long(streets, tmp_path, capsys):
    cfg = nano(streets, tmp_path)
    runner = build_runner(cfg)
    shown, (log, ) = capsys.readouterr().out, tmp_path.rglob('*.log')
    written = log.read_text(encoding='utf-8')
    for part in ('System environment:', 'Config:\n', 'Hooks will be executed', 'model = dict('):
        assert part in written
        assert part not in shown
    assert f'order of hooks: {log}' in shown
    assert len(shown.splitlines()) < 12
    runner.build_optim_wrapper(cfg.optim_wrapper)
    assert 'paramwise_options -- ' in log.read_text(encoding='utf-8')
    assert 'paramwise_options' not in capsys.readouterr().out
    runner.logger.info('Config:\nof a user')  # only while the runner is built
    assert 'of a user' in capsys.readouterr().out


@pytest.mark.parametrize(('options', 'words'), [
    ({'optim_wrapper.optimizer.learning_rate': 1}, "first training .* argument 'learning_rate'"),
    ({'train_dataloader.batchsize': 1}, "first training .* argument 'batchsize'"),
    ({'train_cfg.dynamic_intervals': 'two'}, 'first training of this config ended with'),
    ({'val_evaluator.iou_metrics': ['mMoU']}, "first (training|validation) .*mMoU"),
])
def test_what_a_config_cannot_do_is_one_line(streets, tmp_path, options, words):
    with pytest.raises(ConfigError, match=f'{words}.*MMVITLIN_TRACEBACK=1'):
        train(nano(streets, tmp_path, **{'train_cfg.max_iters': 1, **options}))


@pytest.mark.slow
def test_an_unknown_config_key_of_mmvitlin_is_named(streets, tmp_path):
    cfg = nano(streets, tmp_path)
    cfg.model.backbone.patchsize = 8
    with pytest.raises(ConfigError, match='cannot be built.*patchsize'):
        train(cfg)


@pytest.mark.slow
def test_going_on_from_another_backbone_is_refused(streets, tmp_path):
    """Heads may differ."""
    torch.save(dict(state_dict={'backbone.layers.0.x': torch.ones(2)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'load_from: .*other.pth is of another backbone: '
                                              r'.* keys are not in the file .*1 keys have no'):
        train(nano(streets, tmp_path / 'a', load_from=str(tmp_path / 'other.pth')))
    own = train(nano(streets, tmp_path / 'b', **{'train_cfg.max_iters': 1})).model.state_dict()
    state = {k: v for k, v in own.items() if not k.startswith('decode_head')}
    state['backbone.pos_embed'] = torch.zeros(1, 17, 32)  # of 4x4 patches
    torch.save(dict(state_dict=state), tmp_path / 'fits.pth')
    model = train(nano(streets, tmp_path / 'c', load_from=str(tmp_path / 'fits.pth'), **{
        'train_cfg.max_iters': 1, 'optim_wrapper.optimizer.lr': 0.})).model
    assert model.backbone.pos_embed.shape[1] == 33
    assert not model.backbone.pos_embed.any()


@pytest.mark.slow
def test_a_resumed_run_ends_like_an_undisturbed_one(streets, tmp_path):
    whole = train(nano(streets, tmp_path / 'whole'))
    short = nano(streets, tmp_path / 'cut', **{'train_cfg.max_iters': 2})
    short.param_scheduler = nano(streets, tmp_path).param_scheduler
    train(short)
    again = train(nano(streets, tmp_path / 'cut'), resume=True)
    assert again.iter == whole.iter == 4
    # the data order is the sampler's, which a resume does not advance: compare what must match
    for runner in (whole, again):
        assert (tmp_path / ('whole' if runner is whole else 'cut') / 'result.json').is_file()
    steps = [r.optim_wrapper.optimizer.state_dict()['state'][0]['step'].item()
             for r in (whole, again)]
    assert steps == [4, 4]
    assert whole.param_schedulers[0].last_step == again.param_schedulers[0].last_step


@pytest.mark.slow
def test_resuming_a_finished_run_validates_and_ignores_load_from(streets, tmp_path):
    train(nano(streets, tmp_path))
    (tmp_path / 'result.json').unlink()
    cfg = nano(streets, tmp_path)
    cfg.load_from = str(tmp_path / 'iter_2.pth')
    runner = train(cfg, resume=True)
    assert runner.iter == 4
    assert 'mIoU' in json.loads((tmp_path / 'result.json').read_text())['metrics']


def test_images_of_several_sizes_make_no_batch():
    from mmvitlin.engine.runner.launch import refuse_other_sizes
    refuse_other_sizes(RuntimeError('something else'))
    with pytest.raises(RuntimeError) as raised:
        torch.stack([torch.zeros(3, 8, 8), torch.zeros(3, 4, 8)])
    with pytest.raises(ConfigError, match=r'sizes, \[3, 8, 8\] and \[3, 4, 8\] .*one size'):
        refuse_other_sizes(raised.value)
