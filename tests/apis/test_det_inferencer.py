"""Results of detectors."""
import json

import numpy as np
import pytest
from PIL import Image

from mmvitlin.apis import Detections, DetInferencer
from mmvitlin.utils.errors import ConfigError
from tests.detecting import STREETS


def test_panoptic_segments_as_coco_codes_them(tmp_path):
    """Two cars (class 1), road (class 0), and pixels without a segment, mmdet's class 3 of 3."""
    segments = np.full((4, 6), 3, np.int32)
    segments[2:] = 0
    segments[:2, :2] = 1 + 1000
    segments[1:3, 4:] = 1 + 2000
    detections = Detections('a', image=np.zeros((4, 6, 3), np.uint8),
                            classes=('road', 'car', 'sky'), segments=segments)
    path, = detections.save(tmp_path, ['segments'])
    red, green, blue = np.moveaxis(np.asarray(Image.open(path)).astype(int), 2, 0)
    coded = red + 256 * green + 65536 * blue
    assert coded[:2].tolist() == [[1002, 1002, 0, 0, 0, 0], [1002, 1002, 0, 0, 2002, 2002]]
    assert json.loads(path.with_suffix('.json').read_text()) == [
        dict(id=1, category='road', label=0, area=10, bbox=[0, 2, 6, 2]),
        dict(id=1002, category='car', label=1, area=4, bbox=[0, 0, 2, 2]),
        dict(id=2002, category='car', label=1, area=4, bbox=[4, 1, 2, 2])]


@pytest.mark.parametrize('score', [30, -0.1, float('nan')])
def test_a_score_that_nothing_has(score):
    with pytest.raises(ConfigError, match=r'score \(--score\) is from 0 to 1, got'):
        DetInferencer(STREETS, 'iter_9.pth', 'cpu', score=score)
