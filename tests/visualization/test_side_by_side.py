"""Who is right where, and what a token sees."""

import numpy as np
import pytest
import torch

from mmvitlin.apis import SegInferencer
from mmvitlin.visualization.overlay import overlay
from mmvitlin.visualization.side_by_side import VERDICTS, token_map, verdicts
from tests.apis.pictures import picture
from tests.forked import python


def test_a_report_of_one_seed_calls_small_differences_by_their_name():
    from mmvitlin.experiments.comparison import _verdict
    miou = dict(student=14.6, scratch=14.1, teacher=20., weak=10.)
    assert _verdict(miou, 'student', 'scratch') == (
        '- `student` against `scratch`: +0.50 mIoU, which one seed cannot tell from 0.')
    assert _verdict(miou, 'student', 'teacher') == '- `student` is 5.40 mIoU worse than `teacher`.'
    assert _verdict(miou, 'student', 'weak') == '- `student` is 4.60 mIoU better than `weak`.'


def test_verdicts():
    labels = np.array([[0, 1, 2, 3, 255]])
    teacher = np.array([[0, 0, 2, 0, 0]])
    student = np.array([[0, 1, 0, 0, 0]])
    assert [list(VERDICTS)[n] for n in verdicts(teacher, student, labels)[0]] == [
        'both right', 'only the student', 'only the teacher', 'both wrong', 'unlabelled']


def test_the_map_of_a_token(segmentor, tmp_path):
    from PIL import Image
    Image.fromarray(picture(64, 96)).save(tmp_path / 'a.png')
    infer = SegInferencer(*segmentor, scale='original')
    _, data = infer.read(tmp_path / 'a.png')
    similarity = token_map(infer, data, (0.5, 0.99))
    assert similarity.shape == (64, 96)
    assert (similarity[32:48, 80:] == similarity[32, 80]).all()
    similarity = similarity[::16, ::16]
    assert similarity[2, 5] == pytest.approx(1, abs=1e-5)
    assert similarity.abs().max() <= 1 + 1e-5
    assert similarity.std() > 0
    tokens, = infer.model.backbone.forward_tokens(
        infer.model.data_preprocessor(dict(inputs=[data['inputs']],
                                           data_samples=[data['data_samples']]))['inputs'])
    cosine = torch.nn.functional.cosine_similarity(tokens.patches[0, 0], tokens.patches[0, 17], 0)
    assert similarity[0, 0] == pytest.approx(cosine.item(), abs=1e-5)
    with pytest.raises(ValueError, match='shares of height and width'):
        token_map(infer, data, (10, 20))


def test_a_place_in_an_image_that_is_padded(segmentor):
    """70 rows are five tokens of 16, the last reaching beyond the image."""
    infer = SegInferencer(*segmentor, scale='original')
    _, data = infer.read(picture(70, 104))
    for row, token in ((0, 0), (47.9, 2), (60, 3), (69, 4), (70, 4)):
        similarity = token_map(infer, data, (row / 70, 0.))
        assert similarity.shape == (70, 104)
        ones = torch.nonzero(similarity > 1 - 1e-5)
        assert ones.min(0).values.tolist() == [16 * token, 0]
        assert ones.max(0).values.tolist() == [min(16 * token + 15, 69), 15]


def test_the_command_line(segmentor, streets, tmp_path):
    done = python('tools/compare.py', *segmentor, *segmentor,
         '--images', '2', '--out-dir', str(tmp_path), '--cfg-options', f'data_root={streets}')
    assert done.returncode == 0, done.stderr[-2000:]
    assert all((tmp_path / f).stat().st_size > 5000 for f in
               ('differences.png', 'token_0.png', 'token_1.png'))


def test_labels_that_no_colour_is_for_are_black():
    image, palette = np.full((1, 4, 3), 255, np.uint8), np.full((2, 3), 200, np.uint8)
    shown = overlay(image, np.int32([[0, 256, 65535, -1]]), palette, 1.)
    assert shown[0, :, 0].tolist() == [200, 0, 0, 0]
