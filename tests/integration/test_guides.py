"""Commands of guides, run in order with a small network in the place of the full-size one."""
import json
import re
import shlex
import shutil

import pytest
from PIL import Image

from mmvitlin.datasets.streets import write_streets
from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT
from tests.forked import python

pytestmark = pytest.mark.slow

SMALL = {
    'data_root': 'streets', 'train_dataloader.batch_size': 2,
    **{f'{loader}_dataloader.{option}': value for loader in ('train', 'val', 'test')
       for option, value in (('num_workers', 0), ('persistent_workers', False))},
    'train_dataloader.dataset.pipeline.2.scale': (128, 64),
    'train_dataloader.dataset.pipeline.3.crop_size': (64, 64),
    'val_dataloader.dataset.pipeline.1.scale': (128, 64),
    'test_dataloader.dataset.pipeline.1.scale': (128, 64),
    'model.data_preprocessor.size': (64, 64), 'model.backbone.img_size': (64, 64),
    'model.backbone.out_indices': (0, 1, 2, 3), 'model.backbone.init_cfg': None,
    'model.neck.in_channels': 64, 'model.decode_head.channels': 16,
    'model.auxiliary_head.channels': 16,
    'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2, 'default_hooks.checkpoint.interval': 2}
ADVENTURER = {'model.backbone.arch': dict(embed_dims=64, num_layers=4),
              'model.test_cfg.crop_size': (64, 64), 'model.test_cfg.stride': (48, 48)}
VIT = {'model.backbone.model_kwargs': dict(embed_dim=64, depth=4, num_heads=2),
       'model.backbone.pretrained': False}
# a page's words → what is small
INSTEAD = {'mmvitlin::seg/cityscapes_1024.py': 'small.py', 'CONFIG': 'whole.py',
           'mmvitlin::seg/upernet_vit-base_cityscapes-1024.py': 'small_vit.py',
           'CHECKPOINT': 'work_dirs/fcn_vit-nano_streets/iter_2.pth', 'IMAGES': 'photos',
           '1024': '64', '2048': '128', '512x512': '64x64', '1024x2048': '64x64'}
# installing, containers, and measurements of hours
LEFT_OUT = ('pip ', 'docker ', 'python tools/benchmarks/', 'mmvitlin benchmark mmvitlin:vit-base ')


def lines_of(page):
    text = (ROOT / f'docs/{page}.md').read_text(encoding='utf-8')
    for block in re.findall(r'^```bash\n(.*?)^```', text, re.M | re.S):
        yield from filter(None, block.replace('\\\n', ' ').splitlines())


def words_of(line):
    """A command with what is small in it."""
    words = shlex.split(line, comments=True)
    for n, word in enumerate(words):
        for said, small in INSTEAD.items():
            words[n] = words[n].replace(said, small) if said in ('CONFIG', 'CHECKPOINT') else (
                small if word == said else words[n])
    return words


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with configs of a small network, drawn streets, photos, and a run of two steps."""
    folder = tmp_path_factory.mktemp('guides')
    write_streets(folder / 'streets', dict(train=4, val=2), (64, 128), workers=1)
    (folder / 'photos').mkdir()
    for path in sorted((folder / 'streets').rglob('val/**/*_leftImg8bit.png')):
        shutil.copy(path, folder / 'photos')
        Image.open(path).save(folder / 'street.png')
    for name, base, options in (('small.py', 'cityscapes_1024', ADVENTURER),
                                ('small_vit.py', 'upernet_vit-base_cityscapes-1024', VIT)):
        load_config(f'mmvitlin::seg/{base}.py', {**SMALL, **options}).dump(folder / name)
    load_config('mmvitlin::seg/fcn_vit-nano_streets.py', {
        **{key: value for key, value in SMALL.items() if 'loader.' in key or 'cfg.' in key
           or 'interval' in key or key == 'data_root'},
        'model.backbone.model_kwargs.depth': 2}).dump(folder / 'whole.py')
    run('mmvitlin train CONFIG', folder)
    run('mmvitlin train mmvitlin::seg/cityscapes_1024.py', folder)
    return folder


def test_commands_and_the_recipe_of_the_guide_to_experiments(folder, monkeypatch):
    """Its recipe, with three small configs of the names that it has, and its sweep; one seed."""
    text = (ROOT / 'docs/experiments.md').read_text(encoding='utf-8')
    recipe, = re.findall(r'^```python\n(stages = .*?)^```', text, re.M | re.S)
    assert 'iterations=1400' in recipe
    (folder / 'my_recipe.py').write_text(recipe.replace('iterations=1400', 'iterations=4'))
    shutil.copy(folder / 'whole.py', folder / 'teacher.py')
    short = {key: value for key, value in SMALL.items() if key.startswith('train_dataloader.') and
             'pipeline' not in key or key.startswith('train_cfg.') or key == 'data_root'
             or 'interval' in key}
    load_config('mmvitlin::distill/linearizer_adventurer-nano_streets.py', {
        **{key: value for key, value in short.items() if 'val' not in key.split('.')[-1]},
        'default_hooks.checkpoint.interval': 2, 'model.teacher.backbone.model_kwargs.depth': 2,
        'model.objectives.activation.num_stages': 2}).dump(folder / 'distill.py')
    load_config('mmvitlin::seg/fcn_adventurer-nano_streets_distilled.py', {
        key: value for key, value in SMALL.items() if 'loader.' in key or key in short
    }).dump(folder / 'student.py')
    monkeypatch.setitem(INSTEAD, 'mmvitlin::recipes/streets_demo.py', 'my_recipe.py')
    monkeypatch.setitem(INSTEAD, 'mmvitlin::seg/fcn_vit-nano_streets.py', 'whole.py')
    for line in lines_of('experiments'):
        for said, small in ((' 0 1 2', ' 0'), ('--train 240 --val 60', '--train 4 --val 2')):
            line = line.replace(said, small)
        run(line, folder)
    results = json.loads((folder / 'work_dirs/my_recipe/my_recipe.json').read_text())
    scored = 'teacher', 'distilled', 'scratch', 'scratch_long'
    assert results['stages'].keys() == {'distil', *scored}
    assert all('mean' in results['stages'][name] for name in scored)
    assert list((folder / 'work_dirs').glob('*/results.md'))


def run(line, folder):
    words = words_of(line)
    more = []
    if words[1] == 'benchmark':
        more = ['--repeats', '0', '--rounds', '2', '--precisions', 'fp32']
    done = python(*(['-m', *words] if words[0] == 'mmvitlin' else words[1:]), *more, cwd=folder)
    assert done.returncode == 0, f'{words}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}'
    trained = folder / 'work_dirs/cityscapes_1024/iter_2.pth'
    if trained.is_file():  # what the pages call it
        shutil.copy(trained, trained.with_name('iter_80000.pth'))


@pytest.mark.parametrize(('page', 'count', 'files'), [
    ('segment', 7, ['out/labels/**/*.png', 'report.html', 'work_dirs/upernet_focal-vit-base/*.pth',
                    'work_dirs/cityscapes_1024/test_result.json']),
    ('large_images', 3, ['work_dirs/benchmark/results.json']),
    ('deployment', 7, ['student.onnx', 'student.xml', 'student_fp16.onnx', 'student_int8.onnx',
                       'found/**/*.png']),
])
def test_commands_of_a_guide(page, count, files, folder):
    if page == 'deployment':
        for runtime in ('onnxscript', 'onnxruntime', 'openvino'):
            pytest.importorskip(runtime)
    to_run = [line for line in lines_of(page) if not line.startswith(LEFT_OUT)]
    assert len(to_run) == count
    if page == 'deployment' and 'BF16' not in pytest.importorskip('openvino').Core().get_property(
            'CPU', 'OPTIMIZATION_CAPABILITIES'):
        to_run = [line for line in to_run if '--precision bf16' not in line]
    for line in to_run:
        run(line, folder)
    for pattern in files:
        assert list(folder.glob(pattern)), pattern
