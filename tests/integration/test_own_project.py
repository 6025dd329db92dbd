"""docs/own_project.md, file by file and command by command, in an empty folder."""
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.forked import python

PAGE = (ROOT / 'docs' / 'own_project.md').read_text()
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```', PAGE, flags=re.S | re.M)

SMALLER = {  # the student, which is traced at any size
    'distill.py': ('\n    backbone=dict(', '\n    backbone=dict(arch=dict(num_layers=4), '),
    'student.py': ('num_layers=8', 'num_layers=4')}


def run(line, folder):
    words = shlex.split(line)
    assert words[0] == 'mmvitlin', f'no tool: {line}'
    more = ['--repeats', '0'] if words[1] == 'benchmark' else []  # other tests disturb it
    done = python('-m', *words, *more, cwd=folder)
    assert done.returncode == 0, f'{line}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}'


@pytest.mark.slow
def test_the_page_from_top_to_bottom(tmp_path):
    pytest.importorskip('onnxscript', reason='the page exports to ONNX (mmvitlin[export])')
    for kind, text in BLOCKS:
        if kind == 'python':
            name = re.match(r'# (\S+\.py)\n', text)[1]
            if name in SMALLER:
                assert text.count(SMALLER[name][0]) == 1
                text = text.replace(*SMALLER[name])
            (tmp_path / name).write_text(text)
            continue
        assert kind == 'bash'
        for line in text.strip().splitlines():
            run(line, tmp_path)
    for name in ('work_dirs/student/iter_20.pth', 'student.onnx', 'student.safetensors',
                 'speed/results.json', 'report.html', 'work_dirs/curves.png'):
        assert (tmp_path / name).is_file(), name
    assert len(list((tmp_path / 'out' / 'labels').rglob('*.png'))) == 6
    assert len(list((tmp_path / 'work_dirs' / 'browse').glob('*.png'))) == 4
    for suffix in ('pth', 'md'):
        assert len(list(tmp_path.glob(f'my-student-*.{suffix}'))) == 1


def test_a_published_vit_teaches_with_its_own_normalisation(tmp_path, monkeypatch):
    from mmengine.registry import MODELS, init_default_scope

    from mmvitlin.engine.runner.config import load_config
    for kind, text in BLOCKS:
        if kind == 'python':
            (tmp_path / re.match(r'# (\S+\.py)\n', text)[1]).write_text(text)
    monkeypatch.chdir(tmp_path)
    cfg = load_config('distill_clip.py')
    name = 'vit_base_patch16_clip_quickgelu_224.openai'
    assert cfg.model.teacher.backbone.to_dict() == dict(
        type='mmvitlin.TimmViT', model_name=name, pretrained=True)
    import timm
    real = timm.create_model
    monkeypatch.setattr(timm, 'create_model',  # there may be no network
                        lambda *a, pretrained=False, **k: real(*a, pretrained=False, **k))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert [len(model.teacher.network.blocks()), model.teacher.network.embed_dims] == [12, 768]
    assert [round(float(v), 1) for v in model.teacher.normalisation.mean] == [122.8, 116.7, 104.1]
    fetched = load_config('distill_fetched.py').model.teacher.to_dict()
    assert fetched.pop('checkpoint').startswith('mmvitlin::')
    assert fetched == dict(backbone=dict(
        type='mmvitlin.TimmViT', model_name='vit_small_patch14_dinov2'))


def test_tools_by_name():
    def call(*words):
        return subprocess.run([sys.executable, '-m', 'mmvitlin', *words], cwd=ROOT, text=True,
                              capture_output=True)
    assert 'train' in call().stdout
    wrong = call('trian')
    assert wrong.returncode == 2
    assert "no tool 'trian'" in wrong.stderr
    assert 'config file' in call('train', '--help').stdout
