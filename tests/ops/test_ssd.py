"""Every backend of the scan against the token-by-token recurrence."""
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvitlin.ops import available_backends, packages, ssd, ssd_reference
from mmvitlin.ops.launch import meta_as_gpu
from mmvitlin.ops.ssd import choose, chunked, segments
from mmvitlin.ops.ssd.segments import even_chunk


def inputs(length, groups=1, heads=4, width=8, state=6, batch=2, dtype=torch.float32, seed=0):
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=gen, dtype=torch.float64)

    x = normal(batch, length, heads, width)
    dt = torch.nn.functional.softplus(normal(batch, length, heads) - 1)
    A = -torch.empty(heads, dtype=torch.float64).uniform_(1, 16, generator=gen)
    B, C = normal(batch, length, groups, state), normal(batch, length, groups, state)
    D = normal(heads)
    return [x.to(dtype), dt.float() if dtype != torch.float64 else dt,
            A.float() if dtype != torch.float64 else A, B.to(dtype), C.to(dtype), D.to(dtype)]


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30)).item()


@pytest.mark.parametrize('backend', ['torch', 'plain'])
@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize(('length', 'chunk'), [(1, None), (7, 3), (63, None), (64, None),
                                               (65, None), (198, 64), (198, 16), (131, 256)])
def test_values_and_all_gradients_in_float64(length, chunk, groups, backend):
    leaves = [t.requires_grad_() for t in inputs(length, groups, dtype=torch.float64)]
    result = ssd(*leaves, chunk_size=chunk, backend=backend)
    reference = ssd_reference(*leaves)
    weight = torch.randn_like(result)
    actual = torch.autograd.grad((result * weight).sum(), leaves)
    expected = torch.autograd.grad((reference * weight).sum(), leaves)
    assert relative(result, reference) < 1e-12
    for name, a, b in zip(['x', 'dt', 'A', 'B', 'C', 'D'], actual, expected, strict=True):
        assert relative(a, b) < 1e-10, name


@pytest.mark.parametrize(('dtype', 'bound'), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize('backend', ['torch', 'plain'])
@pytest.mark.parametrize('length', [65, 1000])
def test_error_against_float64(dtype, bound, length, backend):
    exact = inputs(length, dtype=torch.float64)
    rounded = [t.to(dtype) if i in (0, 3, 4, 5) else t.float() for i, t in enumerate(exact)]
    expected = ssd_reference(*[t.double() for t in rounded])
    actual = ssd(*rounded, backend=backend)
    assert actual.dtype == dtype
    assert relative(actual, expected) < bound


@pytest.mark.parametrize(('dtype', 'bound'), [(torch.float32, 1e-4), (torch.bfloat16, 4e-2)])
def test_gradients_in_training_types(dtype, bound):
    leaves = [t.requires_grad_() for t in inputs(130, dtype=dtype)]
    weight = torch.randn(2, 130, 4, 8)
    actual = torch.autograd.grad((ssd(*leaves, backend='torch').float() * weight).sum(), leaves)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    expected = torch.autograd.grad((ssd_reference(*exact) * weight).sum(), exact)
    for name, a, b in zip(['x', 'dt', 'A', 'B', 'C', 'D'], actual, expected, strict=True):
        assert relative(a, b) < bound, name


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('step', [1e-4, 0.1, 20.0])
@pytest.mark.parametrize('backend', ['torch', 'plain'])
def test_no_overflow_at_the_limits(dtype, step, backend):
    x, dt, A, B, C, D = inputs(300, dtype=dtype)
    y = ssd(x, torch.full_like(dt, step), torch.full_like(A, -16.), B, C, D, backend=backend)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize('backend', ['torch', 'plain'])
def test_autocast_leaves_the_types_as_given(backend):
    leaves = [t.requires_grad_() for t in inputs(70)]
    expected = ssd(*leaves, backend=backend)
    expected_grads = torch.autograd.grad(expected.sum(), leaves)
    with torch.autocast('cpu', torch.bfloat16):
        y = ssd(*leaves, backend=backend)
        assert torch.equal(y, expected)
        if backend == 'torch':
            assert all(map(torch.equal, torch.autograd.grad(y.sum(), leaves), expected_grads))


@pytest.fixture(scope='module')
def long_sequence():
    """65,536 tokens, dt up to its limits, A to 16, as each type rounds them, and the truth."""
    args = inputs(65536, heads=2, width=4, state=4, batch=1, dtype=torch.float64)
    args[1] = torch.empty_like(args[1]).uniform_(-6.9, 0.).exp()  # 1e-3 to 1
    args[2] = torch.tensor([-16., -1e-3], dtype=torch.float64)  # forgets at once; hardly ever
    return args


@pytest.mark.parametrize(('dtype', 'bound'), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2),
                                              (torch.float16, 5e-3)])
