"""Curves in TensorBoard, Weights & Biases and MLflow by one line of a config."""
import os

import pytest

from mmvitlin.engine.runner.launch import train
from tests.engine.nano import nano


@pytest.fixture
def followed(streets, tmp_path):
    """Trains four steps under a visual backend and returns the folder it writes to."""
    from mmseg.visualization import SegLocalVisualizer
    SegLocalVisualizer._instance_dict.clear()  # there is one of a name in a process

    def run(**backend):
        runner = train(nano(streets, tmp_path, **{
            'visualizer.vis_backends': [dict(type='LocalVisBackend'), backend]}))
        assert list(tmp_path.glob('*/vis_data/scalars.json'))
        return runner, tmp_path / runner.timestamp / 'vis_data'

    return run


@pytest.mark.slow
def test_tensorboard(followed):
    pytest.importorskip('tensorboard', reason='needs tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(followed(type='TensorboardVisBackend')[1]))
    events.Reload()
    assert [e.step for e in events.Scalars('loss')] == [1, 2, 3, 4]
    assert [e.step for e in events.Scalars('mIoU')] == [4]


@pytest.mark.slow
def test_weights_and_biases(followed):
    pytest.importorskip('wandb', reason='needs wandb')
    runner, folder = followed(type='WandbVisBackend', init_kwargs=dict(mode='offline'))
    run = runner.visualizer.get_backend('WandbVisBackend').experiment
    if run.run is not None:  # not yet finished
        assert run.run.summary['loss'] > 0
    kept, = folder.rglob('*.wandb')
    assert b'decode.loss_ce' in kept.read_bytes()


@pytest.mark.slow
def test_mlflow(followed):
    mlflow = pytest.importorskip('mlflow', reason='needs mlflow')
    _, folder = followed(type='mmvitlin.MLflowVisBackend')
    client = mlflow.MlflowClient(f'file://{folder}')
    run, = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert [m.step for m in client.get_metric_history(run.info.run_id, 'loss')] == [1, 2, 3, 4]


def test_mlflow_may_write_files_by_default(monkeypatch, tmp_path):
    from mmengine.visualization import MLflowVisBackend as Usual

    from mmvitlin.engine.tracking import MLflowVisBackend
    monkeypatch.setattr(Usual, '__init__', lambda self, save_dir, **kwargs: None)
    monkeypatch.delenv('MLFLOW_ALLOW_FILE_STORE', raising=False)
    MLflowVisBackend(str(tmp_path), tracking_uri='http://localhost')
    assert 'MLFLOW_ALLOW_FILE_STORE' not in os.environ
    for before, after in ((None, 'true'), ('false', 'false')):
        if before is not None:
            monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', before)
        MLflowVisBackend(str(tmp_path))
        assert os.environ['MLFLOW_ALLOW_FILE_STORE'] == after
