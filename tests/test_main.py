"""The command ``mmvitlin``: its list of tools, and those that run without torch."""
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

BLOCKED = '''
import sys, runpy
sys.modules['torch'] = sys.modules['mmengine'] = sys.modules['rich'] = None  # cannot be imported
runpy.run_module('mmvitlin', run_name='__main__', alter_sys=True)
'''


def call(*words):
    return subprocess.run([sys.executable, '-c', BLOCKED, *words], cwd=ROOT, text=True,
                          capture_output=True)


@pytest.mark.parametrize('words', [(), ('--help', )])
def test_every_tool_is_listed_with_what_it_does(words):
    done = call(*words)
    assert (done.returncode, done.stderr) == (0, '')
    listed = dict(re.findall(r'^  (\w+) +(\S.*)$', done.stdout, re.M))
    assert listed['train'] == 'Train any config of mmvitlin, mmseg, mmdet or mmpretrain'
    tools = {path.stem for path in (ROOT / 'tools').glob('*.py')}
    assert tools - set(listed) == {'make_config_readmes', 'make_recipe_table'}  # of the repository
    for name in listed:  # whole sentences
        docstring = (ROOT / 'tools' / f'{name}.py').read_text(encoding='utf-8')
        assert docstring.startswith(f'"""{listed[name]}.'), name


def test_a_name_of_no_tool():
    done = call('trian')
    assert done.returncode == 2
    assert done.stdout == ''
    assert done.stderr.startswith("mmvitlin has no tool 'trian'; did you mean train?\n")


def test_deploy_needs_no_torch(tmp_path):
    done = call('deploy', str(tmp_path / 'none.onnx'), 'street.png')
    assert (done.returncode, done.stderr) == (2, f'error: no file {tmp_path}/none.onnx\n')
    assert '--precision' in call('deploy', '--help').stdout
