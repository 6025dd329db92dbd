"""Whatever comes in, a result or one clear error comes out."""
import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvitlin.models import (
    ActivationMatchingLoss,
    Adventurer,
    MaskedPredictionLoss,
    TimmViT,
    Tokens,
)
from mmvitlin.ops import cosine_map_distance, linear_attention, ssd, ssd_reference
from tests import fuzzing
from tests.engine.nano import nano

FEW = settings(max_examples=25, deadline=None)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])


@pytest.mark.parametrize('seed', range(30))
def test_mutated_configs(streets, tmp_path, seed, monkeypatch):
    from tests.conftest import ROOT
    monkeypatch.chdir(ROOT)
    cfg, change = fuzzing.mutate_config(nano(streets, tmp_path, **fuzzing.ONE_STEP), seed)
    print(change)
    assert fuzzing.outcome_of_config(cfg) in ('trained', 'refused')


@pytest.mark.parametrize('seed', range(60))
def test_mutated_checkpoints(tmp_path, seed):
    path = tmp_path / 'a.pth'
    path.write_bytes(fuzzing.mutate_bytes(fuzzing.checkpoint_bytes(), seed))
    assert fuzzing.outcome_of_checkpoint(path) in ('loaded', 'refused')


@pytest.mark.parametrize('seed', range(40))
def test_mutated_safetensors(tmp_path, seed):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(fuzzing.mutate_bytes(fuzzing.safetensors_bytes(), seed))
    assert fuzzing.outcome_of_checkpoint(path) in ('loaded', 'refused')


@pytest.mark.parametrize('seed', range(2 * len(fuzzing.DAMAGE)))
def test_damaged_data(streets, tmp_path, seed, monkeypatch):
    from tests.conftest import ROOT
    monkeypatch.chdir(ROOT)
    shutil.copytree(streets, tmp_path / 'streets')
    kind, outcome = fuzzing.outcome_of_damage(nano(tmp_path / 'streets', tmp_path), seed)
    expected = dict.fromkeys(fuzzing.DAMAGE, {'named'}) | {
        'image gone after it was listed': {'met only'},
        'label that ignores everything': {'checked only'},
        'image with flipped bits': {'named', 'harmless'},
        'label with flipped bits': {'named', 'harmless'}}
    assert outcome in expected[kind], kind


@FEW
@given(length=st.integers(1, 150), chunk=st.integers(1, 200), heads=st.integers(1, 4),
       dtype=DTYPES, backend=st.sampled_from(['torch', 'plain']), step=st.floats(1e-4, 30.))
def test_scans_of_any_shape(length, chunk, heads, dtype, backend, step):
    torch.manual_seed(length)
    x = torch.randn(1, length, heads, 3).to(dtype)
    B, C = (torch.randn(1, length, 1, 5).to(dtype) for _ in 'BC')
    args = x, torch.full((1, length, heads), step), -torch.rand(heads) * 16 - 1e-3, B, C
    y = ssd(*args, chunk_size=chunk, backend=backend)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    expected = ssd_reference(*[a.double() for a in args])
    bound = 2e-2 if dtype in (torch.bfloat16, torch.float16) else 1e-4
    assert (y.double() - expected).norm() <= bound * expected.norm() + 1e-6


@FEW
@given(length=st.integers(1, 60), dtype=DTYPES, normalize=st.booleans(), zero=st.booleans())
def test_linear_attention_of_anything(length, dtype, normalize, zero):
    q, k = (torch.rand(1, 2, length, 4).to(dtype) * (not zero) for _ in 'qk')
    y = linear_attention(q, k, torch.randn(1, 2, length, 3).to(dtype), normalize)
    assert torch.isfinite(y).all()


@FEW
@given(height=st.integers(1, 70), width=st.integers(1, 70), patch=st.sampled_from([4, 7, 16]),
       layers=st.lists(st.integers(-5, 4), min_size=1, max_size=3), masked=st.booleans())
def test_backbones_of_any_size(height, width, patch, layers, masked):
    for net in (Adventurer(dict(embed_dims=32, num_layers=2), img_size=32, patch_size=patch),
                TimmViT('vit_tiny_patch16_224', attention='linear', img_size=56, model_kwargs=dict(
                    embed_dim=32, depth=2, num_heads=2, patch_size=patch))):
        net.eval().enable_masking()
        grid = (math.ceil(height / patch), math.ceil(width / patch))
        mask = torch.rand(1, grid[0] * grid[1]) < 0.5 if masked else None
        try:
            tokens = net.forward_tokens(torch.randn(1, 3, height, width), layers, mask)
        except ValueError as error:
            assert min(height, width) < patch
            assert 'smaller than one patch' in str(error)
            continue
        except IndexError as error:
            assert any(not -2 <= n < 2 for n in layers)
            assert 'layers (0 to 1)' in str(error)
            continue
        assert [t.grid for t in tokens] == [grid] * len(layers)
        assert all(torch.isfinite(t.patches).all() for t in tokens)


@FEW
@given(length=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_losses_of_any_mask(length, share, seed):
    torch.manual_seed(seed)
    student, teacher = (Tokens(torch.randn(2, length, 6), torch.randn(2, 6), (1, length))
                        for _ in range(2))
    mask = torch.rand(2, length) < share
    for loss in (ActivationMatchingLoss(num_stages=1, scope='visible'), MaskedPredictionLoss()):
        try:
            value = loss([student], [teacher], mask)
        except ValueError as error:
            assert 'mask' in str(error) or 'visible' in str(error)
            continue
        assert torch.isfinite(value), (type(loss).__name__, mask)


@FEW
@given(length=st.integers(1, 40), scale=st.sampled_from([0., 1e-20, 1., 1e18]))
def test_maps_of_tokens_of_any_size(length, scale):
    tokens = scale * torch.randn(1, length, 4)
    for form in ('pairwise', 'linear'):
        assert torch.isfinite(cosine_map_distance(tokens, torch.randn(1, length, 4), form=form)
                              ).all()
