"""Loading of weights: released layout, refusals, lists of what did not fit."""
import argparse
import os

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmvitlin.engine.publishing import publish
from mmvitlin.engine.rules import check
from mmvitlin.models import Adventurer
from mmvitlin.models.layers import resize_positions
from mmvitlin.models.utils import convert_released, load_backbone, read_state_dict
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.paths import locate

SMALL = dict(arch=dict(embed_dims=32, num_layers=4), img_size=64, flip_schedule='released')


@pytest.fixture
def released(tmp_path):
    """A file in the layout of the released Adventurer weights."""
    net = Adventurer(**SMALL)
    state = {**net.state_dict(), 'head.weight': torch.randn(10, 32), 'head.bias': torch.randn(10)}
    path = tmp_path / 'released.pth'
    torch.save({'model': state, 'args': argparse.Namespace(lr=1e-3), 'epoch': 300}, path)
    return path, net


def test_released_file_by_init_cfg(released):
    path, net = released
    loaded = Adventurer(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    loaded.init_weights()
    for a, b in zip(loaded.parameters(), net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_released_file_converted(released, tmp_path):
    path, net = released
    cfg, report = convert_released(path, tmp_path / 'mm.pth')
    assert cfg['arch'] == dict(embed_dims=32, num_layers=4)
    assert (cfg['patch_size'], cfg['img_size'], cfg['mlp_ratio']) == (16, 64, 2.5)
    assert not report.missing
    assert not report.unexpected
    state = torch.load(tmp_path / 'mm.pth', weights_only=True)['state_dict']
    assert 'head.fc.weight' in state
    assert torch.equal(state['backbone.layers.2.mixer.A_log'], net.layers[2].mixer.A_log)


def test_missing_unexpected_and_wrong_shapes_are_listed(released, tmp_path):
    _, net = released
    state = net.state_dict()
    del state['layers.1.mixer.D']
    state['layers.0.norm.weight'] = torch.ones(7)
    state['layers.0.surprise'] = torch.ones(1)
    torch.save(state, tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError) as error:
        load_backbone(net, tmp_path / 'odd.pth')
    text = str(error.value)
    for part in ('odd.pth', '1 missing: layers.1.mixer.D', '1 unexpected: layers.0.surprise',
                 'layers.0.norm.weight: (7,) in the file, (32,) in the model', 'arch'):
        assert part in text


def test_the_mask_token_is_optional_in_both_directions(tmp_path):
    plain, masked = Adventurer(**SMALL), Adventurer(**SMALL)
    masked.enable_masking()
    torch.save(masked.state_dict(), tmp_path / 'masked.pth')
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    assert not load_backbone(plain, tmp_path / 'masked.pth').unexpected
    assert not load_backbone(masked, tmp_path / 'plain.pth').missing


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path), )


@pytest.mark.parametrize('load', [read_state_dict, lambda p: CheckpointLoader.load_checkpoint(
    str(p), map_location='cpu')])
def test_code_in_a_checkpoint_does_not_run(tmp_path, load):
    torch.save({'state_dict': {'a': torch.ones(1)}, 'x': Bomb(tmp_path / 'owned')},
               tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match='evil.pth holds objects other than tensors.*mkdir'):
        load(tmp_path / 'evil.pth')
    assert not (tmp_path / 'owned').exists()


def test_broken_files(tmp_path, released):
    path, _ = released
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match='cut.pth is not a readable checkpoint, or is cut'):
        read_state_dict(cut)
    (tmp_path / 'text.pth').write_text('no weights here')
    with pytest.raises(CheckpointError, match='text.pth'):
        read_state_dict(tmp_path / 'text.pth')
    with pytest.raises(FileNotFoundError, match='no checkpoint at'):
        read_state_dict(tmp_path / 'absent.pth')
    with pytest.raises(CheckpointError, match="starts with 'neck.'"):
        read_state_dict(path, prefix='neck.')
    torch.save({'epoch': 3}, tmp_path / 'empty.pth')
    with pytest.raises(CheckpointError, match='holds no tensors'):
        read_state_dict(tmp_path / 'empty.pth')


def test_a_deeper_network_s_file_is_refused(tmp_path):
    deep = Adventurer(dict(embed_dims=32, num_layers=6), img_size=64)
    torch.save(deep.state_dict(), tmp_path / 'deep.pth')
    with pytest.raises(CheckpointError, match='unexpected: layers.4'):
        load_backbone(Adventurer(**SMALL), tmp_path / 'deep.pth')