def test_a_long_sequence(long_sequence, dtype, bound):
    rounded = [t.to(dtype) if i in (0, 3, 4, 5) else t.float()
               for i, t in enumerate(long_sequence)]
    leaves = [t.detach().requires_grad_() for t in rounded]
    y = ssd(*leaves, backend='torch')
    grads = torch.autograd.grad(y.float().square().mean(), leaves)
    assert all(torch.isfinite(t).all() for t in (y, *grads))
    # in float64 the chunked scan is the reference to 1e-12, and takes seconds, not minutes
    assert relative(y, ssd(*[t.double() for t in rounded], backend='torch')) < bound


def test_it_is_causal_and_remembers():
    args = inputs(100)
    y = ssd(*args, backend='torch')
    changed = [t.clone() for t in args]
    changed[0][:, 70] += 1
    z = ssd(*changed, backend='torch')
    assert torch.equal(y[:, :70], z[:, :70])
    assert (y[:, 70] != z[:, 70]).any()


@given(st.integers(1, 3000), st.integers(1, 80))
def test_even_chunks_are_as_few_and_pad_less_than_one_token_each(length, longest):
    chunk = even_chunk(length, longest)
    count = -(-length // longest)
    assert chunk <= longest
    assert -(-length // chunk) == count
    assert chunk * count - length < count


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 150), st.integers(1, 80), st.sampled_from([1, 2, 4]), st.integers(1, 5))
def test_any_length_and_chunk(length, chunk, groups, state):
    args = inputs(length, groups, width=3, state=state, batch=1, dtype=torch.float64)
    assert relative(ssd(*args, chunk_size=chunk, backend='torch'), ssd_reference(*args)) < 1e-11


@pytest.mark.parametrize('backend', ['mamba_ssm', 'fla'])
def test_a_gpu_backend_on_the_cpu_says_what_to_do(backend):
    with pytest.raises(RuntimeError, match=f"'{backend}' cannot run.*CUDA.*backend='torch'"):
        ssd(*inputs(4), backend=backend)


def test_unknown_backend_and_wrong_shapes():
    x, dt, A, B, C, D = inputs(4)
    with pytest.raises(ValueError, match="unknown ssd backend 'cuda'"):
        ssd(x, dt, A, B, C, D, backend='cuda')
    with pytest.raises(ValueError, match='dt must have shape'):
        ssd(x, dt[:, :3], A, B, C, D)
    with pytest.raises(ValueError, match='B must be'):
        ssd(x, dt, A, B[:, :, [0, 0, 0]], C, D)
    with pytest.raises(ValueError, match='chunk_size'):
        ssd(x, dt, A, B, C, D, chunk_size=0)
    with pytest.raises(ValueError, match='x must be'):
        ssd(x[0], dt, A, B, C, D)


@pytest.mark.parametrize(('installed', 'taken'), [
    ((), 'fused'), (('fla-core', ), 'fused'), (('fla-core', 'mamba-ssm'), 'mamba_ssm')])
def test_what_auto_takes_on_a_gpu(installed, taken, monkeypatch):
    monkeypatch.setattr(packages, '_import_problem', lambda package: None)
    with meta_as_gpu(*installed):
        assert choose(torch.empty(1, 5, 2, 16, device='meta')) == taken


def test_auto_takes_torch_on_the_cpu():
    x, *rest = inputs(10)
    assert available_backends(x) == ['torch', 'plain', 'reference']
    assert torch.equal(ssd(x, *rest), ssd(x, *rest, backend='torch'))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('backend', ['mamba_ssm', 'fla', 'torch'])
