"""The commands of the guide to detection, with a small detector in the place of full-size ones."""
import re
import shlex
import shutil

import pytest

from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.paths import folder
from tests.detecting import SMALL, needs_mmdet
from tests.forked import python
from tests.integration.test_guides import lines_of

NANO = 'mask-rcnn_adventurer-nano_streets-512'
CHECKPOINT = f'work_dirs/{NANO}/iter_2.pth'
pytestmark = [pytest.mark.slow, needs_mmdet]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return tmp_path_factory.mktemp('detect')


def test_commands_of_the_guide(place):
    through_torchrun = []
    for line in lines_of('detect'):
        if line.startswith('tools/dist_'):
            through_torchrun.append(line)
        elif line != 'make setup-full':
            run(line, place)
        if line.startswith('mmvitlin make_streets'):
            write_small_configs(place)
    assert len(through_torchrun) == 2
    assert (place / CHECKPOINT).is_file()
    assert (place / 'work_dirs/recipe/recipe.json').is_file()
    assert list((place / 'out').rglob('*.json'))


def write_small_configs(place):
    (place / 'photos').mkdir()
    for path in (place / 'data/streets/leftImg8bit/val').rglob('*.png'):
        shutil.copy(path, place / 'photos')
    load_config(f'mmvitlin::det/{NANO}.py', {**SMALL, 'data_root': 'data/streets'}).dump(
        place / f'{NANO}.py')
    recipe = (folder('configs') / 'recipes/streets_detection.py').read_text()
    (place / 'recipe.py').write_text(re.sub(r'iterations=\d+', 'iterations=2', recipe))


def run(line, place):
    """A command with small configs, few scenes and one seed."""
    for said, small in ((r'mmvitlin::det/\S+\.py', f'{NANO}.py'),
                        (r'work_dirs/\S+\.pth', CHECKPOINT),
                        ('mmvitlin::recipes/streets_detection.py', 'recipe.py'),
                        ('--train 400 --val 60', '--train 4 --val 2'), (' 0 1 2', ' 0')):
        line = re.sub(said, small, line)
    done = python('-m', *shlex.split(line), cwd=place)
    assert done.returncode == 0, f'{line}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}'