def test_positions_of_a_wide_grid_and_directions_travel_with_the_student(tmp_path):
    wide = Adventurer(SMALL['arch'], img_size=(64, 256))
    torch.save(dict(meta=dict(backbone=wide.describe()), state_dict=wide.state_dict()),
               tmp_path / 'wide.pth')
    images = torch.randn(1, 3, 128, 128)
    for size in ((128, 128), (128, 512), (256, 64)):  # the last has as many patches
        net = Adventurer(SMALL['arch'], img_size=size)
        load_backbone(net, tmp_path / 'wide.pth')
        grid = wide.pos_embed[:, :-1].transpose(1, 2).unflatten(2, (4, 16))
        expected = resize_positions(grid.flatten(2).transpose(1, 2), (4, 16), net.grid)
        torch.testing.assert_close(net.pos_embed[:, :-1], expected)
        assert torch.isfinite(net(images)[0]).all()
    with pytest.raises(CheckpointError, match=r'blocks \[1, 3\] reversed.*set flip_schedule'):
        load_backbone(Adventurer(SMALL['arch'], img_size=64, flip_schedule='released'),
                      tmp_path / 'wide.pth')


def test_a_files_metadata_applies_only_to_that_file(tmp_path, monkeypatch):
    """It goes with the state dict and leaves nothing on the network; a file is read once."""
    from mmvitlin.models.utils import checkpoint
    wide, tall = (Adventurer(SMALL['arch'], img_size=size) for size in ((64, 256), (256, 64)))
    torch.save(dict(meta=dict(backbone=wide.describe()), state_dict=wide.state_dict()),
               tmp_path / 'wide.pth')
    read, opened = checkpoint.safe_torch_load, []
    monkeypatch.setattr(checkpoint, 'safe_torch_load',
                        lambda path: opened.append(path) or read(path))
    load_backbone(tall, tmp_path / 'wide.pth')
    assert len(opened) == 1
    settings = {k for k in vars(tall) if not k.startswith('_')}
    assert settings == {k for k in vars(wide) if not k.startswith('_')}
    load_backbone(tall, checkpoint.CheckpointFile('a', dict(tall.state_dict()), {}))
    again = Adventurer(SMALL['arch'], img_size=(256, 64))
    again.load_state_dict(tall.state_dict())  # of its own grid, which nothing said
    assert torch.equal(again.pos_embed, tall.pos_embed)
    model = torch.nn.ModuleDict(dict(backbone=Adventurer(SMALL['arch'], img_size=(256, 64))))
    state = {f'backbone.{k}': v for k, v in wide.state_dict().items()}
    model.load_state_dict(checkpoint.with_description(state, wide.describe(), 'backbone'))
    torch.testing.assert_close(model['backbone'].pos_embed[:, :-1], resize_positions(
        wide.pos_embed[:, :-1], (4, 16), (16, 4)))


@pytest.mark.parametrize('url', ['https://example.org/evil.pth', 'torchvision://resnet18',
                                 'open-mmlab://resnet50_v1c', 'mmcls://vgg11'])
def test_code_behind_a_url_does_not_run(tmp_path, monkeypatch, url):
    import shutil
    torch.save({'x': Bomb(tmp_path / 'owned')}, tmp_path / 'served.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('torch.hub.download_url_to_file',
                        lambda url, target: shutil.copy(tmp_path / 'served.pth', target))
    with pytest.raises(CheckpointError, match='holds objects other than tensors'):
        read_state_dict(url)
    assert not (tmp_path / 'owned').exists()


def test_files_of_one_name_behind_two_urls(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    def fetch(url, target):
        if 'gone' in url:
            raise OSError('HTTP Error 404: Not Found')
        content = {'a': torch.full((1, ), float('/y/' in url))}
        (save_file if '.safetensors' in url else torch.save)(content, target)

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('torch.hub.download_url_to_file', fetch)
    for name in ('pytorch_model.bin', 'model.safetensors', 'pytorch_model.bin?download=true'):
        for folder, value in (('x', 0), ('y', 1), ('x', 0)):
            state = read_state_dict(f'https://example.org/{folder}/{name}')
            assert state['a'].item() == value
    read_state_dict('https://example.org/resnet50-0676ba61.pth')
    assert (tmp_path / 'hub/checkpoints/resnet50-0676ba61.pth').is_file()  # where torch looks too
    with pytest.raises(CheckpointError, match=r'gone/a.pth cannot be fetched: HTTP Error 404'):
        read_state_dict('https://example.org/gone/a.pth')


def test_safetensors(tmp_path):
    from safetensors.torch import save_file
    net = Adventurer(**SMALL)
    save_file({f'backbone.{k}': v for k, v in net.state_dict().items()}, tmp_path / 's.safetensors')
    other = Adventurer(**SMALL)
    assert len(load_backbone(other, tmp_path / 's.safetensors').matched) == len(net.state_dict())
    assert torch.equal(other.pos_embed, net.pos_embed)


def test_of_several_copies_the_averaged_one_is_taken(tmp_path):
    ones, zeros = ({'patch_embed.x': torch.full((2, ), n)} for n in (1., 0.))
    for first, second in (('state_dict_ema', 'state_dict'), ('teacher', 'student')):
        torch.save({second: zeros, first: ones}, tmp_path / 'a.pth')
        assert read_state_dict(tmp_path / 'a.pth')['patch_embed.x'].tolist() == [1, 1]


def test_a_prefix_has_its_dot(tmp_path):
    torch.save({'backbone.a': torch.ones(1), 'backbones': torch.ones(1)}, tmp_path / 'a.pth')
    assert list(read_state_dict(tmp_path / 'a.pth', 'backbone')) == ['a']


def test_a_programme_is_no_checkpoint(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / 'ViT-B-16.pt'))
    with pytest.raises(CheckpointError, match=r'TorchScript archive.*torch\.jit\.load'):
        read_state_dict(tmp_path / 'ViT-B-16.pt')


