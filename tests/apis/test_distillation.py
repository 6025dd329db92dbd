"""The Python call that distils: what it returns, writes and refuses."""
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

import mmvitlin
from mmvitlin.apis import distill
from mmvitlin.apis.distillation_stages import OBJECTIVES
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models import Adventurer, TimmViT
from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from tests.conftest import ROOT

NETWORK = dict(
    type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=32,
    model_kwargs=dict(embed_dim=32, depth=4, num_heads=2, patch_size=8))
STUDENT = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=32, num_layers=4), img_size=32,
               patch_size=8)
SMALL = dict(size=32, iterations=2, batch_size=2, workers=0, amp=False)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images' / 'below'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), np.uint8)).save(folder / f'{n}.png')
    return tmp_path / 'images'


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(0)
    torch.save(MODELS.build(NETWORK).vit.state_dict(), tmp_path / 'teacher.pth')
    return dict(backbone=NETWORK, checkpoint=str(tmp_path / 'teacher.pth'),
                mean=[120., 110., 100.], std=[60., 55., 50.])


@pytest.mark.slow
def test_a_student_from_random_weights(images, teacher, tmp_path):
    done = distill(STUDENT, teacher, images, work_dir=tmp_path / 'w', **SMALL,
                   objective='linearizer', options={'model.objectives.mask': None})
    assert isinstance(done.student, Adventurer)
    assert not done.student.training
    weights = torch.load(done.checkpoint, weights_only=True)['state_dict']
    state = done.student.state_dict()
    assert all(torch.equal(state[k.removeprefix('backbone.')], v) for k, v in weights.items())
    assert 'loss_activation' in done.losses
    assert 'loss_mask' not in done.losses
    cfg = load_config(str(done.configs[0]))  # what was written is a config of its own
    assert cfg.model.data_preprocessor.mean == [120., 110., 100.]
    assert cfg.train_cfg.max_iters == 2
    image = sorted(images.rglob('*.png'))[0]
    pixels = torch.tensor(np.asarray(Image.open(image))).permute(2, 0, 1)[None].double()
    mean, std = (torch.tensor(teacher[k], dtype=torch.float64)[:, None, None]
                 for k in ('mean', 'std'))
    torch.testing.assert_close(done.preprocess(image).double(), (pixels - mean) / std, atol=1e-5,
                               rtol=1e-5)
    found = done.features(image)
    assert found.shape == (1, 32, 5, 6)
    assert not found.requires_grad
    for path in sorted(images.rglob('*.png')):  # a folder of nothing but these is read too
        Image.open(path).save(path.with_suffix('.webp'))
    for path in images.rglob('*.png'):
        path.rename(tmp_path / path.name)
    done = distill(STUDENT, teacher, images, work_dir=tmp_path / 'u', **SMALL)
    feature = load_config(str(done.configs[0])).model.objectives.feature
    assert (feature.layers, feature.normalize_target.type) == ([0.25, 0.5, 0.75, 1.0], 'phi_s')
    assert distill(STUDENT, teacher, sorted(images.rglob('*.webp')), work_dir=tmp_path / 'v',
                   **SMALL).checkpoint.is_file()


@pytest.mark.parametrize('objective', ['phi_s', 'linearizer', 'l2'])
def test_objectives_are_those_of_the_full_size_configs(objective, monkeypatch):
    monkeypatch.chdir(ROOT)
    name = f"configs/distill/{objective.replace('_', '-')}_adventurer-base_in1k-224.py"
    model = load_config(name).model
    (model.objectives.get('mask') or {}).pop('beta', None)  # the default
    assert OBJECTIVES[objective] == dict(
        mask_ratio=model.mask_ratio,
        objectives={k: v for k, v in model.objectives.to_dict().items() if v is not None})


