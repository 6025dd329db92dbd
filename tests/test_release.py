"""What has to agree when a version is released, and files that no other test runs."""
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import mmvitlin
from tests.conftest import ROOT

CHANGELOG = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')


def test_the_changelog_has_this_version_and_a_place_for_the_next():
    heads = re.findall(r'^## (.*)$', CHANGELOG, re.M)
    assert heads[0] == '[Unreleased]'
    form = re.compile(r'\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)')
    releases = [form.fullmatch(head) for head in heads[1:]]
    assert all(releases), heads
    assert releases[0][1] == mmvitlin.__version__
    versions = [tuple(map(int, release[1].split('.'))) for release in releases]
    assert versions == sorted(versions, reverse=True)
    dates = [release[2] for release in releases]
    assert dates == sorted(dates, reverse=True)
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert citation['version'] == mmvitlin.__version__
    assert str(citation['date-released']) == dates[0]


def test_changes_are_grouped():
    kinds = set(re.findall(r'^### (.*)$', CHANGELOG, re.M))
    assert kinds <= {'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'}


def test_pre_commit_runs_the_linter_that_the_suite_runs():
    path = ROOT / '.pre-commit-config.yaml'
    if not path.is_file():
        pytest.skip('an sdist has no hidden files')
    hooks = yaml.safe_load(path.read_text(encoding='utf-8'))['repos']
    ruff, = (repo['rev'] for repo in hooks if 'ruff' in repo['repo'])
    assert f'ruff=={ruff[1:]}\n' in (ROOT / 'requirements/lock.txt').read_text(encoding='utf-8')


def test_the_docker_file_copies_all_that_an_exported_file_needs(tmp_path):
    path = ROOT / 'docker/deploy.Dockerfile'
    if not path.is_file():
        pytest.skip('an sdist has no Docker files')
    for line in re.findall(r'^COPY (.*)$', path.read_text(encoding='utf-8'), re.M):
        *sources, target = line.split()
        place = tmp_path / target.removeprefix('/opt/mmvitlin/')
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    assert (tmp_path / 'mmvitlin/deploy').is_dir()
    code = ("import runpy, sys; sys.modules['torch'] = None; sys.path.insert(0, '.')\n"
            "sys.argv = ['deploy', '--help']\n"
            "runpy.run_module('mmvitlin.deploy', run_name='__main__')")
    done = subprocess.run([sys.executable, '-I', '-c', code], cwd=tmp_path, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert 'usage' in done.stdout
