"""KEY=VALUE on the command lines of the tools."""
import argparse
import runpy
import sys

import pytest
from mmengine.config import Config

from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.options import ConfigOptions, GridOptions, format_option
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT

CONFIG = """
lr = 1e-3
count = 3
flag = False
name = 'adventurer'
arch = 'tiny'
classes = ('road', 'car')
scales = [0.5, 1.0]
init_cfg = dict(type='Pretrained', checkpoint='a.pth')
nothing = None
data_root = 'data'
train_dataloader = dict(dataset=dict(ann_file='train.txt', data_root='data'))
"""


def parse(*pairs, action=ConfigOptions):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=action, default={})
    return parser.parse_args(['--cfg-options', *pairs]).cfg_options


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('options') / 'c.py'
    path.write_text(CONFIG)
    return str(path)


def value_at(config, pair):
    options = parse(pair)
    (key, _), = options.items()
    cfg = load_config(config, options)
    for name in key.split('.'):
        cfg = cfg[name]
    return cfg


@pytest.mark.parametrize(('pair', 'value'), [
    # what literal_eval takes
    ('lr=1e-3', 0.001), ('lr=-2', -2), ('lr=+.5', 0.5), ('nothing=0x10', 16), ('lr= 3 ', 3),
    ('nothing="a b"', 'a b'), ("nothing='none'", 'none'), ('nothing={"a": (1, None)}',
                                                           dict(a=(1, None))),
    ('nothing=[1,2]', [1, 2]), ('nothing=(1,2)', (1, 2)), ('nothing=[(512,512),(64,64)]',
                                                           [(512, 512), (64, 64)]),
    # dict(…) and JSON, constants inside
    ('nothing=dict(embed_dims=64,num_layers=2)', dict(embed_dims=64, num_layers=2)),
    ("arch=dict(a=dict(b=[1,2]), c='x,y')", dict(a=dict(b=[1, 2]), c='x,y')),
    ('nothing=dict(type=LN,eps=1e-6,affine=false)', dict(type='LN', eps=1e-6, affine=False)),
    ('nothing={"a": true, "b": null, "c": [false]}', dict(a=True, b=None, c=[False])),
    ('nothing=dict()', {}), ('nothing=dict(path=a=b)', dict(path='a=b')),
    # None in its spellings, booleans
    ('init_cfg=none', None), ('init_cfg=null', None), ('init_cfg=None', None), ('data_root=NULL',
                                                                                 None),
    ('flag=true', True), ('flag=True', True), ('flag=FALSE', False),
    # strings as they are given
    ('data_root=da ta', 'da ta'), ('data_root=a,b', 'a,b'), ('data_root=x=1,y=2', 'x=1,y=2'),
    ('data_root=2017', '2017'), ('data_root=1_000', '1_000'), ('data_root=1,2', '1,2'),
    ('nothing=it is, really', 'it is, really'), ("nothing=it's, so", "it's, so"), ('name=', ''),
    ('name=[a,b]', '[a,b]'), ('name=(copy)', '(copy)'), ('nothing=a[0', 'a[0'),
    ('nothing=C:/my data/{x}', 'C:/my data/{x}'), ('train_dataloader.dataset.ann_file=7,8', '7,8'),
    # mmengine's own spellings of lists
    ('nothing=[a,b]', ['a', 'b']), ('nothing=[(a,b),(c,d)]', [('a', 'b'), ('c', 'd')]),
    ('classes=car,side walk', ('car', 'side walk')), ('scales=1,2.5', [1, 2.5]),
    ('scales=(1,2.5)', (1, 2.5)), ('classes=car,', ('car', )), ('classes=water', 'water'),
    ('nothing=1,2', (1, 2)), ("nothing='a','b'", ('a', 'b')),
    # instead of a number
    ('count=007', 7.0), ('lr=inf', float('inf')), ('lr=auto', 'auto'), ('count=(3,4)', (3, 4)),
    ('count=None', None),
])
def test_a_value_as_it_is_meant(config, pair, value):
    actual = value_at(config, pair)
    actual = actual.to_dict() if hasattr(actual, 'to_dict') else actual
    assert actual == value
    assert type(actual) is type(value)


@pytest.mark.parametrize(('pair', 'message'), [
    ('lr=1/3000', "lr must be a number, got '1/3000'"), ('count=8x', "must be a number, got '8x'"),
    ('lr=1,000', "lr must be a number, got '1,000'"), ('count=50%', 'count must be a number'),
    ('flag=yes', "flag must be True or False, got 'yes'"), ('flag=Flase', 'must be True or False'),
    ('init_cfg=b.pth', r"init_cfg must be a dict\(type=…\), got 'b.pth'; set a key of it"),
])
def test_a_value_that_cannot_be_meant(config, pair, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config, parse(pair))


