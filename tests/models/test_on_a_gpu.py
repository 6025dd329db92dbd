"""Forward passes of the configs on a simulated GPU, plain and under autocast."""
import contextlib
import importlib

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData

from mmvitlin.benchmark.training_step import HostWaits
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.distillers.step_draws import StepDraws
from mmvitlin.models.losses.mask_set import MaskSetLoss
from mmvitlin.ops import causal_depthwise_conv1d
from mmvitlin.ops.selective_scan import _scan as selective_scan
from mmvitlin.ops.selective_scan import _scan_backward as selective_scan_backward
from mmvitlin.ops.ssd.chunked import _scan as ssd
from mmvitlin.ops.ssd.chunked import _scan_backward as ssd_backward
from tests.conftest import ROOT
from tests.detecting import needs_mmdet
from tests.models.test_distillation_options import ALL
from tests.models.test_distillers import build as build_distiller
from tests.simulated_gpu import GPU, move, simulated_gpu
from tests.test_configs import without_weights

TYPES = [None, torch.bfloat16, torch.float16]
CONFIGS = [
    'cls/adventurer-pico_cifar10', 'cls/vit-pico_cifar10',
    'distill/adala-attention_vit-nano_camvid', 'distill/adala-feature_vit-nano_camvid',
    'distill/l2_adventurer-nano_camvid',
    'distill/linearizer_adventurer-nano_camvid', 'distill/linearizer_convnext-pico_camvid',
    'distill/linearizer_linear-vit-pico_camvid', 'distill/linearizer_mixer-pico_camvid',
    'distill/logits_adventurer-nano_camvid', 'distill/logits_adventurer-pico_cifar10',
    'distill/lolcats_vit-nano_camvid', 'seg/fcn_adventurer-nano_camvid',
    'seg/fcn_linear-vit-nano_camvid', 'seg/fcn_vit-nano_camvid',
    'seg/upernet_adventurer-tiny_cityscapes-1024'
]
FULL_SIZE = [
    'cls/adventurer-base_in1k-224', 'distill/adala-attention_dinov2-base_coco-448',
    'distill/adala-feature_dinov2-base_in1k-448', 'distill/linearizer_adventurer-base_in1k-224',
    'seg/segmenter_adventurer-base_cityscapes-1024'
]


def _samples(kind: str, size, classes: int = 1) -> list:
    if kind == 'cls':
        from mmpretrain.structures import DataSample
        return [DataSample().set_gt_label(torch.zeros(1, dtype=torch.long))]
    from mmseg.structures import SegDataSample
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, *size, dtype=torch.long)))
    sample.set_metainfo(dict(img_shape=size, ori_shape=size, pad_shape=size))
    return [sample]


def _model_and_batch(path: str) -> tuple:
    cfg = load_config(f'configs/{path}.py')
    without_weights(cfg.model)
    init_default_scope(cfg.default_scope)
    if 'data_preprocessor' in cfg:  # as the runner does
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    kind = path.split('/')[0]
    size = cfg.get('crop_size', (120, 160) if 'camvid' in path else (32, 32))
    images = [torch.zeros(3, *size, dtype=torch.uint8)] * 2
    batch = dict(inputs=torch.stack(images) if 'collate_fn' in cfg.train_dataloader else images)
    if kind != 'distill':
        batch['data_samples'] = [s for _ in images for s in _samples(kind, size)]
    return MODELS.build(cfg.model).train(), batch


@pytest.mark.parametrize('autocast', TYPES, ids=str)
@pytest.mark.parametrize('path', CONFIGS)
def test_forward_passes(path, autocast, monkeypatch):
    monkeypatch.chdir(ROOT)
    model, batch = _model_and_batch(path)
    kind = path.split('/')[0]
    with simulated_gpu(autocast):
        move(model)
        loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
        assert (loss.device, loss.dtype) == (GPU, torch.float32)
        if kind == 'distill':
            return
        model.eval()
        batch = dict(inputs=batch['inputs'][:1], data_samples=batch['data_samples'][:1])
        with torch.no_grad():
            model(**model.data_preprocessor(batch, False), mode='predict')


