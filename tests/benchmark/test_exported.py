"""Exported files in the speed benchmark."""
import json

import pytest

from mmvitlin.apis.writers import to_openvino
from mmvitlin.benchmark.exported import BuiltFile, network_of, plain_images, write
from mmvitlin.benchmark.grid import Grid
from mmvitlin.benchmark.measuring import measure
from mmvitlin.benchmark.subjects import Built, Subject, parse_subject
from mmvitlin.utils.errors import ConfigError
from tests.forked import python

NANO = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=32, num_layers=2))


def of_torch(segmentor):
    config, checkpoint = segmentor
    return Subject('torch', 'config', config, options=dict(load_from=checkpoint))


def test_what_a_command_line_names(exported, tmp_path):
    file = parse_subject(f"mine={exported['any']}")
    assert (file.name, file.source, file.runtime) == ('mine', 'exported', 'onnxruntime')
    assert parse_subject(f"{exported['any']}@openvino").runtime == 'openvino'
    on_the_way = parse_subject('mmvitlin:linear-vit-tiny@openvino')
    assert (on_the_way.name, on_the_way.source) == ('linear-vit-tiny@openvino', 'backbone')
    with pytest.raises(ConfigError, match=r'no file .*none\.onnx'):
        parse_subject(str(tmp_path / 'none.onnx'))
    with pytest.raises(ConfigError, match='configs and mmvitlin: backbones are'):
        network_of(parse_subject('resnet18@onnxruntime'), (64, 64))


@pytest.mark.parametrize(('runtime', 'precision', 'least'), [
    ('onnxruntime', 'fp32', 0.998), ('openvino', 'fp32', 0.998), ('openvino', 'bf16', 0.8)])
def test_a_files_labels_are_compared_with_torchs(exported, segmentor, runtime, precision, least):
    module = pytest.importorskip(runtime, reason=f'needs {runtime}')
    if precision == 'bf16' and 'BF16' not in module.Core().get_property(
            'CPU', 'OPTIMIZATION_CAPABILITIES'):
        pytest.skip('this processor has no bfloat16')
    subject = Subject('a', 'exported', file=str(exported['any']), runtime=runtime,
                      reference=of_torch(segmentor).as_dict())
    built = BuiltFile(subject, (64, 128), precision, 1)
    assert least <= built.agreement()['labels'] <= 1
    labels, scores = built.call('labels', plain_images(2, (64, 128)))()
    assert labels.shape == (2, 64, 128)
    assert built.process_mib() > 20
    with pytest.raises(ConfigError, match='holds a whole network: time it with --part labels'):
        built.call('backbone', plain_images(1, (64, 128)))


def test_a_file_that_computes_something_else_is_seen(exported, segmentor):
    config, _ = segmentor
    other = Subject('random', 'config', config)
    subject = Subject('a', 'exported', file=str(exported['any']), runtime='onnxruntime',
                      reference=other.as_dict())
    assert BuiltFile(subject, (64, 128), 'fp32', 1).agreement()['labels'] < 0.9


def test_torch_goes_from_a_plain_image_to_labels_too(segmentor):
    built = Built(of_torch(segmentor), (64, 128))
    assert 'labels' in built.parts()
    built.call('labels', plain_images(1, (64, 128)), 'inference', 'fp32')()


def test_a_config_that_tests_in_windows_is_timed_in_windows(segmentor, tmp_path):
    """In torch and as a file, on an image larger than they are."""
    pytest.importorskip('onnxscript', reason='writing ONNX needs onnxscript')
    config, checkpoint = segmentor
    slide = {'load_from': checkpoint, 'model.test_cfg': dict(
        _delete_=True, mode='slide', crop_size=(64, 96), stride=(40, 64))}
    subject, shape = Subject('a', 'config', config, options=slide), (130, 200)
    built, images = Built(subject, shape), plain_images(1, shape)
    shapes = []
    built.network.backbone.register_forward_hook(lambda _, args, __: shapes.append(
        tuple(args[0].shape[2:])))
    built.call('labels', images, 'inference', 'fp32')()
    assert len(shapes) > 4
    assert set(shapes) == {(64, 96)}
    path = tmp_path / 'a.onnx'
    write(subject.as_dict(), shape, str(path))
    file = BuiltFile(Subject('b', 'exported', file=str(path), runtime='onnxruntime',
                             reference=subject.as_dict()), shape, 'fp32', 1)
    labels, = file.call('labels', images)()
    assert labels.shape == (1, *shape)
    assert file.agreement()['labels'] > 0.99
    assert file.process_mib() > 20


