"""The documentation site: every page and public name is on it, and what its pages name exists."""
import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mmvitlin
from tests.conftest import ROOT

DOCS = ROOT / 'docs'
PACKAGE = Path(mmvitlin.__file__).parent  # the tests of an installed package have it elsewhere
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding='utf-8')
         for path in sorted(DOCS.rglob('*.md')) if '_build' not in path.parts}
GENERATED = ('recipes.md', 'results/README.md')
GUIDES = {name: text for name, text in PAGES.items()
          if name not in GENERATED and not name.startswith('api/')}
ELSEWHERE = ('tools/dataset_converters/cityscapes.py',  # mmdetection's
             'tools/TOOL.py')
PUBLIC = ('mmvitlin', 'mmvitlin.apis', 'mmvitlin.datasets.registered', 'mmvitlin.datasets.streets',
          'mmvitlin.deploy', 'mmvitlin.engine', 'mmvitlin.engine.hooks', 'mmvitlin.engine.optim',
          'mmvitlin.models', 'mmvitlin.models.backbones', 'mmvitlin.models.decode_heads',
          'mmvitlin.models.distillers', 'mmvitlin.models.layers', 'mmvitlin.models.losses',
          'mmvitlin.models.necks', 'mmvitlin.models.segmentors', 'mmvitlin.models.teachers',
          'mmvitlin.models.utils', 'mmvitlin.ops', 'mmvitlin.ops.linear_attention',
          'mmvitlin.timm')


def documented():
    """Names after ``.. autoclass::`` and its like, on the pages of the API reference."""
    return [name for page, text in PAGES.items() if page.startswith('api/')
            for name in re.findall(r'^\.\. auto\w+:: ([\w.]+)', text, re.M)]


def registered():
    """Classes and functions that some registry of the package has, by their source."""
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and any(
                    'register_module' in ast.dump(mark) for mark in node.decorator_list):
                yield node.name


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page, text in PAGES.items():
        folder = Path(page).parent
        for block in re.findall(r'^```{toctree}\n(.*?)^```', text, re.M | re.S):
            entries = [line for line in block.splitlines() if line and not line.startswith(':')]
            names = [re.sub(r'.*<(.+)>', r'\1', line) for line in entries]
            listed |= {(folder / f'{name}.md').as_posix() for name in names}
    assert listed == PAGES.keys() - {'index.md'}


def test_every_public_name_is_in_the_reference():
    objects, detectors = set(), PAGES['api/detection.md']  # where mmdet is not installed
    for name in documented():
        module, _, last = name.rpartition('.')
        try:
            item = getattr(import_module(module), last)
        except ModuleNotFoundError as error:
            if error.name.split('.')[0] not in ('mmcv', 'mmdet', 'pycocotools'):
                raise
            continue
        except AttributeError:  # a module that is empty without mmdet
            assert name in detectors, f'{name} is documented, and not there'
            continue
        objects.add(id(item))
    missing = [f'{module}.{name}' for module in PUBLIC
               for name in import_module(module).__all__ if name != '__version__'
               if id(getattr(import_module(module), name)) not in objects]
    assert missing == []


def test_every_type_that_a_config_can_name_is_in_the_reference():
    names = {name.rpartition('.')[2] for name in documented()}
    types = set(registered())
    assert len(types) > 60
    assert types - names == set()


def test_no_name_is_in_the_reference_twice():
    names = documented()
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize('page', GUIDES)
def test_configs_and_files_that_a_page_names_exist(page):
    text = GUIDES[page]
    for name in re.findall(r'mmvitlin::([\w/.-]+\.py)', text):
        assert (ROOT / 'configs' / name).is_file(), name
    for name in re.findall(r'\b((?:configs|tools|examples|docs|docker|requirements)/[\w/.-]+'
                           r'\.(?:py|sh|md|json|txt|Dockerfile))\b', text):
        if name not in ELSEWHERE:
            assert (ROOT / name).exists(), name