@pytest.mark.slow
def test_a_student_that_inherits_goes_through_both_stages(images, teacher, tmp_path):
    done = distill('linear', teacher, images, work_dir=tmp_path / 'w', **SMALL)
    assert isinstance(done.student, TimmViT)
    assert done.student.attention == ('linear', ) * 4
    assert [file.stem for file in done.configs] == ['align_attention', 'align_features']
    assert done.checkpoint == tmp_path / 'w' / 'align_features' / 'student.pth'
    with torch.no_grad():
        assert done.student(torch.randn(1, 3, 32, 48))[0].shape == (1, 32, 4, 6)


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(student='adventurer-huge'), "'adventurer-huge' is none of"),
    (dict(teacher='vit_base_patch16_clop'), "no published weights called 'vit_base_patch16_clop'"),
    (dict(teacher=dict(checkpoint='x.pth')), 'a config has a backbone'),
    (dict(images='nowhere'), "no folder at 'nowhere'"),
    (dict(batch_size=5), '4 found, fewer than batch_size=5'),
    (dict(images=(path for path in ['a.png'])), '1 found, fewer than batch_size'),
    (dict(images=[None]), 'paths of files, got NoneType; arrays and tensors have to be saved'),
    (dict(images=3), 'paths of files, got int'),
    (dict(size=(36, 32)), r'take \(32, 32\)'),
    (dict(size='32'), "size: '32', must be one side or"),
    (dict(size=(32, 32, 3)), 'must be one side or'),
    (dict(iterations=0), 'iterations must be a whole number at least 1, got 0'),
    (dict(iterations=2.5), 'iterations must be a whole number'),
    (dict(workers=-1), 'workers must be a whole number at least 0, got -1'),
    (dict(lr=0.), 'lr must be a number above 0, got 0.0'),
    (dict(lr=float('inf')), 'lr must be a number above 0, got inf'),
    (dict(options='a=1'), "options: 'a=1', must be a mapping"),
    (dict(teacher=dict(backbone=NETWORK, mean=[1.] * 3)), 'teacher: give mean and std, or neither'),
    (dict(teacher=dict(backbone=NETWORK, checkpoint=Path('no.pth'))), "no checkpoint at 'no.p"),
    (dict(teacher=dict(backbone=dict(NETWORK, drop=object()))), 'teacher.backbone.drop: <object'),
    (dict(teacher=dict(backbone=dict(type='mmvitlin.TimmFeatures', model_name='convnext_atto')),
          student='adventurer-tiny'), 'convnext_atto cuts no patches, which distill needs'),
    (dict(student=dict(type='mmvitlin.Adventurer', arch='tiny'), size=40),
     r'no whole patches of 16; take \(32, 32\)'),
    (dict(student='focl'), "'focl' is none of .*'focal'"),
    (dict(student=None), 'None is none of'),
    (dict(objective='phi-s'), "'phi-s' is none of .*'phi_s'"),
    (dict(student='linear', objective='l2'), "inherits the teacher's weights and is aligned"),
    (dict(student=dict(arch='tiny')), 'nor the config of a backbone'),
    (dict(teacher=None), 'teacher: None is neither a name nor a config'),
    (dict(teacher=dict(backbone=NETWORK, checkpoint='no.pth')), "teacher: no checkpoint at 'no.p"),
    (dict(student='linear', teacher=dict(backbone=dict(type='mmvitlin.Adventurer', arch='tiny',
                                                       patch_size=8))), 'inherits the weights'),
])
def test_what_cannot_be_distilled(images, teacher, tmp_path, changes, message):
    arguments = dict(student=STUDENT, teacher=teacher, images=images, work_dir=tmp_path / 'w',
                     **SMALL) | changes
    with pytest.raises(ConfigError, match=message):
        distill(**arguments)
    assert not list(tmp_path.glob('w/*/*.pth'))


def test_a_damaged_image_is_one_sentence(images, teacher, tmp_path):
    """Where loaders have a process of their own, which adds its traceback."""
    for path in images.rglob('*.png'):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableFileError, match='cannot be decoded') as caught:
        distill(STUDENT, teacher, images, work_dir=tmp_path / 'w', **dict(SMALL, workers=1))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(student='focl'), "^student: 'focl'"),
    (dict(teacher='vit_base_patch16_clop'), '^teacher: timm has no'),
    (dict(teacher=dict(backbone=NETWORK, checkpoint='no.pth')), '^teacher: no checkpoint'),
    (dict(size=36), '^size: 36'),
    (dict(iterations=0), '^iterations must be'),
    (dict(workers='4'), "^workers must be"),
    (dict(lr=-1), '^lr must be a number above 0'),
    (dict(student='focal', teacher=dict(backbone=dict(type='mmvitlin.Adventurer', arch='tiny',
                                                      patch_size=8))), '^student=.focal. inherits'),
])
@pytest.mark.parametrize('folder', ['images', 'nowhere'])
def test_arguments_are_looked_at_before_images(images, teacher, tmp_path, folder, changes, message):
    """Of images there are too few, or none."""
    arguments = dict(student='linear', teacher=teacher, images=tmp_path / folder,
                     work_dir=tmp_path / 'w', **SMALL) | dict(batch_size=5) | changes
    with pytest.raises(ConfigError, match=message):
        distill(**arguments)
    assert not (tmp_path / 'w').exists()


def test_names_of_the_package():
    assert {'distill', 'SegInferencer', 'Adventurer'} <= set(dir(mmvitlin))
    assert mmvitlin.distill is distill
    assert mmvitlin.Adventurer is Adventurer
    for name in mmvitlin.__all__:
        assert getattr(mmvitlin, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        mmvitlin.distil  # noqa: B018


def test_values_of_python_that_configs_can_say(images, teacher, tmp_path):
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked' / 'there').symlink_to(images)
    teacher.update(checkpoint=Path(teacher['checkpoint']), mean=np.array(teacher['mean']),
                   backbone=dict(NETWORK, type=TimmViT))
    done = distill(dict(STUDENT, type=Adventurer), teacher, tmp_path / 'linked',
                   work_dir=tmp_path / 'w', options={'model.data_preprocessor.mean': [1., 2., 3.],
                                                     'model.teacher.mean': None,
                                                     'model.teacher.std': None}, **SMALL)
    assert done.mean == (1., 2., 3.)
    assert done.std == (60., 55., 50.)
    unscoped = dict(teacher, backbone=dict(NETWORK, type='TimmViT'), mean=None, std=None)
    assert distill('linear', unscoped, images, work_dir=tmp_path / 'v', **SMALL).mean[0] > 100


def test_signals_are_heard_as_before_after_an_error(images, teacher, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    for path in images.rglob('*.png'):
        path.write_bytes(b'no image')
    with pytest.raises(UnreadableFileError):
        distill(STUDENT, teacher, images, work_dir=tmp_path / 'w', **SMALL)
    assert signal.getsignal(signal.SIGINT) is before
