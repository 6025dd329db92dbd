"""Names in the place of types, which must lead back to them."""
import torch
from mmcv.transforms import Resize
from mmengine.dataset import DefaultSampler
from mmseg.models import EncoderDecoder

from mmvitlin.compat.config_types import name_types
from mmvitlin.models import Adventurer


class Base:

    @classmethod
    def make(cls):
        """An object of the class that it is called of."""
        return cls()


class Child(Base):
    """Made by its base's method."""


def local():
    class Inner:
        """No import finds it."""
    return Inner


def named(value):
    node = dict(a=[dict(type=value)])
    name_types(node)
    return node['a'][0]['type']


def test_registered_types_have_the_names_that_other_configs_give_them():
    assert named(Adventurer) == 'mmvitlin.Adventurer'
    assert named(EncoderDecoder) == 'mmseg.EncoderDecoder'
    assert named(DefaultSampler) == 'DefaultSampler'
    assert named(torch.optim.AdamW) == 'AdamW'
    assert named(Resize) in ('Resize', 'mmengine.Resize')  # mmdet has one of its own
    assert named('Resize') == 'Resize'


def test_others_have_that_of_their_module_or_stay():
    assert named(Child) == f'{__name__}.Child'
    inner = local()
    for value in (inner, Child.make, lambda: 3, torch.relu):
        assert named(value) is value or named(value) == value
    assert name_types(dict(type=None, b=(dict(type=Child), ))) is None
