"""docs/walkthrough.md names files and functions as they are called today."""
import ast
import re
from pathlib import Path

import mmvitlin
from tests.conftest import ROOT

PAGE = ROOT / 'docs/walkthrough.md'
PACKAGE = Path(mmvitlin.__file__).parent  # the tests of an installed package have it elsewhere


def file_of(link):
    """The file that a link of the page leads to."""
    path = link.removeprefix('../mmvitlin/')
    return PAGE.parent / link if path == link else PACKAGE / path


def names_in(path):
    """Functions, classes and variables of a file, those of a class as 'Class.name'."""
    def walk(body, prefix):
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f'{prefix}{node.name}.')
            for target in getattr(node, 'targets', [getattr(node, 'target', None)]):
                if isinstance(target, ast.Name):
                    yield prefix + target.id

    return set(walk(ast.parse(path.read_text(encoding='utf-8')).body, ''))


def faults(page):
    """Links that lead nowhere, and names that the file linked before them does not define."""
    path, names = None, set()
    for link, name in re.findall(r'\]\(([^)]+)\)|`([^`]+)`', page):
        if link:
            path = file_of(link)
            if not path.is_file():
                yield link
            names = names_in(path) if path.is_file() and path.suffix == '.py' else set()
        elif name not in names:
            yield f'{name} in {path and path.name}'


def test_linked_files_define_the_names_that_follow():
    page = PAGE.read_text(encoding='utf-8')
    assert len(re.findall(r'\]\(\.\./mmvitlin/', page)) > 30
    assert len(re.findall('`', page)) > 80
    assert list(faults(page)) == []
    assert len(page.split()) <= 1100


def test_renamed_functions_and_moved_files_are_found():
    link = '[launch](../mmvitlin/engine/runner/launch.py)'
    assert list(faults(f'{link} `build_runner` and `train`')) == []
    assert list(faults(f'{link} `train_all`, `train.cfg`')) == ['train_all in launch.py',
                                                               'train.cfg in launch.py']
    assert list(faults('[a](../mmvitlin/engine/launch.py)')) == ['../mmvitlin/engine/launch.py']
    assert list(faults('`train`')) == ['train in None']