def test_a_programme_of_torch(segmentor, tmp_path):
    from mmvitlin.apis.export import export
    backbone = Subject('a', 'backbone', cfg=NANO)
    net = network_of(backbone, (64, 64))
    export(net, tmp_path / 'a.pt2', 'torch', (64, 64), dynamic=False)
    subject = parse_subject(str(tmp_path / 'a.pt2'))
    subject.reference = backbone.as_dict()
    built = BuiltFile(subject, (64, 64), 'fp32', 1)
    assert built.meta['task'] == 'features'
    assert built.agreement()['error'] < 1e-4
    (tmp_path / 'b.pt2').write_bytes(b'nothing')
    with pytest.raises(ConfigError, match='b.pt2 is no programme of torch.export'):
        BuiltFile(parse_subject(str(tmp_path / 'b.pt2')), (64, 64), 'fp32', 1)


@pytest.mark.parametrize(('words', 'kwargs'), [
    ("part 'labels' or, of a bare backbone", dict(part='whole')),
    ("part 'labels' or, of a bare backbone", dict(mode='train', part='labels')),
])
def test_what_would_be_measured_as_something_else(exported, words, kwargs):
    with pytest.raises(ConfigError, match=words):
        Grid([parse_subject(str(exported['any']))], [(64, 64)], **kwargs).check()


def test_rows_that_a_runtime_has():
    grid = Grid([], [], compiled=True)
    onnx, vino, torch_net = (Subject('a', 'backbone', cfg=NANO, runtime=r)
                             for r in ('onnxruntime', 'openvino', ''))
    takes = {(s.runtime, p, c) for s in (onnx, vino, torch_net) for p in ('fp32', 'bf16')
             for c in (False, True) if grid.takes(s, p, c)}
    assert takes == {('onnxruntime', 'fp32', False), ('openvino', 'fp32', False),
                     ('openvino', 'bf16', False), *(('', p, c) for p in ('fp32', 'bf16')
                                                    for c in (False, True))}


@pytest.mark.slow
def test_files_written_on_the_way_beside_torch(tmp_path):
    for module in ('onnxscript', 'openvino'):
        pytest.importorskip(module, reason=f'needs {module}')
    grid = Grid([Subject('a', 'backbone', cfg=NANO),
                 *(Subject(f'a@{runtime}', 'backbone', cfg=NANO, runtime=runtime)
                   for runtime in ('onnxruntime', 'openvino'))],
                [(64, 96)], rounds=3, seconds=0.1, repeats=0, files=tmp_path / 'files')
    net, *files = measure(grid, tmp_path / 'r.json', lambda text: None)['rows'].values()
    assert net['status'] == 'ok', net
    assert net['interleaved']
    for file in files:
        assert file['status'] == 'ok', file
        assert file['agreement']['error'] < 1e-4
        assert 0 < file['process_mib'] < net['process_mib']
    assert len(list((tmp_path / 'files').iterdir())) == 1  # both run the same
    lines = []
    measure(grid, tmp_path / 'r.json', lines.append)
    assert lines == []  # nothing is measured again


@pytest.mark.slow
def test_the_command_line(exported, segmentor, tmp_path):
    pytest.importorskip('openvino', reason='needs openvino: pip install openvino')
    to_openvino(exported['any'], tmp_path / 'a.xml')
    config, checkpoint = segmentor
    done = python('tools/benchmark.py', f'torch={config}',
         f"onnx={exported['any']}", f"vino={tmp_path / 'a.xml'}", '--reference', 'torch',
         '--part', 'labels', '--shapes', '64x128', '--rounds', '3', '--seconds', '0.1',
         '--repeats', '0', '--threads', '1', '--out-dir', str(tmp_path / 'out'), '--cfg-options',
         f'load_from={checkpoint}')
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert [r['status'] for r in results['rows'].values()] == ['ok'] * 3, results['rows']
    shares = [r['agreement']['labels'] for r in results['rows'].values() if 'agreement' in r]
    assert len(shares) == 2
    assert min(shares) > 0.998
    assert '100.00%' in done.stdout or '99.9' in done.stdout


def test_a_reference_of_random_weights_is_refused(exported, segmentor, tmp_path):
    done = python('tools/benchmark.py', f'torch={segmentor[0]}', f"onnx={exported['any']}",
                  '--reference', 'torch', '--part', 'labels', '--out-dir', str(tmp_path / 'out'))
    assert done.returncode == 2
    assert '--cfg-options load_from=CHECKPOINT' in done.stderr
