"""What is in examples/: the script and the notebooks, run in one process, offline, made smaller."""
import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from tests.conftest import ROOT

EXAMPLES = ROOT / 'examples'
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob('*.ipynb'))
SMALLER = {  # text of a cell → what runs here
    'distil_and_segment.ipynb': {
        'ITERATIONS = 60': 'ITERATIONS = 2', 'train=24, val=4': 'train=4, val=1'},
    'large_images_and_export.ipynb': {
        'ITERATIONS = 60': 'ITERATIONS = 4', 'train=16, val=2': 'train=4, val=1',
        'SIZES = (512, 1024), (1024, 2048), (2048, 4096)': 'SIZES = (256, 512), (192, 384)',
        "'model.backbone.model_kwargs.depth': 4": "'model.backbone.model_kwargs.depth': 1"}}
RUN = '''
import json, runpy, sys, time, traceback
jobs = json.load(sys.stdin)
for name, cells in jobs['notebooks'].items():
    values, error, start = {'__name__': '__main__'}, None, time.perf_counter()
    try:
        for n, cell in enumerate(cells):
            exec(compile(cell, f'{name}, code cell {n}', 'exec'), values)
    except Exception:
        error = traceback.format_exc()
    left = {k: values.get(k) for k in ('agreement', 'rows')}
    with open(name + '.json', 'w') as file:
        json.dump(dict(left, error=error, seconds=time.perf_counter() - start), file, default=str)
for script, arguments in jobs['scripts'].items():
    sys.argv, error = [script, *arguments], None
    try:
        runpy.run_path(script, run_name='__main__')
    except (Exception, SystemExit):
        error = traceback.format_exc()
    with open('script.json', 'w') as file:
        json.dump(dict(error=error), file)
'''


def code_cells(name):
    cells = json.loads((EXAMPLES / name).read_text(encoding='utf-8'))['cells']
    return [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']


def smaller(name):
    cells = code_cells(name)
    for old, new in SMALLER[name].items():
        assert sum(cell.count(old) for cell in cells) == 1, (name, old)
        cells = [cell.replace(old, new) for cell in cells]
    return cells


@pytest.fixture(scope='module')
def ran(streets, tmp_path_factory):
    """The folder in which all examples ran; the result of each is a JSON file."""
    pytest.importorskip('onnxscript', reason='a notebook exports to ONNX (mmvitlin[export])')
    folder = tmp_path_factory.mktemp('examples')
    torch.manual_seed(0)
    torch.save(timm.create_model('test_vit').state_dict(), folder / 'teacher.pth')
    jobs = dict(
        notebooks={name: smaller(name) for name in NOTEBOOKS},
        scripts={str(EXAMPLES / 'distill_timm_vit.py'): [
            str(streets / 'leftImg8bit'), '--teacher', 'test_vit', '--checkpoint', 'teacher.pth',
            '--student', 'linear', '--size', '32', '--iterations', '2', '--batch-size', '2',
            '--workers', '0']})
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', RUN], input=json.dumps(jobs), cwd=folder,
        capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT),
                                                 HF_HUB_OFFLINE='1'))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def result_of(folder, name):
    result = json.loads((folder / f'{name}.json').read_text())
    assert result['error'] is None, result['error']
    return result


@pytest.mark.slow
def test_the_script_distils_a_vit_of_a_file(ran):
    folder, printed = ran
    result_of(folder, 'script')
    work = folder / 'work_dirs/distill'
    student = torch.load(work / 'align_features/student.pth', weights_only=True)
    assert student['meta']['backbone']['attention'] == ['linear'] * 6
    assert student['meta']['finished'] is True
    with Image.open(work / 'components.png') as picture:
        assert picture.size == (64, 64)
        assert len(set(picture.getdata())) == 16  # a colour for each of 4 × 4 patches
    assert 'losses at the end: {' in printed


@pytest.mark.slow
def test_the_notebook_that_distils(ran):
    folder, printed = ran
    result_of(folder, 'distil_and_segment.ipynb')
    work = folder / 'work_dirs/distil_and_segment'
    with Image.open(work / 'segmented.png') as picture:
        assert picture.size == (2 * 384, 192)
    student = torch.load(work / 'student/align_features/student.pth', weights_only=True)
    segmentor = torch.load(work / 'segmentor/iter_2.pth', weights_only=False)['state_dict']
    assert student['state_dict'].keys() <= segmentor.keys()
    assert 'mIoU of the teacher: ' in printed
    assert 'mIoU of the segmentor: ' in printed


@pytest.mark.slow
def test_the_notebook_on_large_images(ran):
    folder, printed = ran
    result = result_of(folder, 'large_images_and_export.ipynb')
    assert result['agreement'] > 0.99
    assert [row[:2] for row in result['rows']] == [
        [size, mode] for size in ('256x512', '192x384') for mode in ('whole', 'windows')]
    assert all(seconds > 0 for _, _, seconds, _ in result['rows'])
    assert '256x512 whole and windows agree on ' in printed
    with Image.open(folder / 'work_dirs/large_images/overlay.png') as picture:
        assert picture.size == (512, 256)


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_notebooks_are_plain(name):
    """No outputs, no magics, and the form that Jupyter reads."""
    notebook = json.loads((EXAMPLES / name).read_text(encoding='utf-8'))
    assert notebook.keys() == {'cells', 'metadata', 'nbformat', 'nbformat_minor'}
    assert notebook['nbformat'] == 4
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code':
            assert (cell['outputs'], cell['execution_count']) == ([], None)
            ast.parse(''.join(cell['source']))
        else:
            assert cell['cell_type'] == 'markdown'
            assert not {'outputs', 'execution_count'} & cell.keys()
    assert len(NOTEBOOKS) == 2


def test_every_example_is_on_a_page():
    page = (ROOT / 'docs/get_started.md').read_text(encoding='utf-8')
    for path in Path(EXAMPLES).iterdir():
        if path.suffix in ('.py', '.ipynb'):
            assert f'examples/{path.name}' in page