def test_several_initialisers(tmp_path):
    """As one: the file is checked, and wins."""
    arch = dict(embed_dims=32, num_layers=4)
    source = Adventurer(arch, 64, flip_schedule=[2, 3])
    torch.save(dict(meta=dict(backbone=source.describe()), state_dict={
        f'backbone.{k}': v for k, v in source.state_dict().items()}), tmp_path / 'a.pth')
    init = [dict(type='Constant', layer='Linear', val=0.5),
            dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone')]
    with pytest.raises(CheckpointError, match=r'set flip_schedule=\[2, 3\]'):
        Adventurer(arch, 64, init_cfg=init).init_weights()
    net = Adventurer(arch, 64, flip_schedule=[2, 3], init_cfg=init)
    net.init_weights()
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in net.state_dict().items())


def test_convert_refuses_another_model(tmp_path):
    torch.save({'conv.weight': torch.ones(3)}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='not an Adventurer checkpoint'):
        convert_released(tmp_path / 'x.pth', tmp_path / 'y.pth')
    assert not (tmp_path / 'y.pth').exists()


def test_names_of_downloaded_checkpoints(tmp_path, monkeypatch):
    """As mim and publish_model.py name them, in the folders that they are kept in."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('MMVITLIN_CACHE', str(tmp_path / 'cache'))
    net = Adventurer(**SMALL)
    again = Adventurer(**SMALL, init_cfg=dict(type='Pretrained', checkpoint='mmvitlin::small'))
    with pytest.raises(FileNotFoundError, match=r'checkpoint at mmvitlin::small: neither .*cache/'
                       r'checkpoints nor .*\.cache/mim has a file small.pth'):
        again.init_weights()
    folder = tmp_path / '.cache/mim'
    folder.mkdir(parents=True)
    torch.save(dict(state_dict=net.state_dict()), folder / 'small-0123abcd.pth')
    for other in ('small-but-another', 'small-finetune'):  # the latter as long as a hash
        torch.save(dict(state_dict={}), folder / f'{other}.pth')
    again.init_weights()
    assert torch.equal(again.cls_token, net.cls_token)
    loaded = CheckpointLoader.load_checkpoint('mmvitlin::small', 'cpu')  # mmengine's own way
    assert loaded['state_dict'].keys() == net.state_dict().keys()
    (tmp_path / 'cache/checkpoints').mkdir(parents=True)
    torch.save(dict(state_dict=Adventurer(**SMALL).state_dict()),
               tmp_path / 'cache/checkpoints/small.pth')
    assert not torch.equal(read_state_dict('mmvitlin::small')['cls_token'], net.cls_token)
    save_file(net.state_dict(), folder / 'safe[1].safetensors')
    loaded = CheckpointLoader.load_checkpoint('mmvitlin::safe[1]', 'cpu')
    assert torch.equal(loaded['state_dict']['cls_token'], net.cls_token)
    assert publish('mmvitlin::small', tmp_path / 'out').is_file()
    for name in ('', '*', '../mim/small', f'{folder}/small'):
        with pytest.raises(FileNotFoundError, match='no checkpoint at mmvitlin::'):
            locate(f'mmvitlin::{name}')
    cfg = Config(dict(load_from='mmvitlin::gone'))
    with pytest.raises(ConfigError, match=r'^load_from: no checkpoint at mmvitlin::gone: neither'):
        check(cfg, loaders=())


def test_files_of_other_formats_say_what_they_are(tmp_path):
    arrays = dict(weight=np.zeros((2, 2), np.float32))
    save_file({k: torch.from_numpy(v) for k, v in arrays.items()}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'is a safetensors file; call it a.safetensors'):
        read_state_dict(tmp_path / 'a.pth')
    np.savez(tmp_path / 'b.npz', **arrays)
    np.save(tmp_path / 'c.npy', arrays['weight'])
    for name in ('b.npz', 'c.npy'):
        with pytest.raises(CheckpointError, match='holds arrays of NumPy, TensorFlow or JAX'):
            read_state_dict(tmp_path / name)
    (tmp_path / 'd.pth').write_bytes(b'PK of something')
    with pytest.raises(CheckpointError, match='is not a readable checkpoint, or is cut short'):
        read_state_dict(tmp_path / 'd.pth')
