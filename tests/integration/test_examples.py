"""What is in examples/: the script and the notebooks, offline and made smaller."""
import ast
import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.forked import python

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
import json, sys
if __name__ == '__main__':  # processes that the cells start import this file
    values = {'__name__': '__main__'}
    for n, cell in enumerate(json.load(open('cells.json'))):
        exec(compile(cell, f'code cell {n}', 'exec'), values)
    left = {name: values.get(name) for name in ('agreement', 'rows')}
    json.dump(left, open('left.json', 'w'), default=float)
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


def run_notebook(name, folder):
    """Its code cells in order, in one namespace; returns what they printed and left."""
    (folder / 'cells.json').write_text(json.dumps(smaller(name)))
    (folder / 'run.py').write_text(RUN)
    done = python('run.py', cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads((folder / 'left.json').read_text())


@pytest.mark.slow
def test_the_script_distils_a_vit_of_a_file(streets, tmp_path):
    torch.save(timm.create_model('test_vit').state_dict(), tmp_path / 'teacher.pth')
    done = python(EXAMPLES / 'distill_timm_vit.py', streets / 'leftImg8bit', '--teacher',
                  'test_vit', '--checkpoint', 'teacher.pth', '--student', 'linear', '--size', '32',
                  '--iterations', '2', '--batch-size', '2', '--workers', '0', cwd=tmp_path,
                  env=dict(HF_HUB_OFFLINE='1'))
    assert done.returncode == 0, done.stderr[-3000:]
    work = tmp_path / 'work_dirs/distill'
    student = torch.load(work / 'align_features/student.pth', weights_only=True)
    assert student['meta']['backbone']['attention'] == ['linear'] * 6
    assert student['meta']['finished'] is True
    with Image.open(work / 'components.png') as picture:
        assert picture.size == (64, 64)
        assert len(set(picture.getdata())) == 16  # a colour for each of 4 × 4 patches
    assert 'losses at the end: {' in done.stdout


@pytest.mark.slow
def test_the_notebook_that_distils(tmp_path):
    printed, _ = run_notebook('distil_and_segment.ipynb', tmp_path)
    work = tmp_path / 'work_dirs/distil_and_segment'
    with Image.open(work / 'segmented.png') as picture:
        assert picture.size == (2 * 384, 192)
    student = torch.load(work / 'student/align_features/student.pth', weights_only=True)
    segmentor = torch.load(work / 'segmentor/iter_2.pth', weights_only=False)['state_dict']
    assert student['state_dict'].keys() <= segmentor.keys()
    assert 'mIoU of the teacher: ' in printed
    assert 'mIoU of the segmentor: ' in printed


@pytest.mark.slow
def test_the_notebook_on_large_images(tmp_path):
    pytest.importorskip('onnxscript', reason='it exports to ONNX (mmvitlin[export])')
    printed, left = run_notebook('large_images_and_export.ipynb', tmp_path)
    assert left['agreement'] > 0.99
    assert [row[:2] for row in left['rows']] == [
        [size, mode] for size in ('256x512', '192x384') for mode in ('whole', 'windows')]
    assert all(seconds > 0 for _, _, seconds, _ in left['rows'])
    assert '256x512 whole and windows agree on ' in printed
    with Image.open(tmp_path / 'work_dirs/large_images/overlay.png') as picture:
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
