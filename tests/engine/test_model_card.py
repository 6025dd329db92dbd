"""The card of published weights: its values are those of the run, and nothing private is in it."""
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mmvitlin.apis import distill
from mmvitlin.engine.hooks.result import command_line
from mmvitlin.engine.publishing import publish
from mmvitlin.engine.recorded_config import literals
from mmvitlin.engine.run_scores import public_command
from mmvitlin.engine.runner.launch import train
from mmvitlin.models import TimmViT
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.engine.nano import nano

PRIVATE = 'client-records'


def code_in(card):
    return re.findall(r'^```python\n(.*?)^```', card, re.M | re.S)


@pytest.fixture(scope='module')
def run(streets, tmp_path_factory):
    """Work directory and network of a segmentor that was trained in a folder of a private name."""
    folder = tmp_path_factory.mktemp('card') / PRIVATE
    shutil.copytree(streets, folder / 'data')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr('sys.argv', [str(ROOT / 'tools/train.py'), f'{folder}/mine.py',
                                   '--work-dir', f'{folder}/run', '--cfg-options',
                                   f'data_root={folder}/data'])
        runner = train(nano(folder / 'data', folder / 'run',
                            **{'default_hooks.checkpoint.max_keep_ckpts': 2}))
    return folder / 'run', runner.model


@pytest.fixture(scope='module')
def published(run, tmp_path_factory):
    path = publish(run[0] / 'iter_4.pth', tmp_path_factory.mktemp('out') / 'net', 'apache-2.0')
    return path, path.with_suffix('.md').read_text(encoding='utf-8')


@pytest.mark.slow
def test_values_are_those_of_the_run(run, published):
    work, model = run
    path, card = published
    result = json.loads((work / 'result.json').read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert f'Parameters: {sum(p.numel() for p in model.parameters()):,} (backbone ' in card
    assert f"| mIoU | {result['metrics']['mIoU']:.6g} |" in card
    for value in (result['date'], result['versions']['torch'], 'Length: 4 iterations',
                  '`CityscapesDataset`', '19, by number from 0: road, sidewalk, ', 'order RGB',
                  '(123.675, 116.28, 103.53)', '`mmvitlin.Adventurer`', 'decode_head `FCNHead`',
                  'Teacher: none\n', 'Adventurer, random weights\n',
                  'Command: `python -m mmvitlin train PATH --work-dir PATH --cfg-options '
                  'data_root=PATH`'):
        assert value in card
    header = yaml.safe_load(card.split('---')[1])
    assert header == dict(library_name='mmvitlin', pipeline_tag='image-segmentation',
                          tags=['openmmlab', 'mamba'], license='apache-2.0')


@pytest.mark.slow
def test_nothing_of_a_private_folder_is_in_it(run, published):
    path, card = published
    assert PRIVATE in torch.load(run[0] / 'iter_4.pth', weights_only=False)['meta']['cfg']
    assert PRIVATE in (run[0] / 'result.json').read_text()
    assert PRIVATE not in card
    assert str(path.parent) not in card
    assert str(ROOT) not in card


@pytest.mark.slow
def test_its_lines_of_python_load_the_weights(run, published, monkeypatch):
    path, card = published
    monkeypatch.chdir(path.parent)
    values = {}
    for code in code_in(card)[:2]:  # the third needs the config
        exec(code, values)
    expected = run[1].state_dict()
    actual = values['network'].state_dict()
    assert expected.keys() == actual.keys()
    assert all(torch.equal(actual[key], value) for key, value in expected.items())


@pytest.mark.slow
def test_scores_of_other_weights_are_left_out(run, tmp_path):
    card = publish(run[0] / 'iter_2.pth', tmp_path / 'net').with_suffix('.md').read_text()
    assert 'mIoU' not in card.split('## Scores')[1].split('## Loading')[0]
    assert 'has iterations 4, the checkpoint 2' in card
    assert 'license: other' in card
    assert '**TO BE FILLED IN**: the licence of these weights' in card


@pytest.mark.slow
def test_a_card_that_somebody_completed_stays(run, tmp_path):
    card = publish(run[0] / 'iter_4.pth', tmp_path / 'net').with_suffix('.md')
    card.write_text('completed')
    assert publish(run[0] / 'iter_4.pth', tmp_path / 'net').with_suffix('.md') == card
    assert card.read_text() == 'completed'


@pytest.mark.slow
def test_a_distilled_student(tmp_path, monkeypatch):
    network = dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=32,
                   model_kwargs=dict(embed_dim=32, depth=4, num_heads=2, patch_size=8))
    (tmp_path / PRIVATE).mkdir()
    torch.save(TimmViT(**{k: v for k, v in network.items() if k != 'type'}).vit.state_dict(),
               tmp_path / PRIVATE / 'teacher.pth')
    for n in range(2):
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (40, 48, 3), np.uint8)).save(
            tmp_path / PRIVATE / f'{n}.png')
    done = distill(
        dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=32, num_layers=4), img_size=32,
             patch_size=8),
        dict(backbone=network, checkpoint=str(tmp_path / PRIVATE / 'teacher.pth')),
        tmp_path / PRIVATE, size=32, iterations=2, batch_size=2, workers=0, amp=False,
        work_dir=tmp_path / PRIVATE / 'run')
    path = publish(done.checkpoint, tmp_path / 'out' / 'student')
    card = path.with_suffix('.md').read_text()
    for value in ('Distilled by `mmvitlin.ViTLinearizer`', '`mmpretrain.CustomDataset`',
                  'Teacher: TimmViT vit_tiny_patch16_224, of a file whose origin is not known',
                  "Licence of the teacher's weights: not known",
                  'No score was measured. Losses of the run, 20',
                  f"{sum(p.numel() for p in done.student.parameters()):,} (backbone "):
        assert value in card
    assert PRIVATE not in card
    assert yaml.safe_load(card.split('---')[1])['tags'] == ['openmmlab', 'distillation', 'mamba']
    monkeypatch.chdir(path.parent)
    values = {}
    for code in code_in(card):
        exec(code, values)
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(values['network'].eval()(images)[0], done.student(images)[0])