def test_a_number_inside_a_dict_is_checked_too(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text('optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3))')
    with pytest.raises(ConfigError, match="optim_wrapper.optimizer.lr must be a number, got '1/2'"):
        load_config(str(path), parse('optim_wrapper=dict(optimizer=dict(lr=1/2))'))


def test_an_option_that_is_no_dict_or_has_no_value(capsys):
    for pair, words in (('arch=dict(a=1', 'is not closed'), ('arch=dict(a)', "'a' is no key=value"),
                        ('data_root', 'give it as data_root=VALUE')):
        with pytest.raises(SystemExit):
            parse('a=1', pair)
        assert f'--cfg-options {pair}: ' in (message := capsys.readouterr().err)
        assert words in message


def test_options_given_in_two_places_all_count():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={})
    args = parser.parse_args(['--cfg-options', 'a=1', 'b=2', '--cfg-options', 'b=3'])
    assert args.cfg_options == dict(a=1, b=3)
    assert parser.parse_args([]).cfg_options == {}  # not the other call's


def test_values_of_a_grid():
    grid = parse('lr=1e-3,3e-4', 'size=(64,64),(128,128)', 'arch=tiny', "root='a,b', c",
                 'loss=dict(a=1,b=2),none', action=GridOptions)
    assert grid == dict(lr=[1e-3, 3e-4], size=[(64, 64), (128, 128)], arch=['tiny'],
                        root=['a,b', 'c'], loss=[dict(a=1, b=2), None])


@pytest.mark.parametrize('value', [
    'plain', '/a/b-c_1.pth', 'da ta', 'a,b', 'none', '1e-3', 'True', "it's", '', '[a]', 'a=b', 3,
    -1.5e-7, None, True, (1, 2), [0.5, 'x y'], dict(a=dict(b=[None, 'c,d'])), '2017', 'a,1',
    'back\\slash'])
@pytest.mark.parametrize('key', ['nothing', 'data_root', 'scales'])
def test_what_a_recipe_hands_to_its_stages_comes_back(config, key, value):
    if key == 'data_root' and not isinstance(value, (str, type(None))):
        pytest.skip('a root is a string')
    if key == 'scales' and isinstance(value, dict):
        pytest.skip('a dict names places of a list')
    cfg = load_config(config, parse(format_option(key, value)))
    actual = cfg[key].to_dict() if hasattr(cfg[key], 'to_dict') else cfg[key]
    assert actual == value
    assert type(actual) is type(value)


@pytest.mark.parametrize('tool', ['print_config', 'check_data', 'train', 'test', 'infer', 'export',
                                  'benchmark', 'browse_dataset', 'compare', 'robustness',
                                  'resolution_curve', 'transfer', 'sweep', 'run_recipe'])
def test_every_tool_reads_options_alike(tool, monkeypatch):
    """The parser of the tool itself; what it would do with the options is left out."""
    seen = {}

    def parse_args(self, args=None, namespace=None):
        action = next(a for a in self._actions if '--cfg-options' in a.option_strings)
        namespace = argparse.Namespace()
        action(self, namespace, ['data_root=da ta,x', 'k=dict(a=none)'], '--cfg-options')
        seen.update(namespace.cfg_options)
        raise SystemExit(0)

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
    assert seen == {'data_root': 'da ta,x', 'k': dict(a=None)}


def test_print_config_shows_what_was_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [
        'print_config.py', str(ROOT / 'configs/seg/cityscapes_1024.py'), '--cfg-options',
        'data_root=my data/a,b', 'model.backbone.init_cfg=none',
        'train_dataloader.dataset.pipeline.0=dict(type=LoadImageFromFile,imdecode_backend=pillow)'])
    runpy.run_path(str(ROOT / 'tools/print_config.py'), run_name='__main__')
    cfg = Config.fromstring(capsys.readouterr().out, '.py')
    assert cfg.test_dataloader.dataset.data_root == 'my data/a,b'
    assert cfg.model.backbone.init_cfg is None
    assert cfg.train_dataloader.dataset.pipeline[0].imdecode_backend == 'pillow'


def test_a_whole_does_not_replace_a_part_that_was_given_before(capsys):
    with pytest.raises(SystemExit):
        parse('train_cfg.max_iters=2', 'train_cfg=dict(val_interval=2)')
    assert 'would replace train_cfg.max_iters, which is a part of it' in capsys.readouterr().err
    options = parse('arch=dict(embed_dims=8)', 'arch.num_layers=2', 'archive=3')
    assert list(options) == ['arch', 'arch.num_layers', 'archive']