def options_of(tool):
    """Options that the source of a tool, and what it shares with others, takes."""
    source = (ROOT / 'tools' / f'{tool}.py').read_text(encoding='utf-8')
    for call, path in (('add_run_options(', 'engine/runner/options.py'),
                       ('add_arguments(', 'experiments/experiment.py')):
        if call in source:
            source += (PACKAGE / path).read_text(encoding='utf-8')
    return {'--help', *re.findall(r"'(--[\w-]+)'", source)}


def commands(text):
    """Command lines of a page's bash blocks, those that go on in the next line joined."""
    for block in re.findall(r'^```bash\n(.*?)^```', text, re.M | re.S):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r'[A-Z_]+=\S*', words[0]):
                words = words[1:]
            if words:
                yield words


def tool_of(words):
    """(tool, its words) of a command line, or None of another program's."""
    if words[:3] == ['python', '-m', 'mmvitlin']:
        return words[3], words[4:]
    if words[0] == 'mmvitlin':
        return words[1], words[2:]
    if words[0] == 'python' and words[1].startswith('tools/') and '/' not in words[1][6:]:
        return words[1][6:-3], words[2:]
    if re.fullmatch(r'tools/\w+_(train|test)\.sh', words[0]):
        assert (ROOT / words[0]).is_file(), words[0]
        return words[0][:-3].rpartition('_')[2], words[1:]
    return None


@pytest.mark.parametrize('page', GUIDES)
def test_commands_name_tools_and_options_that_there_are(page):
    targets = re.findall(r'^(\S+):', (ROOT / 'Makefile').read_text(), re.M)
    for words in commands(GUIDES[page]):
        line = ' '.join(words)
        if words[0] == 'make':
            assert words[1] in targets, line
        called = tool_of(words)
        if called is None:
            continue
        tool, rest = called
        assert (ROOT / 'tools' / f'{tool}.py').is_file(), line
        given = {word.partition('=')[0] for word in rest if word.startswith('--')}
        assert given <= options_of(tool), f'{line}: no {sorted(given - options_of(tool))}'


def test_a_wrong_command_is_found():
    assert '--jobs' in options_of('sweep')
    assert '--jobs' not in options_of('infer')
    assert tool_of(['mmvitlin', 'train', 'x.py', '--amp']) == ('train', ['x.py', '--amp'])
    assert list(commands('```bash\nA=1 mmvitlin test a \\\n  b  # c\n```\n')) == [
        ['mmvitlin', 'test', 'a', 'b']]


def test_numbers_in_sentences_of_measurements_are_measured():
    """Decimals with a unit, or a sign, on pages by hand stand in a table of results."""
    measured = PAGES['results/README.md']
    stated = re.compile(r'([+-]?\d+\.\d+) ?(?:points|mIoU|×|ms|s\b|MiB|GiB|%|\[)')
    for page, text in GUIDES.items():
        if page in ('changelog.md', 'results/index.md') or not (
                page.startswith('methods/') or 'results/' in text):
            continue
        for number in stated.findall(text):
            assert number in measured, f'{page}: {number}'
    by_hand = re.sub(r'<!-- table.*?<!-- /table -->', '', PAGES['results/index.md'], flags=re.S)
    for number in stated.findall(by_hand):
        assert number in measured, f'results/index.md: {number}'


def test_each_question_of_the_results_page_has_a_table_and_a_figure():
    _, *questions = re.split(r'^## ', PAGES['results/index.md'], flags=re.M)
    assert len(questions) >= 18
    for question in questions:
        assert '<!-- table' in question, question.splitlines()[0]
        assert re.search(r'^!\[[^]]+\]\(\w+\.png\)', question, re.M), question.splitlines()[0]


def test_tables_of_the_results_page_are_those_of_the_files(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'results')
    from site_tables import page, tables_in
    lines = ['# A', '', '| a |', '| - |', '', 'words', '', '| b |']
    assert tables_in(lines) == [['| a |', '| - |'], ['| b |']]
    text = 'x\n<!-- table one 1 -->\nold\n<!-- /table -->\n<!-- table two -->\n<!-- /table -->\n'
    filled = page(text, dict(one=lines))
    assert '| b |' in filled
    assert 'old' not in filled
    assert 'Not measured yet.' in filled
    assert page(filled, dict(one=lines)) == filled
    sys.modules.pop('site_tables')