def card_of(tmp_path, config):
    """Of a checkpoint that says nothing but its config."""
    torch.save(dict(state_dict={'backbone.weight': torch.ones(3)}, meta=dict(cfg=config)),
               tmp_path / 'in.pth')
    return publish(tmp_path / 'in.pth', tmp_path / 'net').with_suffix('.md').read_text()


@pytest.mark.parametrize(('teacher', 'licence'), [
    ("checkpoint='mmvitlin::vit-small-14_saliency', backbone=dict(type='mmvitlin.TimmViT', "
     "model_name='vit_small_patch14_dinov2')", "MIT, by the package's metadata"),
    ("backbone=dict(type='mmvitlin.TimmViT', pretrained=True, "
     "model_name='vit_base_patch16_224.augreg_in1k')",
     "apache-2.0 by timm's record; see what its makers say"),
    ("checkpoint='/elsewhere/x.pth', backbone=dict(type='mmpretrain.VisionTransformer', arch='b')",
     'not known'),
])
def test_the_licence_of_a_teacher(tmp_path, teacher, licence):
    card = card_of(tmp_path, f"""
model = dict(type='mmvitlin.AttentionAlignment', teacher=dict({teacher}),
             backbone=dict(type='mmvitlin.TimmViT', attention='linear',
                           init_cfg=dict(checkpoint='/elsewhere/y.pth')))
""")
    assert f"Licence of the teacher's weights: {licence}" in card
    assert "Started from: the teacher's own weights" in card
    assert '/elsewhere' not in card
    assert 'init_cfg' not in code_in(card)[0]
    assert '- linear-attention' in card


def recorded(folder, name, iterations, config, **result):
    """The student of a run, with its config and result.json beside it."""
    start = '20260102_030405'
    (folder / start / 'vis_data').mkdir(parents=True)
    (folder / start / 'vis_data/config.py').write_text(config)
    (folder / 'result.json').write_text(json.dumps(dict(
        iterations=iterations, date='2026-01-02', versions=dict(mmvitlin='0.2.0'), **result)))
    torch.save(dict(state_dict={'backbone.weight': torch.ones(3)}, meta=dict(
        experiment_name=f'{name}_{start}', iter=iterations, finished=True)),
        folder / 'student.pth')
    return folder / 'student.pth'


