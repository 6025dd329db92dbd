"""docs/recipes.md and the README of each folder of configs, as headers and settings say today."""
import importlib.util

import pytest

from tests.conftest import ROOT


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tool():
    return load('make_recipe_table')


def test_each_folder_lists_its_configs(tmp_path):
    tool = load('make_config_readmes')
    for path, text in tool.pages().items():
        assert path.read_text() == text, 'run python tools/make_config_readmes.py'
    assert '[camvid_ablation](../../docs/results/camvid_ablation.json)' in text
    file = tmp_path / 'x.py'
    file.write_text('# which one?\n# as other.py of\n# these.  More.\n#   a command\n')
    assert tool.first_sentence(file) == 'Which one? as `other` of these'


def test_the_page_is_what_the_tool_writes(tool):
    """Slow because it reads every full-size config."""
    written = (ROOT / 'docs/recipes.md').read_text()
    assert tool.page() == written, 'run python tools/make_recipe_table.py'
    for path in tool.full_size_configs():
        assert f'](../{path.relative_to(ROOT)}) |' in written
    assert len(tool.full_size_configs()) > 60


def test_a_header_says_what_is_published_and_what_is_ours(tool, tmp_path):
    file = tmp_path / 'x.py'
    file.write_text('# what it is\n# Published: a paper, table 1,\n#   of 2020.\n# not of it\n'
                    '# Ours: the rate.\n_base_ = []\n# Ours: no header\n')
    assert tool.sources(file) == dict(Published='a paper, table 1, of 2020.', Ours='the rate.')
    file.write_text('# what it is\n# Published: a paper\nx = 1\n# Ours: too late\n')
    with pytest.raises(ValueError, match='x.py: the header has no "# Ours: …"'):
        tool.sources(file)


def test_settings_are_those_of_the_run(tool):
    from mmvitlin.engine.runner.config import load_config

    def text(name):
        return tool.settings(load_config(str(ROOT / 'configs' / name)))

    assert text('seg/cityscapes_1024.py') == (
        '1024×1024, 80k steps of 8 (8 GPUs: 16), AdamW 5e-05, decay 0.01, layers 0.9, '
        'drop path 0.1, tested in windows')
    assert text('cls/adventurer-base_in1k-448.py').startswith(
        '448×448, 100 epochs of 1024 (8 GPUs: 256), AdamW ')
    assert text('distill/adala-attention_siglip-large_coco-448.py') == (
        '448×448, 10 epochs of 128, AdamW 0.0004, decay 0, clipped at 1')
