"""Half precision, where the machine computes in it."""
import json

import pytest
import torch
from mmengine.config import Config

from mmvitlin.engine.optim import CPUAmpOptimWrapper
from mmvitlin.engine.runner.launch import train
from mmvitlin.engine.runner.run_options import _set_amp
from mmvitlin.utils.device import bfloat16_gain, half_dtype, warn_if_slow
from tests.engine.nano import nano


@pytest.mark.slow
@pytest.mark.parametrize('has_bfloat16', [True, False])
def test_mixed_precision_on_the_cpu(has_bfloat16, streets, tmp_path, monkeypatch):
    """A processor that would imitate bfloat16 trains in float32, and says so."""
    monkeypatch.setattr('mmvitlin.engine.runner.run_options.half_dtype',
                        lambda: torch.bfloat16 if has_bfloat16 else None)
    messages = []
    monkeypatch.setattr('mmvitlin.engine.runner.run_options.print_log',
                        lambda text, **_: messages.append(text))
    monkeypatch.setattr('mmvitlin.utils.device.has_bfloat16', lambda: has_bfloat16)
    runner = train(nano(streets, tmp_path), amp=True)
    assert isinstance(runner.optim_wrapper, CPUAmpOptimWrapper) == has_bfloat16
    assert ['has no bfloat16' in text for text in messages] == ([] if has_bfloat16 else [True])
    assert json.loads((tmp_path / 'result.json').read_text())['precision'] == (
        'bfloat16' if has_bfloat16 else 'float32')
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())
    assert runner.message_hub.get_scalar('train/loss').current() > 0


@pytest.mark.parametrize(('cpu', 'gain', 'why'), [
    ('_is_avx512_bf16_supported', 1.7, None), ('_is_amx_tile_supported', 6., None),
    ('_is_avx512_bf16_supported', 0.62, "this processor's bfloat16 instructions are slower than "
                                        "float32's (0.6 times the speed)"),
    (None, 1.2, 'this processor has no bfloat16 instructions')])
def test_half_precision_is_what_the_processor_is_faster_in(cpu, gain, why, monkeypatch):
    monkeypatch.setattr('mmvitlin.utils.device.bfloat16_gain', lambda: gain)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == cpu)
    assert half_dtype() == half_dtype('cpu') == (None if why else torch.bfloat16)
    messages = []
    monkeypatch.setattr('mmvitlin.utils.device.print_log', lambda text, **_: messages.append(text))
    warn_if_slow('the teacher', None, 'cpu')
    warn_if_slow('the teacher', torch.bfloat16, 'cuda')
    warn_if_slow('the teacher', torch.bfloat16, 'cpu')
    assert messages == ([f'the teacher: {why}; bfloat16 is slower than float32'] if why else [])


def test_the_gain_of_bfloat16_is_measured():
    gain = bfloat16_gain()
    assert 0.01 < gain < 30
    assert bfloat16_gain() == gain


@pytest.mark.parametrize(('dtype', 'expected'), [
    (torch.bfloat16, dict(dtype='bfloat16', loss_scale=dict(enabled=False))),
    (torch.float16, dict(dtype='float16'))])
def test_only_float16_scales_its_loss(dtype, expected, monkeypatch):
    """bfloat16 has float32's range, and a scaler leaves out steps silently."""
    monkeypatch.setattr('mmvitlin.engine.runner.run_options.half_dtype', lambda: dtype)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    _set_amp(cfg)
    assert cfg.optim_wrapper.to_dict() == dict(type='mmvitlin.AmpOptimWrapper', **expected)
