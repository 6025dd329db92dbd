"""The page of heads says what they cost, and none of the front door's eats its backbone."""
import re

import pytest

from mmvitlin.benchmark.head_costs import head_cost
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT

TABLE = (ROOT / 'docs/heads.md').read_text()
ROWS = dict(re.findall(r'^\| `([\w-]+_[\w-]+)` \| (.*) \|$', TABLE, re.M))


@pytest.mark.parametrize('name', ROWS)
def test_the_table_holds_what_is_counted(name):
    """Counted anew, less than a second a row; by hand in test_flops.py."""
    kind, backbone, head, share, parameters = ROWS[name].split(' | ')
    cost = head_cost(str(ROOT / f'configs/seg/{name}.py'))
    assert (f'{cost.backbone / 1e9:.0f}', f'{cost.head / 1e9:.1f}', f'{cost.share:.3f}',
            f'{cost.parameters / 1e6:.2f}') == (backbone, head, share, parameters)
    if 'heavy' not in name:
        assert cost.share <= 1 / 3


def test_every_full_size_config_is_in_the_table():
    front = [f'upernet_{net}_{data}' for net in ('adventurer-base', 'linear-vit-large')
             for data in ('cityscapes-1024', 'ade20k-512')]
    front[0] = 'cityscapes_1024'
    others = [f'upernet_adventurer-{size}' for size in ('tiny', 'small', 'large')]
    others += ['upernet-heavy_adventurer-base', 'eomt_adventurer-base']
    assert {*front, *(f'{name}_cityscapes-1024' for name in others)} <= ROWS.keys()


def test_eomt_by_hand():
    """Queries through 3 layers of a linear ViT-B, two upscalings, and the products of masks."""
    cost = head_cost(str(ROOT / 'configs/seg/eomt_linear-vit-base_cityscapes-1024.py'))
    d, queries, patches = 768, 100, 4096
    layers = 3 * queries * (24 * d**2 + 4 * d * 64)
    upscale = 2 * 4 * d**2 * (patches + 4 * patches) + 2 * 9 * d * (4 + 16) * patches
    masks = 2 * queries * (16 * patches * d + 3 * d**2 + 20 * d)
    assert cost.head == pytest.approx(layers + upscale + masks, rel=0.02)
    assert cost.parameters == (queries * d + 20 * (d + 1) + 3 * d * (d + 1)
                               + 2 * (4 * d * d + d + 9 * d + 2 * d))


def test_what_has_no_such_head():
    with pytest.raises(ConfigError, match='no segmentor with a head'):
        head_cost(str(ROOT / 'configs/cls/vit-pico_cifar10.py'))
