"""What a row is measured again for."""
from dataclasses import replace

import pytest

from mmvitlin.benchmark.grid import Grid
from mmvitlin.benchmark.provenance import made_of
from mmvitlin.benchmark.subjects import Subject
from mmvitlin.utils.errors import ConfigError


def digest(subject):
    return made_of(subject, 'cpu', 2)


def test_weights_of_a_file_and_of_a_checkpoint(segmentor, tmp_path):
    for suffix in ('xml', 'bin'):
        (tmp_path / f'a.{suffix}').write_bytes(b'1')
    file = Subject('a', source='exported', runtime='openvino', file=str(tmp_path / 'a.xml'))
    seen = [digest(file)]
    (tmp_path / 'a.bin').write_bytes(b'2')
    seen.append(digest(file))
    checkpoint = tmp_path / 'a.pth'
    checkpoint.write_bytes(b'1')
    config = Subject('c', source='config', what=segmentor[0],
                     options=dict(load_from=str(checkpoint)))
    seen.append(digest(config))
    seen.append(digest(replace(file, reference=config.as_dict())))
    checkpoint.write_bytes(b'2')  # another network in the file of that name
    seen.append(digest(config))
    seen.append(digest(replace(file, reference=config.as_dict())))
    assert len(set(seen)) == 6
    assert digest(config) == seen[4]


def test_a_file_that_no_precision_is_for_is_named(exported):
    file = Subject('a', source='exported', runtime='onnxruntime', file=str(exported['any']))
    with pytest.raises(ConfigError, match=r"a: onnxruntime computes in .*fp32.*not in \('bf16',\)"):
        Grid([file], [(64, 64)], precisions=['bf16'], part='labels').check()
    Grid([file], [(64, 64)], precisions=['fp32', 'bf16'], part='labels').check()
