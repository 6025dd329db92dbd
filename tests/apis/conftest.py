"""What tests of inferencers share."""
import pytest


@pytest.fixture
def infer(segmentor):
    from mmvitlin.apis import SegInferencer
    return SegInferencer(*segmentor)