DISTILLED = """
train_dataloader = dict(dataset=dict(type='mmpretrain.CustomDataset'))
model = dict(type='mmvitlin.ViTLinearizer', backbone=dict(type='mmvitlin.Adventurer', arch='small'),
             teacher=dict(checkpoint='mmvitlin::vit-small-14_saliency', backbone=dict(
                 type='mmvitlin.TimmViT', model_name='vit_small_patch14_dinov2')))
"""
SEGMENTOR = """
model = dict(type='EncoderDecoder', decode_head=dict(type='FCNHead'), backbone=dict(
    type='mmvitlin.Adventurer', arch='small', init_cfg=dict(
        type='Pretrained', checkpoint='{}', prefix='backbone.')))
"""


def test_a_segmentor_that_started_from_a_student(tmp_path):
    student = recorded(tmp_path / PRIVATE, 'mine', 1234, DISTILLED,
                       command=f'python -m mmvitlin train {tmp_path}/{PRIVATE}/mine.py --amp')
    card = card_of(tmp_path, SEGMENTOR.format(student))
    training = card.split('## Training')[1].split('## Scores')[0]
    this, before = training.split('The run that this one started from:')
    for line in ('Started from: Adventurer small, of a run of 1,234 iterations on '
                 '`mmpretrain.CustomDataset` that started from: Adventurer small, random weights',
                 'Teacher: TimmViT vit_small_patch14_dinov2, ViT-S/14 (saliency) of the package',
                 '; not in this run, but before it',
                 "Licence of the teacher's weights: MIT, by the package's metadata"):
        assert line in this
    assert 'Distilled by' not in this
    for line in ('- Length: 1,234 iterations', '- Distilled by `mmvitlin.ViTLinearizer`',
                 '- Teacher: TimmViT vit_small_patch14_dinov2, ViT-S/14', '- Date: 2026-01-02',
                 '- Versions: mmvitlin 0.2.0', 'Command: `python -m mmvitlin train PATH --amp`'):
        assert line in before
    assert PRIVATE not in card
    assert str(tmp_path) not in card


def test_a_start_that_is_named_from_another_folder(tmp_path, monkeypatch):
    """As work_dirs/…, from where the run was started."""
    recorded(tmp_path / 'project/work_dirs/a', 'mine', 5, DISTILLED)
    (tmp_path / 'project/work_dirs/b').mkdir()
    monkeypatch.chdir(ROOT)
    card = card_of(tmp_path / 'project/work_dirs/b', SEGMENTOR.format('work_dirs/a/student.pth'))
    assert 'of a run of 5 iterations on `mmpretrain.CustomDataset`' in card


def test_a_chain_of_runs_and_a_teacher_that_a_run_trained(tmp_path):
    """The second stage of ViT-AdaLA starts from the first, and both learn from one teacher."""
    teacher = recorded(tmp_path / 't', 'teacher', 7, SEGMENTOR.format('/gone.pth'))
    stage = """
model = dict(type='mmvitlin.{}', backbone=dict(type='mmvitlin.TimmViT', init_cfg=dict(
    checkpoint='{}')), teacher=dict(checkpoint='{}', backbone=dict(type='mmvitlin.TimmViT')))
"""
    first = recorded(tmp_path / '1', 'a', 10,
                     stage.format('AttentionAlignment', '/gone.pth', teacher))
    second = recorded(tmp_path / '2', 'b', 20, stage.format('FeatureAlignment', first, teacher))
    card = card_of(tmp_path, SEGMENTOR.format(second))
    this, two, one = card.split('## Scores')[0].split('- Length: ')[1:]
    assert 'of a run of 20 iterations' in this
    assert two.startswith('20 iterations\n')
    assert one.startswith('10 iterations\n')
    assert "Started from: the teacher's own weights" in one
    words = 'Teacher: TimmViT, of a run of 7 iterations that started from: Adventurer small'
    assert all(words in part for part in (this, two, one))