@pytest.mark.parametrize(('dtype', 'bound'), [(torch.float32, 1e-2), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize('length', [64, 197, 1000])
def test_gpu_backends_agree_with_the_reference(backend, dtype, bound, length):
    args = [t.cuda() for t in inputs(length, width=64, state=64, dtype=dtype)]
    if backend not in available_backends(args[0]):
        pytest.skip(f'{backend} is not installed')
    leaves = [t.requires_grad_() for t in args]
    actual = ssd(*leaves, backend=backend)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    expected = ssd_reference(*exact)
    assert relative(actual, expected) < bound
    weight = torch.randn_like(expected)
    for a, b in zip(torch.autograd.grad((actual.double() * weight).sum(), leaves),
                    torch.autograd.grad((expected * weight).sum(), exact), strict=True):
        assert relative(a, b) < 2 * bound


def test_the_operator_is_well_registered():
    """Schema, fake tensors, autograd and dynamic shapes, by torch's own checker."""
    x, dt, A, B, C, _ = (t.requires_grad_() for t in inputs(9, groups=2))
    torch.library.opcheck(torch.ops.mmvitlin.ssd_chunked.default, (x, dt, A, B, C, 4, True))
    torch.library.opcheck(torch.ops.mmvitlin.ssd_chunked.default, (x, dt, A, B, C, 16, False),
                          test_utils=('test_schema', 'test_faketensor'))


def test_compiling_breaks_no_graph_and_changes_nothing():
    args = inputs(70)
    compiled = torch.compile(lambda *a: ssd(*a, backend='torch') * 2, backend='aot_eager',
                             fullgraph=True)
    torch.testing.assert_close(compiled(*args), ssd(*args, backend='torch') * 2)


@pytest.mark.parametrize('backend', ['auto', 'torch'])
def test_choosing_a_backend_breaks_no_graph_where_there_is_a_gpu(backend, monkeypatch):
    monkeypatch.setattr(packages, 'why_not', lambda package, x: packages._import_problem(package))
    args = inputs(70)
    compiled = torch.compile(lambda *a: ssd(*a, backend=backend) * 2, backend='aot_eager',
                             fullgraph=True)
    torch.testing.assert_close(compiled(*args), ssd(*args, backend='torch') * 2)


@pytest.mark.parametrize('installed', [True, False])
def test_an_installed_package_that_cannot_be_imported_is_reported(installed, monkeypatch):

    def load():
        raise ImportError('a clash')

    monkeypatch.setitem(packages._LOADERS, 'clashing',
                        ('torch' if installed else 'nowhere', load, 'pip install it'))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        reasons = [packages._import_problem('clashing') for _ in range(2)]
    packages._find_import_problem.cache_clear()
    assert len(caught) == installed
    assert 'clashing cannot be imported (ImportError: a clash)' in reasons[0] == reasons[1]


def test_segments_do_not_show():
    """More than one segment on the CPU, the last one ragged."""
    leaves = [t.requires_grad_() for t in inputs(1200, heads=2, width=4, dtype=torch.float64)]
    actual, expected = ssd(*leaves, backend='torch'), ssd_reference(*leaves)
    weight = torch.randn_like(actual)
    assert relative(actual, expected) < 1e-12
    for a, b in zip(torch.autograd.grad((actual * weight).sum(), leaves),
                    torch.autograd.grad((expected * weight).sum(), leaves), strict=True):
        assert relative(a, b) < 1e-10


@pytest.mark.parametrize('backwards', [False, True])
@pytest.mark.parametrize('count', [1, 64, 150])
def test_states_of_many_chunks_at_once(count, backwards, monkeypatch):
    """As GPUs take them: one product for 64 chunks; a chunk that forgets all stands between."""
    added, start = torch.randn(2, count, 2, 3, 4, 5).double(), torch.randn(2, 2, 3, 4, 5).double()
    log = -torch.rand(2, count, 2, 4).double()
    log[:, count // 2] = -1e6
    expected = segments._carry(added, log, start, backwards)
    monkeypatch.setattr(segments, '_on_cpu', lambda _: False)
    actual = segments._carry(added, log, start, backwards)
    for result, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(result, reference, rtol=1e-10, atol=1e-12)
    single = [t.float() for t in (added, log, start)]
    for result, reference in zip(segments._carry(*single, backwards), expected, strict=True):
        torch.testing.assert_close(result.double(), reference, rtol=1e-4, atol=1e-5)


def test_the_scan_as_gpus_walk_it(monkeypatch):
    """All tokens at a time, states from products; values and every gradient."""
    monkeypatch.setattr(segments, '_on_cpu', lambda _: False)
    leaves = [t.requires_grad_() for t in inputs(1200, heads=2, width=4, dtype=torch.float64)]
    actual, expected = chunked.ssd_chunked(*leaves, chunk_size=16), ssd_reference(*leaves)
    weight = torch.randn_like(actual)
    assert relative(actual, expected) < 1e-12
    for a, b in zip(torch.autograd.grad((actual * weight).sum(), leaves),
                    torch.autograd.grad((expected * weight).sum(), leaves), strict=True):
        assert relative(a, b) < 1e-10
