"""What our kernels move and hold, counted without a GPU: fails where a count grows."""
import json
import os
from functools import partial

import pytest
import torch
from timm.layers import Attention
from torch.func import functional_call

from mmvitlin.benchmark.gpu_counts import (
    MODULES,
    PARTS,
    STEPS,
    layers,
    named_launches,
    of_packages,
    spills,
    steps,
)
from mmvitlin.benchmark.resources import find_ptxas
from mmvitlin.benchmark.traffic import traffic
from mmvitlin.models.layers.linear_attention import LinearAttention
from mmvitlin.models.losses.distances import mean_square
from mmvitlin.ops.launch import meta_as_gpu
from tests.conftest import ROOT

pytest.importorskip('triton')
compiles = pytest.mark.skipif(find_ptxas() is None or os.environ.get('TRITON_INTERPRET') == '1',
                              reason='needs ptxas, and Triton without its interpreter')


def test_shapes_are_counted_where_there_is_a_gpu_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    call, args = PARTS['scan, Adventurer-B at 1024x2048, 1 image, inference'][0]('fused', 1, 65)
    assert traffic(call, args, backward=False).kernels == 3


def test_traffic_is_counted_as_by_hand():
    a, b = torch.empty(3, 4, device='meta'), torch.empty(4, 5, device='meta')
    counter = traffic(lambda a, b: (a @ b).t().relu(), (a, b), backward=False)
    # product: 12 + 20 + 15 numbers; the transpose is a view; relu: 15 + 15
    assert (counter.bytes, counter.kernels) == (4 * (12 + 20 + 15 + 30), 2)


@pytest.fixture(scope='module')
def counted():
    return layers()


@pytest.mark.parametrize(('part', 'bound', 'kernels', 'gain'), [
    ('convolution', 1.1, 3, 3.5), ('linear attention,', 1.95, 12, 3.5),
    ('linear attention with Hedgehog', 1.9, 8, 3.5), ('scan', 3.8, 12, 3.5),
    ('block', 3.9, 82, 3.5), ('Mamba-2 mixer', 14.6, 203, 1.5)])
def test_fused_kernels_stay_near_their_floor(counted, part, bound, kernels, gain):
    rows = {name: row for name, row in counted.items() if name.startswith(part)}
    assert rows
    for name, row in rows.items():
        assert row['fused']['times_floor'] <= bound, name
        assert row['fused']['kernels'] <= (kernels if '128' in name or '16 im' in name else 4), name
        assert row['fused']['gigabytes'] < row['eager']['gigabytes'] / gain, name


def test_attention_is_counted_as_one_kernel_in_each_direction():
    q = torch.empty(2, 4, 100, 32, device='meta')
    attend = torch.nn.functional.scaled_dot_product_attention
    counter = traffic(attend, (q, q, q))
    assert (counter.bytes, counter.kernels) == (4 * q.numel() * (4 + 8), 2)


def test_a_mean_square_takes_one_kernel_in_each_direction():
    x = torch.empty(4, 100, 32, device='meta', dtype=torch.bfloat16)
    for dim, numbers in ((None, 1), (-1, 400)):
        counter = traffic(partial(mean_square, dim=dim), (x, ))
        # read, and its norm written; read, the gradient written, that of the norm read
        assert counter.by_operator['vector_norm'] == 2 * x.numel() + 4 * numbers
        assert counter.by_operator['vector_norm_backward'] == 4 * x.numel() + 4 * numbers


def test_whole_steps_of_distillation():
    rows = json.loads((ROOT / 'docs/results/gpu_counts.json').read_text())['steps']  # see below
    assert list(rows) == [*STEPS]
    for name, row in rows.items():
        assert row['fused']['times_floor'] <= 3.8, name
        assert row['fused']['kernels'] <= 1450, name
        assert row['fused']['gigabytes'] < row['eager']['gigabytes'] / 1.9, name


