"""What imports what: downwards only, and no more than a plain installation has."""
import subprocess
import sys

import pytest

from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.optional import OptionalModule
from tests.conftest import ROOT

PLAIN = """
import runpy, sys
for name in ('matplotlib', 'scipy', 'filelock'):
    sys.modules[name] = None
import mmvitlin.models
import mmvitlin.engine.runner.launch
import mmvitlin.evaluation.transfer
import mmvitlin.experiments.experiment
sys.argv = ['train.py', '--help']
try:
    runpy.run_path('tools/train.py', run_name='__main__')
except SystemExit as end:
    assert not end.code
sys.argv = ['transfer.py', 'TEACHER', 'STUDENT']
runpy.run_path('tools/transfer.py', run_name='__main__')
"""


def test_imports_go_down():
    """By the contracts in pyproject.toml; `make lint` says which import breaks one."""
    done = subprocess.run(
        [sys.executable, '-c', 'from importlinter.cli import lint_imports_command as lint; lint()',
         '--no-cache', '--no-logo'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_plain_installation_trains_and_says_what_figures_need():
    """In a process of its own, which has imported nothing yet."""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', PLAIN], cwd=ROOT,
                          capture_output=True, text=True)
    assert 'usage: train.py' in done.stdout, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith('error: matplotlib cannot be imported')
    assert last.endswith("pip install 'mmvitlin[experiments]'")
    assert done.returncode == 2


def test_an_optional_module_is_imported_when_it_is_used():
    prepared = []
    module = OptionalModule('json.decoder', 'figures', prepared.append)
    assert not prepared
    assert module.JSONDecoder().decode('[1]') == [1]
    assert module.load() is sys.modules['json.decoder']
    assert prepared == [module.load()]
    with pytest.raises(ConfigError, match=r"json cannot be .*json.none.*\[figures\]'$"):
        OptionalModule('json.none', 'figures').load()
