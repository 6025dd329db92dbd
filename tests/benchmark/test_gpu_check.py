"""The script for a GPU, rehearsed on a CPU with tiny sizes."""
import json
import re
import runpy

import pytest
import torch

from mmvitlin.benchmark import gpu_check, gpu_check_kernels, gpu_check_recipe
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.forked import python


@pytest.fixture(scope='module')
def rows():
    tables = {}
    for name in ('kernels', 'libraries', 'operators', 'training_step'):
        table = tables[name] = {}
        gpu_check.PARTS[name][0]('cpu', gpu_check.TINY, table.__setitem__)
    return tables


def test_kernels_are_compared_with_their_references(rows):
    ran = {n: row for n, row in rows['kernels'].items() if isinstance(row, dict)}
    assert {n.rsplit(' ', 2)[0] for n in ran} >= {
        'scan torch', 'linear attention torch elu', 'linear attention torch elu not normalised',
        'linear attention torch relu', 'linear attention torch paired_softmax', 'convolution torch'}
    assert all(row['right'] for row in ran.values())
    assert set(ran['scan torch 33 bfloat16']) == {'output', 'x', 'dt', 'A', 'B', 'C', 'D', 'right'}
    assert 'cannot run' in rows['kernels']['linear attention fused elu 33 float32']
    assert 'cannot run' in rows['kernels']['linear attention fused paired_softmax 65 bfloat16']
    assert 'cannot run' in rows['libraries']['convolution causal_conv1d 33 bfloat16']


def test_a_wrong_kernel_is_found():
    def wrong(x):
        return 1.1 * x

    errors = gpu_check_kernels.compare(wrong, lambda x: x, [torch.randn(8)], 'x')
    assert errors == dict(output=pytest.approx(0.1, rel=1e-3), x=pytest.approx(0.1, rel=1e-3))
    assert max(errors.values()) > max(gpu_check_kernels.BOUNDS.values())


def test_a_gradient_that_is_no_number_is_wrong():
    rows = {}
    gpu_check_kernels._judge({'a': lambda: dict(output=1e-4, x=float('nan'), dt=1e-4)},
                             torch.bfloat16, 8, rows.__setitem__)
    assert rows['a 8 bfloat16']['right'] is False


def test_faults_are_told_from_what_is_not_installed():
    faults = runpy.run_path(str(ROOT / 'tools/gpu_check.py'))['faults']
    rows = {'a': dict(output=0., right=True), 'b': dict(output=9., right=False),
            'c': "RuntimeError: ssd backend 'fla' cannot run: no fla-core", 'd': 'Error: compile'}
    found = faults(dict(kernels=dict(ended='done', rows=rows),
                        teacher=dict(ended='stopped', rows={})))
    assert [line.split(':')[0] for line in found] == ['teacher', 'b', 'd']
    rows = {'64x64': dict(ms={'scan fla': "ssd backend 'fla' cannot run: no fla-core", 'ViT': 3.,
                              'Adventurer': 'OutOfMemoryError: 90 GiB'}, target=2.)}
    assert faults(dict(backbones=dict(ended='done', rows=rows))) == [
        '64x64, ms, Adventurer: OutOfMemoryError: 90 GiB']


def test_times_stand_beside_fused_attention(rows):
    row = rows['operators']['32x64']
    assert all(row[name] > 0 for name in ('fused attention', 'linear attention torch elu',
                                          'scan torch'))
    step, share = rows['training_step'].values()
    assert step['ms'] > 0
    assert 0 < share['share'] < 1
    assert share['met'] is (share['share'] >= 0.7)


def call(out, *options):
    return python('tools/gpu_check.py', '--device', 'cpu', '--tiny',
                           '--out', str(out), *options)


@pytest.mark.slow
def test_parts_are_stopped_and_failures_are_written_down(tmp_path):
    """Slow because every part is a process of its own."""
    out = tmp_path / 'check.json'
    call(out, '--parts', 'teacher', 'operators', '--seconds', '2')
    parts = json.loads(out.read_text())['parts']
    assert parts['teacher']['ended'] == 'stopped after 2 s'
    assert parts['operators']['ended'] == 'not started: no time was left'
    assert list(tmp_path.iterdir()) == [out]
    if not torch.cuda.is_available():
        done = python('tools/gpu_check.py', '--out', str(out))
        assert 'no CUDA device here; --device cpu --tiny' in done.stderr


def test_a_part_that_fails_leaves_its_rows_and_its_reason(tmp_path, monkeypatch):
    """The recipe of the teacher, with a recipe that reports once and then fails."""
    for place in ('tools', 'data/camvid', 'data/images'):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / 'tools/run_recipe.py').write_text(
        'import json, pathlib, sys\n'
        'out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])\n'
        'out.write_text(json.dumps(dict(stages=dict(one=1))))\n'
        'print("no such images", flush=True)\n'
        'sys.exit(3)\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_check_recipe, 'own_folder', lambda kind: tmp_path / kind)
    rows = {}
    with pytest.raises(RuntimeError, match='ended with status 3: no such images'):
        gpu_check.teacher('cpu', gpu_check.Sizes(), rows.__setitem__)
    assert rows == dict(stages=dict(one=1))
    (tmp_path / 'data/images').rmdir()
    with pytest.raises(ConfigError, match='^data/images not found: docs/data.md says'):
        gpu_check.teacher('cpu', gpu_check.Sizes(), rows.__setitem__)


def test_the_stages_are_those_of_the_recipe(monkeypatch):
    from mmengine.config import Config
    stages = Config.fromfile(ROOT / 'configs/recipes/pretrained_camvid.py').stages
    assert set(gpu_check.Sizes().stages) <= {s.name for s in stages}


def test_the_parts_fit_into_a_quarter_of_an_hour():
    assert sum(seconds for _, seconds in gpu_check.PARTS.values()) <= 14 * 60  # --seconds
    page = (ROOT / 'docs/gpu.md').read_text()
    rows = re.findall(r'^\| `(\w+)` \| .* \| (\d+) s \|$', page, re.M)
    assert rows == [(name, str(seconds)) for name, (_, seconds) in gpu_check.PARTS.items()]
