"""Memory is foreseen: images, batches and panoramas that would not fit."""
import pytest
from mmengine.config import Config
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.utils.errors import ConfigError
from tests.apis.pictures import picture


def at_scale_of_config(config, width=200, height=120):
    from mmcv import rescale_size
    resize = next(t for t in Config.fromfile(config).test_pipeline if t['type'] == 'Resize')
    return rescale_size((width, height), resize['scale'])


def test_an_image_beyond_memory_is_refused_with_a_number(infer, segmentor, monkeypatch):
    from mmvitlin.apis.memory import MemoryLaw
    monkeypatch.setattr('mmvitlin.apis.inferencer._LARGE', 64 * 64)
    infer._law = MemoryLaw(100., 1000.)
    wide, high = at_scale_of_config(segmentor[0])
    needed = 100 + wide * high / 1000
    for there, refused in ((needed - 1, True), (needed + 1, False)):
        monkeypatch.setattr('mmvitlin.apis.inferencer.free_mebibytes', lambda d, t=there: t)
        result, = infer(picture(120, 200))
        assert (result.error is not None) == refused, result.error
        if refused:
            assert isinstance(result.error, ConfigError)
            assert f'image: {high}x{wide} pixels need about 0.2 GiB' in str(result.error)
            assert 'model.test_cfg.mode=slide' in str(result.error)


def test_a_batch_is_no_larger_than_memory(infer, segmentor, monkeypatch):
    from mmvitlin.apis.memory import MemoryLaw
    monkeypatch.setattr('mmvitlin.apis.inferencer._LARGE', 64 * 64)
    infer._law = MemoryLaw(100., 1000.)
    wide, high = at_scale_of_config(segmentor[0])
    each = wide * high / 1000  # MiB
    usual, sizes = infer.outputs, []
    monkeypatch.setattr(infer, 'outputs', lambda data: sizes.append(len(data)) or usual(data))
    for count, expected in ((1.5, [1] * 4), (2.5, [2, 2]), (4.5, [4])):
        monkeypatch.setattr('mmvitlin.apis.inferencer.free_mebibytes',
                            lambda device, n=count: 100 + n * each)
        sizes.clear()
        assert all(r.error is None for r in infer([picture(120, 200)] * 4, batch_size=4))
        assert sizes == expected


def test_out_of_memory_together_is_run_one_by_one(infer, monkeypatch):
    usual = infer.outputs

    def small(data):
        if len(data) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return usual(data)

    monkeypatch.setattr(infer, 'outputs', small)
    assert [r.error for r in infer([picture(), picture()], batch_size=2)] == [None, None]


@pytest.mark.parametrize(('expected', 'each'), [
    (dict(), 0), (dict(probabilities=True), 38), (dict(top_k=4), 12), (dict(top_k=50), 57)])
def test_bytes_of_results(segmentor, expected, each):
    net = SegInferencer(*segmentor, scale='original', **expected)
    assert net._bytes_of_results(1000) == 1000 * each
    result, = net(picture())
    arrays = (result.probabilities, result.top_classes, result.top_probs)
    assert sum(a.nbytes for a in arrays if a is not None) == each * 60 * 100


@pytest.mark.parametrize(('line', 'names', 'cached'), [
    ('0::/job/step', ('memory.max', 'memory.current'), 'inactive_file'),
    ('4:cpu,memory:/job/step', ('memory.limit_in_bytes', 'memory.usage_in_bytes'),
     'total_inactive_file')])
def test_the_limit_of_a_control_group(tmp_path, line, names, cached):
    from mmvitlin.apis.memory import _left_to_control_group
    (tmp_path / 'cgroup').write_text(f'9:name=systemd:/\n{line}\n')
    root = tmp_path / 'root'
    job = root / ('memory/job' if 'cpu' in line else 'job')
    (job / 'step').mkdir(parents=True)
    assert _left_to_control_group(tmp_path / 'cgroup', root) == float('inf')
    for group, limit, used in ((job, 900, 500), (job / 'step', 'max', 400)):
        (group / names[0]).write_text(f'{limit}\n')
        (group / names[1]).write_text(f'{used}\n')
        (group / 'memory.stat').write_text(f'anon 1\n{cached} 70\n')
    left = _left_to_control_group(tmp_path / 'cgroup', root)
    assert left == 900 - 500 + 70  # of the group above


def test_a_panorama_is_refused_before_it_is_decoded(infer, tmp_path, monkeypatch):
    Image.new('RGB', (40000, 5000)).save(tmp_path / 'wide.png')  # 600 MB, in a small file
    Image.fromarray(picture()).save(tmp_path / 'small.png')
    monkeypatch.setattr('mmvitlin.apis.inferencer.free_mebibytes', lambda device: 1000.)
    load = infer.load
    monkeypatch.setattr(infer, 'load', lambda r: pytest.fail('decoded') if 'wide' in r['img_path']
                        else load(r))
    small, wide = infer(tmp_path)
    assert small.error is None
    assert 'wide.png: 5000x40000 pixels need about 2.2 GiB, and 1.0 GiB are free' in \
        str(wide.error)


@pytest.mark.parametrize(('measured', 'at', 'expected'), [
    ([110., 210., 310., 410.], 10., 1010.),  # a line
    ([110., 212., 309., 411.], 10., 1011.),  # noise is no curve
    ([110., 210., 350., 410.], 10., 1023.),  # nor is one reading that is too high
    ([110., 210., 310., 550.], 10., 1700.),  # even the last
    ([110., 410., 910., 1610.], 10., 10010.),  # a curve
    ([300., 300., 300., 300.], 10., 300.),
])
def test_the_law_of_memory(measured, at, expected):
    from mmvitlin.apis.memory import fit
    law = fit([n * 10**6 for n in (1, 2, 3, 4)], measured)
    assert law(round(at * 1e6)) == pytest.approx(expected, rel=0.01)


def test_sizes_that_would_not_fit_are_not_tried(monkeypatch):
    import torch

    from mmvitlin.apis import memory
    monkeypatch.setattr(memory, 'peak_memory', lambda call, device: call() / 1000)
    monkeypatch.setattr(memory, 'free_mebibytes', lambda device: 1000.)
    ran = []
    pixels, peaks = memory.measure(lambda side: ran.append(side) or side**2,
                                   torch.device('cuda'), (512, 640, 768, 1024))
    assert ran == [64, 512, 640]  # 768² pixels take 590 MiB if all goes on so, and may take twice
    assert pixels == [512**2, 640**2]
    assert memory.fit(pixels, peaks)(10**6) == pytest.approx(1000.)


@pytest.mark.slow
def test_memory_is_measured_where_it_matters(segmentor, monkeypatch):
    monkeypatch.setattr('mmvitlin.apis.inferencer._LARGE', 64 * 64)
    monkeypatch.setattr('multiprocessing.process.BaseProcess.start', lambda self: pytest.fail(
        'a second copy of the network'))
    net = SegInferencer(*segmentor)
    assert net(picture(120, 200))[0].error is None
    assert 0 < net._law(10**6) < 4000
    windows = SegInferencer(*segmentor, cfg_options={
        'model.test_cfg.mode': 'slide', 'model.test_cfg.crop_size': (128, 128),
        'model.test_cfg.stride': (96, 96)})
    assert windows(picture(120, 200))[0].error is None
    # for so small a network windows and whole image need about the same, and neither grows as a
    # square; a page more or less in the probes is tens of per cent of so large an image
    for law in (net._law, windows._law):
        assert law.per_square == 0.
    assert 1 / 5 < windows._law(10**8) / net._law(10**8) < 5