@compiles
@pytest.mark.slow
@pytest.mark.parametrize(('dtype', 'targets'), [
    (torch.bfloat16, (80, 90)),
    pytest.param(torch.float32, (80, 90), marks=pytest.mark.skipif(
        'MMVITLIN_LONG_TESTS' not in os.environ, reason='set MMVITLIN_LONG_TESTS'))])
def test_no_kernel_spills_registers(dtype, targets):
    """For heads and states of 64, as the models have; the tool has the other targets too."""
    rows = spills([(dtype, 64, 64)], targets)
    assert len(rows) == 46
    for name, row in rows.items():
        assert row['spilled'] == 0, name
        assert row['fits'], name


def test_published_counts_are_of_these_kernels(counted):
    published = json.loads((ROOT / 'docs/results/gpu_counts.json').read_text())
    assert published['layers'] == counted
    assert published['steps'] == steps()
    assert list(counted) == [*PARTS, *MODULES]
    assert list(published['registers']) == [
        name for dtype in (torch.bfloat16, torch.float32) for name in named_launches(dtype, 64, 64)]
    assert all(row['fits'] and not row['spilled'] for row in published['registers'].values())


def test_kernels_of_packages_that_are_installed():
    """fla-core's in the suite, and mamba-ssm's where it is tested too."""
    published = json.loads((ROOT / 'docs/results/gpu_counts.json').read_text())['packages']
    counted = of_packages()
    assert counted == {name: published[name] for name in counted}
    assert [name for name in counted if name.endswith('fla-core')]
    assert all(row['times_ours'] > 1 for row in published.values())  # why ours come before fla's
    page = (ROOT / 'docs/gpu.md').read_text()
    trained = {name: row for name, row in published.items() if 'inference' not in name}
    said = [row for name, row in trained.items() if not name.startswith('block')]
    for row in (*said, list(trained.values())[-1]):  # of a block, the mixer as one node
        assert f"{row['gigabytes']:.3g} GB, {row['kernels']} kernels" in page


def test_the_page_has_the_published_counts():
    published = json.loads((ROOT / 'docs/results/gpu_counts.json').read_text())
    page = (ROOT / 'docs/gpu.md').read_text()
    layers, steps = published['layers'], published['steps']
    for row in (*list(layers.values())[:2], steps[next(iter(STEPS))], layers[
            'linear attention, ViT-L at 1024², 1 image, inference']):
        for form in (row['eager'], row['fused']):
            assert f"{form['gigabytes']:.3g} GB, {form['kernels']:,} kernels" in page


def test_pages_have_the_published_speed_of_reading():
    published = json.loads((ROOT / 'docs/results/gpu_counts.json').read_text())['reading']
    ours, libraries = (f'{published["images_a_second_and_core"][key]:.0f}'
                       for key in ('ours', 'libraries'))
    gpu, scaling = ((ROOT / f'docs/{page}.md').read_text() for page in ('gpu', 'scaling'))
    assert f'{ours} images/s are read' in gpu
    assert f'own steps read {libraries} ' in gpu
    assert f'some {ours} images/s' in scaling


def test_features_of_hedgehog_maps_stay_in_the_kernels():
    with torch.device('meta'):
        layer = LinearAttention(Attention(128, 2, qkv_bias=True), 'hedgehog').to(torch.bfloat16)
    names, weights = zip(*layer.named_parameters(), strict=True)

    def call(x, *weights):
        with meta_as_gpu():
            return functional_call(layer, dict(zip(names, weights, strict=True)), (x, ))

    x = torch.empty(2, 50, 128, dtype=torch.bfloat16, device='meta')
    launches = traffic(call, (x, *weights)).launches
    assert [launch.kernel.fn.__name__ for launch in launches] == [
        'key_sums', 'answers', 'query_gradients', 'key_sums', 'key_gradients']
    assert {launch.options['SIDES'] for launch in launches} == {2}