def test_links_that_lead_nowhere_are_found(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(DOCS)
    from check_links import broken
    (tmp_path / 'index.html').write_text('<a href="b.html#there">b</a><img src="c.png">'
                                         '<a href="https://x.org/y">x</a><a href="#up">up</a>')
    (tmp_path / 'b.html').write_text('<h1 id="there">b</h1><a href="index.html">i</a>')
    assert broken(tmp_path) == ['index.html: c.png', 'index.html: #up']
    (tmp_path / 'c.png').touch()
    (tmp_path / 'b.html').write_text('<a href="./">i</a>')
    assert broken(tmp_path) == ['index.html: b.html#there', 'index.html: #up']
    sys.modules.pop('check_links')


def test_pages_that_a_browser_complains_about_are_found(tmp_path):
    """With Chromium and playwright, which the suite does not install."""
    pytest.importorskip('playwright')
    if not (shutil.which('chromium') or shutil.which('google-chrome')):
        pytest.skip('no Chromium')
    script, site = DOCS / 'check_browser.py', tmp_path / 'site'
    site.mkdir()
    style = '<style>body {background: light-dark(#fff, #111)} :root {color-scheme: light dark}'
    good = f'<html><head><link rel="icon" href="data:,">{style}</style></head><body>a</body></html>'
    (site / 'good.html').write_text(good)
    (site / 'wide.html').write_text(good.replace('>a<', '><p style="width:900px">a</p><'))
    (site / 'bad.html').write_text(good.replace('>a<', '><img src="no.png"><script>x</script><'))
    ran = subprocess.run([sys.executable, script, site, '--pictures', tmp_path / 'shots'],
                         capture_output=True, text=True)
    lines = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert not [line for line in lines if line.startswith('good.html')]
    wide = [line for line in lines if line.startswith('wide.html')]
    assert len(wide) == 2
    assert all('phone' in line and 'pixels wide in a window of 390' in line for line in wide)
    assert any('x is not defined' in line for line in lines)
    assert any('404' in line and 'no.png' in line for line in lines)
    assert len(list((tmp_path / 'shots').iterdir())) == 12


def test_public_names_have_docstrings():
    bare = []
    for module in PUBLIC:
        for name in import_module(module).__all__:
            value = getattr(import_module(module), name)
            if callable(value) and not (inspect.getdoc(value) or '').strip():
                bare.append(f'{module}.{name}')
    assert bare == []


@pytest.mark.slow
def test_the_guide_that_makes_a_vit_linear(tmp_path, monkeypatch):
    """Its three configs, two iterations each, on the files of own_project.md."""
    from mmvitlin.datasets.streets import write_streets
    from mmvitlin.engine.runner.config import load_config
    from mmvitlin.engine.runner.launch import train
    monkeypatch.chdir(tmp_path)
    for page in ('own_project.md', 'linearise.md'):
        for name, text in re.findall(r'^```python\n# (\w+\.py)\n(.*?)^```', PAGES[page],
                                     re.M | re.S):
            Path(name).write_text(text)
    write_streets('data', dict(train=4, val=1), (128, 256), workers=1)
    short = {'train_cfg.max_iters': 2, 'default_hooks.checkpoint.interval': 2,
             'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
             'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False}
    for line in ('mmvitlin train teacher.py', *(
            ' '.join(words) for words in commands(PAGES['linearise.md']) if 'train' in words)):
        stem = line.split()[-1].removesuffix('.py')
        labelled = stem in ('teacher', 'linear')
        options = {key: value for key, value in short.items()
                   if labelled or not key.startswith('val_')}
        cfg = load_config(f'{stem}.py', options | (
            {'train_cfg.val_interval': 2} if labelled else {}))
        runner = train(cfg)
        folder = Path('work_dirs', stem)
        shutil.copy(folder / 'iter_2.pth', folder / 'iter_20.pth')  # what the page calls it
    assert stem == 'linear'
    assert set(runner.model.backbone.attention) == {'linear'}
    assert Path('work_dirs/features/student.pth').is_file()