@pytest.mark.parametrize('fault', ['gone', 'weights', 'itself', 'broken'])
def test_a_start_that_cannot_be_followed(tmp_path, fault):
    student = recorded(tmp_path / 'a', 'mine', 5, DISTILLED)
    if fault == 'gone':
        student.unlink()
    elif fault == 'weights':
        torch.save({'backbone.weight': torch.ones(3)}, student)
    elif fault == 'broken':
        student.write_bytes(b'PK no checkpoint')
    else:  # written anew by the run that started from it
        (tmp_path / 'a/20260102_030405/vis_data/config.py').write_text(SEGMENTOR.format(student))
        path = publish(student, tmp_path / 'net')
        assert 'The run that' not in path.with_suffix('.md').read_text()
        return
    card = card_of(tmp_path, SEGMENTOR.format(student))
    assert 'Started from: Adventurer small, of a file whose origin is not known' in card
    assert 'Teacher: not known; none in this run' in card
    assert 'The run that' not in card


def test_a_resumed_run_did_not_start_from_itself(tmp_path):
    student = recorded(tmp_path / 'a', 'mine', 5, DISTILLED)
    text = SEGMENTOR.format(student) + "load_from = 'work/iter_2.pth'\nresume = True\n"
    assert 'of a run of 5 iterations' in card_of(tmp_path, text)


@pytest.mark.parametrize(('script', 'command'), [
    ('tools/train.py', 'python -m mmvitlin train x.py --amp'),
    ('tools/benchmarks/reliability.py', 'python tools/benchmarks/reliability.py x.py --amp'),
    ('nowhere.py', 'python')])
def test_the_command_that_is_recorded(script, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    for path in (script, str(ROOT / script)):
        monkeypatch.setattr('sys.argv', [path, 'x.py', '--amp'])
        assert command_line() == command
    assert public_command(command) == command.replace('tools/benchmarks/', '')


def test_what_is_not_known_is_said(tmp_path):
    card = card_of(tmp_path, None)
    for line in ('Teacher: not known', 'Data set: not known', 'Length: not known',
                 'How they must be normalised is not known', 'Its config is not known',
                 'there is no `result.json`', 'Started from: not known'):
        assert line in card


def test_a_recorded_config_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "a = open('ran', 'w')\nb = dict(c=(1, [2]), **{'d.e': None})\nf = 1 + a\n"
    assert literals(text) == dict(b={'c': (1, [2]), 'd.e': None})
    assert not (tmp_path / 'ran').exists()
    assert literals('a = (') == {}


@pytest.mark.parametrize(('command', 'shown'), [
    ('python tools/train.py configs/seg/cityscapes_1024.py --amp',
     'python tools/train.py configs/seg/cityscapes_1024.py --amp'),
    ('python ../../lib/mmvitlin/.mim/tools/train.py mmvitlin::seg/cityscapes_1024.py',
     'python tools/train.py mmvitlin::seg/cityscapes_1024.py'),
    ('python /x/mmvitlin/__main__.py test /elsewhere/configs/seg/cityscapes_1024.py a/b.pth',
     'python -m mmvitlin test configs/seg/cityscapes_1024.py PATH'),
    ('python tools/train.py configs/mine.py --work-dir secret --cfg-options data_root=secret '
     "load_from=https://x.org/y model.mask_ratio=0.5 'a.b=[~/x, 1]'",
     'python tools/train.py PATH --work-dir PATH --cfg-options data_root=PATH load_from=PATH '
     'model.mask_ratio=0.5 a.b=PATH'),
    (r'python tools/train.py C:\me\x.py', 'python tools/train.py PATH'),
    ('python', 'python'),
    ("python 'unfinished", ''),
])
def test_commands_without_folders(command, shown):
    if '\\' in command:
        command = command.replace('\\', '\\\\')
    assert public_command(command) == shown


def test_a_licence_that_would_break_the_header(tmp_path):
    torch.save(dict(state_dict={'a': torch.ones(1)}), tmp_path / 'in.pth')
    with pytest.raises(ConfigError, match='give an abbreviation such as apache-2.0'):
        publish(tmp_path / 'in.pth', tmp_path / 'net', 'my own\ntags: x')
    assert not list(tmp_path.glob('net*'))
