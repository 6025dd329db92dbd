"""The recurrent ViT: a Mamba-2 mixer with the weights of a softmax attention."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models import TimmViT
from mmvitlin.models.layers import LinearAttention, Mamba2Attention
from mmvitlin.utils.errors import CheckpointError
from tests.models.test_linear_vit import saved
from tests.models.test_timm_vit import FAMILIES, SMALL, build

ONE = dict(directions='one')
VARIANTS = {
    'both': {},
    'one': ONE,
    'one, reversed': dict(ONE, reverse=True),
    'one, heading': dict(ONE, heading=True),
    'bare': dict(conv_kernel=0, output_gate=False),
    'sums': dict(normalize=False),
    'hedgehog': dict(feature_map='hedgehog'),
}


def recurrent(family='dinov2 registers', **cfg):
    """Far from its start, so that steps, decays, convolutions and gates act."""
    net = build(family, attention='mamba2', mamba2_cfg=cfg)
    for block in net.vit.blocks:
        block.attn.A_log.data.uniform_(0, 2)
        block.attn.step.bias.data.uniform_(-1, 2)
    return net


def by_pairs(attn, x):
    """The mixer with every weight of every pair of tokens, one scan after another."""
    q, k, v = (t.transpose(1, 2) for t in attn.queries_keys_values(x, None))
    length, prefix = x.shape[1], attn.num_prefix
    dt = F.softplus(attn.step(x)) / length
    tokens = list(range(length))
    if attn.directions == 'both':
        orders = [tokens, tokens[::-1]]
    else:
        patches = tokens[prefix:][::-1] if attn.reverse else tokens[prefix:]
        orders = [tokens[:prefix] + patches + tokens[:prefix]]
    out, skip = 0., 0.
    for index, order in enumerate(orders):
        steps = dt[..., index * attn.num_heads:(index + 1) * attn.num_heads][:, order]
        rows = [t[:, order] for t in (q, k, v)]
        late = index  # the second scan leaves the token itself out
        if attn.heading:
            rows = [torch.cat([t.mean(1, keepdim=True), s], 1) for t, s in zip((q, k, v), rows,
                                                                             strict=True)]
            steps = torch.cat([dt.mean(1, keepdim=True), steps], 1)
        if attn.directions == 'one':  # the copies behind only read
            steps = torch.cat([steps[:, :len(steps[0]) - prefix],
                               torch.zeros_like(steps[:, :prefix])], 1)
        if attn.conv is not None:
            flat = torch.cat([t.flatten(2) for t in rows], -1).transpose(1, 2)
            flat = F.pad(flat, (1, 1) if attn.directions == 'both' else (2, 0))
            taps = attn.conv.weight.flip(-1) if index else attn.conv.weight
            flat = F.conv1d(flat, taps, attn.conv.bias, groups=flat.shape[1]).transpose(1, 2)
            rows = [t.unflatten(-1, (attn.num_heads, -1)) for t in flat.chunk(3, -1)]
        wq, wk, wv = rows
        wq, wk = (m(t.transpose(1, 2)) for m, t in ((attn.map_q, wq), (attn.map_k, wk)))
        rates = -attn.A_log.exp().chunk(len(orders))[index]
        total = (steps * rates).cumsum(1).transpose(1, 2)  # B H T
        weights = (wq @ wk.transpose(-1, -2)) * steps.transpose(1, 2)[:, :, None]
        # between j and i decay the steps after j up to i, of a late token up to the one before
        upto = F.pad(total, (1, 0))[..., :-1] if late else total
        weights = weights * (upto[..., :, None] - total[..., None, :]).exp()
        weights = weights.tril(-late)
        values = torch.cat([wv, torch.ones_like(wv[..., :1])], -1).transpose(1, 2)
        y = (weights @ values).transpose(1, 2)[:, attn.heading:]
        back = torch.empty_like(y[:, :length])
        where = order[prefix:] if attn.directions == 'one' else order
        skipped = prefix if attn.directions == 'one' else 0
        back[:, where] = y[:, skipped:]
        skipped_values = torch.empty_like(back[..., :-1])
        skipped_values[:, where] = wv[:, attn.heading + skipped:]
        out, skip = out + back, skip if index else skipped_values * attn.D[:, None]
    out = out[..., :-1] / (out[..., -1:] + 1e-6) if attn.normalize else out[..., :-1]
    out = (out + skip).flatten(2)
    return attn.project(out if attn.out_gate is None else out * F.silu(attn.out_gate(x)), x)


@pytest.mark.parametrize('variant', VARIANTS)
def test_it_is_the_sum_over_all_pairs_with_every_gradient(variant):
    attn = recurrent(**VARIANTS[variant]).vit.blocks[1].attn.double()
    x = torch.randn(2, 5 + 15, 48, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        attn.D.normal_()
    expected, actual = by_pairs(attn, x), attn(x)
    torch.testing.assert_close(actual, expected)
    inputs = [x, *attn.parameters()]
    pull = torch.randn_like(actual)
    for (name, _), a, b in zip([('x', x), *attn.named_parameters()],
                               torch.autograd.grad(actual, inputs, pull),
                               torch.autograd.grad(expected, inputs, pull), strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, n=name: f'{n}: {text}')


@pytest.mark.parametrize('family', ['augreg', 'dinov2 registers', 'siglip', 'eva02, rotary'])
def test_without_decay_both_directions_start_as_linear_attention(family):
    linear = build(family, attention='linear')
    net = TimmViT(FAMILIES[family][0], attention='mamba2', mamba2_cfg=dict(decay=1e-9),
                  img_size=56 if '14' in FAMILIES[family][0] else 64,
                  model_kwargs={**SMALL, **FAMILIES[family][1]}).eval()
    missing, unexpected = net.load_state_dict(linear.state_dict(), strict=False)
    assert not unexpected
    assert all(k.split('.')[4] in Mamba2Attention.ADDED for k in missing)
    for sides in ((4, 4), (3, 7)):
        images = torch.randn(1, 3, *(net.patch_size * n for n in sides))
        torch.testing.assert_close(net(images)[0], linear(images)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('reverse', [False, True])
def test_one_direction_sees_what_came_before_and_prefix_tokens_see_all(reverse):
    attn = recurrent(**ONE, reverse=reverse, conv_kernel=0).vit.blocks[0].attn
    x = torch.randn(1, 5 + 6, 48, requires_grad=True)

    def seen(token):
        grad, = torch.autograd.grad(attn(x)[0, token].sum(), x)
        return (grad[0].abs().sum(-1) > 1e-9).tolist()

    assert seen(0) == seen(4) == [True] * 11
    before = range(2, 6) if reverse else range(3)
    assert seen(5 + 2) == [True] * 5 + [i in before for i in range(6)]


def test_the_mean_token_lets_the_first_patch_see_all():
    attn = recurrent(**ONE, heading=True).vit.blocks[0].attn
    x = torch.randn(1, 11, 48, requires_grad=True)
    grad, = torch.autograd.grad(attn(x)[0, 5].sum(), x)
    assert (grad[0].abs().sum(-1) > 1e-9).all()


def test_every_other_recurrent_layer_is_reversed_in_hybrids_too():
    net = build('clip', attention=['mamba2', 'softmax', 'mamba2'], mamba2_cfg=ONE)
    assert [net.vit.blocks[i].attn.reverse for i in (0, 2)] == [False, True]
    net = build('clip', attention='mamba2', softmax_layers=(0, ))
    assert net.attention == ('softmax', 'mamba2', 'mamba2')
    assert not any(b.attn.reverse for b in net.vit.blocks[1:])


def test_half_precision_sums_of_many_tokens_do_not_overflow():
    attn = build('clip', attention='mamba2').vit.blocks[0].attn
    x = torch.randn(1, 2000, 48)
    with torch.no_grad():
        expected = attn(x)
        actual = attn.half()(x.half()).float()
    assert torch.isfinite(actual).all()
    assert (actual - expected).norm() < 2e-2 * expected.norm()


def test_files_say_what_their_attention_was(tmp_path):
    path = saved(build('clip', attention='mamba2'), tmp_path / 'a.pth')
    assert build('clip', attention='mamba2').load_weights(path, 'backbone.').matched
    for kwargs, words in (({}, r'mamba2 attention in the layers \[0, 1, 2\]'),
                          (dict(attention='linear'), 'trained with mamba2 attention'),
                          (dict(attention='mamba2', mamba2_cfg=ONE),
                           "trained with mamba2_cfg=.*'both'.*this network has .*'one'")):
        with pytest.raises(CheckpointError, match=words):
            build('clip', **kwargs).load_weights(path, 'backbone.')
    linear = saved(build('clip', attention='linear'), tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match='trained with linear attention'):
        build('clip', attention='mamba2').load_weights(linear, 'backbone.')
    softmax = saved(build('clip'), tmp_path / 'c.pth')  # whose weights start it
    assert build('clip', attention='mamba2').load_weights(softmax, 'backbone.').matched


def test_files_say_in_which_order_each_layer_scanned(tmp_path):
    alternating, backwards = ({'attention': 'mamba2', 'mamba2_cfg': cfg}
                              for cfg in (ONE, dict(ONE, reverse=True)))
    path = saved(build('clip', **backwards), tmp_path / 'a.pth')
    assert build('clip', **backwards).load_weights(path, 'backbone.').matched
    first_alike = build('clip', **backwards)
    first_alike.vit.blocks[1].attn.reverse = False
    with pytest.raises(CheckpointError, match=r'the blocks \[0, 1, 2\] reversed.* \[0, 2\]'):
        first_alike.load_weights(path, 'backbone.')
    with pytest.raises(CheckpointError, match='trained with mamba2_cfg'):
        build('clip', **alternating).load_weights(path, 'backbone.')


@pytest.mark.parametrize('lost', ['A_log', 'step', ''])
@pytest.mark.parametrize('described', [True, False])
def test_a_file_that_lacks_parameters_of_a_recurrent_layer_is_not_whole(lost, described, tmp_path):
    """Only softmax layers lack them all."""
    net = build('clip', attention='mamba2')
    path = saved(net, tmp_path / 'a.pth')
    checkpoint = torch.load(path)
    state = checkpoint['state_dict']
    gone = [k for k in state if f'blocks.1.attn.{lost}' in k and k.split('.attn.')[1].split('.')[0]
            in Mamba2Attention.ADDED]
    for key in gone:
        del state[key]
    if not described:
        checkpoint['meta'] = {}
    torch.save(checkpoint, path)
    if described or lost:
        with pytest.raises(CheckpointError, match=f'{len(gone)} missing: vit.blocks.1.attn.{lost}'):
            build('clip', attention='mamba2').load_weights(path, 'backbone.')
    else:
        assert build('clip', attention='mamba2').load_weights(path, 'backbone.').matched


def test_layer_decay_counts_what_is_added_with_its_block():
    net = build('clip', attention='mamba2')
    groups = {n: net.get_layer_depth(n)[0] for n, _ in net.named_parameters()}
    assert groups['vit.blocks.2.attn.A_log'] == groups['vit.blocks.2.attn.conv.weight'] == 3


@pytest.mark.parametrize('cfg', [{}, ONE])
def test_masked_pixels_cannot_be_seen_at_odd_sizes(cfg):
    net = recurrent('clip', **cfg)
    net.enable_masking()
    images = torch.randn(1, 3, 60, 77)
    changed = images.clone()
    changed[..., :16, :16] = 9
    mask = torch.zeros(1, 20, dtype=torch.bool)
    mask[0, 0] = True
    a, b = (net.forward_tokens(x, -1, mask)[0] for x in (images, changed))
    assert a.grid == (4, 5)
    assert torch.equal(a.patches, b.patches)
    assert not torch.equal(net(images)[0], net(changed)[0])


@pytest.mark.parametrize('cfg', [{}, ONE])
def test_compiled_equals_eager_and_recomputed_gradients_are_the_same(cfg):
    net = recurrent('clip', **cfg)
    images = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net, backend='aot_eager')(images)[0],
                                   net(images)[0], atol=1e-5, rtol=1e-5)
    grads = []
    for net.with_cp in (False, True):
        net.train().zero_grad()
        net(images)[0].square().mean().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_bad_options():
    for cfg, words in ((dict(directions='two'), "'both' or 'one', got 'two'"),
                       (dict(heading=True), "are for directions='one'"),
                       (dict(feature_map='tanh'), "feature_map must be one of.*'tanh'"),
                       (dict(backend='cuda'), "backend must be 'auto' or one of.*'cuda'"),
                       (dict(chunk_size=0), 'chunk_size must be at least 1'),
                       (dict(decay=0.), 'decay must be positive')):
        with pytest.raises(ValueError, match=words):
            build('clip', attention='mamba2', mamba2_cfg=cfg)
    attn = build('clip', attention='mamba2', mamba2_cfg=ONE).vit.blocks[0].attn
    with pytest.raises(ValueError, match='takes no mask'):
        attn(torch.randn(1, 5, 48), is_causal=True)
    assert not isinstance(attn, LinearAttention)
    for backend, streams in (('auto', True), ('torch', True), ('reference', False)):
        cfg = dict(backend=backend)
        attn = build('clip', attention='mamba2', mamba2_cfg=cfg).vit.blocks[0].attn
        assert attn.streams == streams  # which computes as 'torch' does


@pytest.mark.parametrize(('family', 'tile'), [
    ('dinov2 registers', 3), ('dinov2 registers', 64), ('siglip', 11),
    ('dinov3, rotary with registers', 3)])
def test_inference_over_tiles_is_the_same(family, tile, monkeypatch):
    """Tiles that cut prefix tokens, convolutions, chunks and rotary angles."""
    monkeypatch.setattr('mmvitlin.models.backbones.timm_blocks._TILE', tile)
    net = recurrent(family)
    images = torch.randn(2, 3, 3 * net.patch_size, 5 * net.patch_size)
    calls, stream = [], Mamba2Attention.stream_
    monkeypatch.setattr(Mamba2Attention, 'stream_',
                        lambda *args: calls.append(1) or stream(*args))
    expected = net.forward_tokens(images, [0, 2])
    assert not calls
    with torch.no_grad():
        actual = net.forward_tokens(images, [0, 2])
    assert len(calls) == 3
    for a, b in zip(expected, actual, strict=True):
        torch.testing.assert_close(a.patches, b.patches, atol=2e-4, rtol=1e-3)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        half = net.forward_tokens(images)[0].patches.float()
    assert (half - expected[1].patches).norm() < 5e-2 * expected[1].patches.norm()
