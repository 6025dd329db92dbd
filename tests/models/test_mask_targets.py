"""Masks of a label map that are never made, beside masks that are."""
import pytest
import torch

from mmvitlin.models.losses.mask_targets import ClassMasks, InstanceMasks, sample_points


def both(height=9, width=14, classes=5):
    torch.manual_seed(0)
    label_map = torch.randint(0, classes - 1, (1, height, width), dtype=torch.uint8)
    label_map[:, :3, :4] = 255
    every = torch.arange(classes)
    return (ClassMasks(label_map, classes, 255),
            InstanceMasks(every, label_map == every[:, None, None]))


def test_points_are_read_as_mmcv_s_are():
    maps = torch.arange(6.).view(1, 2, 3)
    points = torch.tensor([[[0.5, 0.5], [0.5 / 3, 0.25], [2 / 3, 0.75]]])
    assert sample_points(maps, points)[0].tolist() == pytest.approx([2.5, 0., 4.5], abs=1e-6)


def test_which_classes_there_are():
    label_map, _ = both()
    assert label_map.labels.tolist() == [0, 1, 2, 3, 4]
    assert label_map.present.tolist() == [True] * 4 + [False]
    assert not ClassMasks(torch.full((3, 4), 255), 5, 255).present.any()
    for wrong in (5, 7, -1):
        with pytest.raises(RuntimeError, match='out of bounds'):
            ClassMasks(torch.full((3, 4), wrong), 5, 255)


@pytest.mark.parametrize('ignored', [0, 255])
def test_all_masks_at_the_same_points(ignored):
    label_map, masks = both()
    if not ignored:  # a class of its own number without pixels
        label_map = ClassMasks(label_map._map.view(9, 14) % 5, 5, 0)
        made = (label_map._map.view(9, 14) == torch.arange(5)[:, None, None])
        masks = InstanceMasks(torch.arange(5), made)
        assert not made[0].any()
    points = torch.cat([torch.rand(200, 2), torch.tensor([[0., 0.], [1., 1.], [0., 1.], [1., 0.],
                                                          [0.5, 0.], [1., 0.3]])])
    torch.testing.assert_close(label_map.at(points), masks.at(points), rtol=0, atol=1e-5)


def test_each_mask_at_points_of_its_own():
    label_map, masks = both()
    index, points = torch.tensor([3, 0, 0, 4]), torch.rand(4, 50, 2)
    values = label_map.of(index, points)
    torch.testing.assert_close(values, masks.of(index, points), rtol=0, atol=1e-5)
    assert values[:3].sum(1).min() > 0
    assert not values[3].any()
    assert label_map.of(index[:0], points[:0]).shape == (0, 50)