@pytest.mark.parametrize('path', [*CONFIGS, *FULL_SIZE])
def test_steps_wait_for_nothing(path, monkeypatch):
    """From the loader's batch to the loss, once constants are on the device."""
    monkeypatch.chdir(ROOT)
    np.random.seed(0)  # which of Mixup and CutMix a batch gets
    model, batch = _model_and_batch(path)
    if path.startswith('seg/'):  # a crop that reaches beyond its image
        batch['inputs'][1] = batch['inputs'][1][:, :-9]
        labels = batch['data_samples'][1].gt_sem_seg
        short = labels.data[:, :-9]
        del labels.data
        labels.data = short
    with simulated_gpu(torch.bfloat16):
        move(model)
        for _ in range(3):
            with HostWaits('cuda') as waits:
                model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    assert waits.count == 0


@pytest.mark.parametrize('path', [
    'seg/eomt_vit-nano_camvid', 'seg/eomt_adventurer-base_cityscapes-1024',
    'seg/eomt_linear-vit-base_cityscapes-1024',
    pytest.param('seg/mask2former_adventurer-base_cityscapes-1024', marks=needs_mmdet)])
def test_mask_heads_wait_for_nothing_but_matches(path, monkeypatch):
    """Which are found on the host; ``tests/models/test_mask_set.py`` counts their one wait."""
    monkeypatch.chdir(ROOT)
    model, batch = _model_and_batch(path)
    calls = []

    def first_to_first(self, classes, masks, targets):
        calls.append(self.costs(classes[0][0], masks[0][0], targets[0]))
        where = torch.zeros(1, dtype=torch.long, device=GPU)
        return [[(where, where) for _ in targets] for _ in classes]

    monkeypatch.setattr(MaskSetLoss, 'match', first_to_first)
    if 'mask2former' in path:  # mmcv's compiled operator
        decoder = importlib.import_module('mmvitlin.models.decode_heads.pixel_decoder')
        monkeypatch.setattr(decoder.MultiScaleDeformableAttnFunction, 'apply',
                            lambda value, *_: value.flatten(2))
    with simulated_gpu(torch.bfloat16):
        move(model)
        for _ in range(2):
            with HostWaits('cuda') as waits:
                loss, _ = model.parse_losses(
                    model(**model.data_preprocessor(batch, True), mode='loss'))
    assert len(calls) == 2
    assert (loss.device, loss.dtype) == (GPU, torch.float32)
    assert waits.count == 0


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'adventurer' not in p])
def test_backward_passes_wait_for_nothing(path, monkeypatch):
    """On a CPU, whose own scan reads numbers."""
    monkeypatch.chdir(ROOT)
    model, batch = _model_and_batch(path)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    with HostWaits() as waits:
        loss.backward()
    assert waits.count == 0


@pytest.mark.parametrize(('way', 'expected'), [
    (lambda x: x.sum().item(), 1), (lambda x: x[x > 0], 1), (lambda x: x.tolist(), 1),
    (lambda x: x[torch.tensor([1, 0])], 1), (lambda x: x.new_tensor([1., 2.]), 1),
    (lambda x: x.copy_(torch.zeros(2)), 1), (lambda x: torch.zeros(2).to(GPU), 1),
    (lambda x: torch.zeros(2).to(GPU, non_blocking=True), 0),
    (lambda x: x.copy_(torch.zeros(2), non_blocking=True), 0), (lambda x: x.flip(0) * 2 + 1, 0),
    (lambda x: x[torch.tensor([1, 0]).to(GPU, non_blocking=True)], 0),
    (lambda x: x.index_put_((x > 0, ), x[:1].expand(2)), 1),
    (lambda x: x.index_put_((x > 0, ), x[0]), 0), (lambda x: x.unique(), 1),
    (lambda x: x.repeat_interleave(x.new_ones(2, dtype=torch.int64)), 1),
    (lambda x: torch.zeros(2).sum().item(), 0)])
def test_what_is_a_wait(way, expected):
    with simulated_gpu(), HostWaits('cuda') as waits:
        x = torch.empty(2, device=GPU)
        with contextlib.suppress(RuntimeError):  # a list of numbers that are not there
            way(x)
    assert min(waits.count, 1) == expected


@pytest.mark.parametrize('autocast', TYPES, ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_scans_and_their_backward_passes(dtype, autocast):
    """The operators' own code, which fake tensors go past otherwise."""
    with simulated_gpu(autocast):
        def make(*shape, dtype=torch.float32):
            return torch.empty(*shape, dtype=dtype, device=GPU)

        x, B, C = make(2, 70, 4, 16, dtype=dtype), *(make(2, 70, 2, 8, dtype=dtype) for _ in 'BC')
        dt, A = make(2, 70, 4), make(4)
        y, states = ssd._init_fn(x, dt, A, B, C, 16, True)
        grads = ssd_backward._init_fn(y, x, dt, A, B, C, states, 16)
        for grad, value in zip((y, *grads), (x, x, dt, A, B, C), strict=True):
            assert (grad.shape, grad.dtype, grad.device) == (value.shape, value.dtype, GPU)

        x, dt, A = make(2, 70, 12), make(2, 70, 12), make(12, 4)
        B, C = make(2, 70, 4), make(2, 70, 4)
        y, kept = selective_scan._init_fn(x, dt, A, B, C, 16, True)
        grads = selective_scan_backward._init_fn(y, x, dt, A, B, C, kept, 16)
        for grad, value in zip((y, *grads), (x, x, dt, A, B, C), strict=True):
            assert (grad.shape, grad.dtype, grad.device) == (value.shape, value.dtype, GPU)


def test_it_finds_what_is_left_on_the_cpu():
    net = torch.nn.Linear(3, 4)
    net.scale = torch.ones(4)  # neither parameter nor buffer
    with simulated_gpu():
        move(net)
        y = net(torch.empty(2, 3, device=GPU))
        with pytest.raises(RuntimeError, match='device'):
            y * net.scale


@pytest.mark.parametrize('autocast', TYPES[1:], ids=str)
def test_it_simulates_autocast(autocast):
    with simulated_gpu(autocast):
        x = torch.empty(2, 3, device=GPU)
        assert (x @ x.T).dtype is autocast
        with torch.autocast('cuda', enabled=False):
            assert (x @ x.T).dtype is torch.float32
    assert not torch.is_autocast_enabled('cuda')


@pytest.mark.parametrize('autocast', TYPES[1:], ids=str)
def test_the_convolution_keeps_no_widened_copies(autocast):
    kept = []
    with simulated_gpu(autocast):
        x = torch.empty(2, 50, 6, dtype=autocast, device=GPU, requires_grad=True)
        weight = torch.empty(6, 1, 4, device=GPU, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda t: t):
            y = causal_depthwise_conv1d(x, weight)
    assert y.dtype is autocast
    assert {t.dtype for t in kept if t.numel() >= x.numel()} == {autocast}


@pytest.mark.parametrize('autocast', TYPES, ids=str)
def test_every_option_of_a_distiller(autocast, monkeypatch):
    model = build_distiller(**{**ALL, 'balance': None}).train()  # which needs a backward pass
    # drawn on the CPU, which has no numbers here
    monkeypatch.setattr(StepDraws, 'common_uniform', lambda self, purpose: 0.5)
    with simulated_gpu(autocast):
        move(model)
        loss, _ = model.parse_losses(model(torch.zeros(2, 3, 64, 96, device=GPU), mode='loss'))
        assert (loss.device, loss.dtype) == (GPU, torch.float32)
