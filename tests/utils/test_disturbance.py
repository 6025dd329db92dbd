"""A measurement that shared its cores says so, and nothing is concluded from it."""
import json
import os
import re
import subprocess
import sys
import time

import pytest
import torch

from mmvitlin.benchmark import measuring
from mmvitlin.benchmark.latency import backbone_latency, least_disturbed
from mmvitlin.benchmark.measuring import Grid, measure
from mmvitlin.benchmark.subjects import Subject
from mmvitlin.benchmark.trends import changed, growth, pairs
from mmvitlin.experiments.comparison import report
from mmvitlin.experiments.recipe import Report
from mmvitlin.utils.disturbance import Counters, Watch, cores, in_words, load_between, with_spread
from tests.conftest import ROOT

START = Counters(wall=10., process=5., busy=100., steal=0., waiting=1., switches=7)
TOOLS = [name for name in sorted(p.name for p in (ROOT / 'tools').glob('*.py'))
         if 'short_openmp_spin()' in (ROOT / 'tools' / name).read_text()]


def later(seconds=10., process=20., others=0., waiting=0., steal=0.):
    return Counters(START.wall + seconds, START.process + process, START.busy + process + others,
                    START.steal + steal, START.waiting + waiting, START.switches + 3)


@pytest.mark.parametrize(('end', 'threads', 'core_count', 'disturbed'), [
    (later(), 2, 2, False),
    (later(others=1., waiting=0.5), 2, 2, False),     # a tenth of a core of the system's own
    (later(others=7., waiting=5.), 2, 2, True),       # another process on one of two cores
    (later(others=7.), 2, 2, True),                   # seen by the cores alone
    (later(waiting=3.), 2, 2, True),                  # seen by the threads alone
    (later(others=60.), 2, 16, False),                # six others on a machine with room for them
    (later(others=145.), 2, 16, True),
    (later(steal=5., others=5.), 2, 2, True),         # another machine on the same hardware
    (later(process=10., waiting=10.), 2, 1, False),   # two threads of its own on one core
    (later(process=10., others=9.), 1, 2, False),     # one thread beside another process
])
def test_what_counts_as_disturbed(end, threads, core_count, disturbed):
    assert load_between(START, end, threads, core_count).disturbed is disturbed


def test_the_share_of_the_cores():
    load = load_between(START, later(process=11., others=9., waiting=8.), 2, 2)
    assert (load.share, load.others, load.waiting, load.switches) == (0.55, 0.9, 0.4, 3)
    assert in_words(load.as_dict()) == ('disturbed: other processes took 0.9 of 2 cores, its '
                                        'threads waited 40% of the time')


def test_a_system_that_does_not_count():
    unknown = Counters(0., 0., None, 0., None, 0)
    load = load_between(unknown, Counters(1., 1., None, 0., None, 0), 2, 2)
    assert (load.others, load.waiting, load.disturbed) == (None, None, False)


def test_a_disturbed_measurement_is_repeated_and_the_best_is_kept():
    def loads(*waiting):
        left = iter(waiting)

        def run():
            share = next(left)
            return share, dict(disturbed=share > 0.05, waiting=share, others=0.)
        return run

    assert least_disturbed(loads(0.3, 0., 9.), 2, pause=0)[0] == 0.
    result, load = least_disturbed(loads(0.3, 0.2, 0.4, 0.), 2, pause=0)
    assert result == 0.2
    assert load['disturbed']
    assert least_disturbed(loads(0.3, 0.), 0, pause=0)[0] == 0.3


def rows(*points):
    return [dict(tokens=t, shape=f'{t}x1', ms=dict(median=m, p10=m, p90=m),
                 load=dict(disturbed=busy)) for t, m, busy in points]


def test_nothing_is_concluded_from_a_disturbed_row():
    quiet = rows((100, 10., False), (400, 40., False), (1600, 160., False))
    fast = rows((100, 5., False), (400, 20., False), (1600, 900., True))
    pair, = pairs({'fast · b': fast, 'slow · b': quiet})
    assert (pair['faster'], pair['always']) == ('fast', True)
    busy = rows((100, 5., True), (400, 20., True), (1600, 90., True))
    assert pairs({'fast · b': busy, 'slow · b': quiet}) == []
    assert growth(busy) is None
    assert growth(fast) == pytest.approx(1)  # from 100 to 400
    assert growth(fast[1:]) is None  # one size is left
    assert growth(quiet) == pytest.approx(1)


def test_changes_of_disturbed_rows_are_none():
    def results(median, busy):
        return dict(rows=dict(a=dict(status='ok', ms=dict(median=median, p10=median, p90=median),
                                     load=dict(disturbed=busy))))

    assert changed(results(1., False), results(9., True)) == []
    assert changed(results(9., True), results(1., False)) == []
    assert len(changed(results(9., False), results(1., False))) == 1


def test_the_demo_compares_no_disturbed_times():
    quiet, busy = (dict(disturbed=b, others=0.9, cores=2, waiting=0.4) for b in (False, True))

    def times(median, load):
        return dict(median=median, p10=median, p90=median, load=load)

    results = dict(
        miou=dict(s=50., t=60.), seconds=dict(s=1., t=1.), iterations=dict(s=1, t=1),
        latency_ms={'64x64': dict(teacher=times(200., quiet), student=times(100., quiet)),
                    '64x96': dict(teacher=times(57., busy), student=times(1020., busy))},
        peak_mb={size: dict(teacher=1., student=1.) for size in ('64x64', '64x96')},
        machine=dict(processor='p', threads=2, gpu=None), versions=dict(torch='2'), date='d',
        params=dict(teacher=1, student=1))
    text = report(results, Report('t', 't', 's', [], dict(s='S', t='T')))
    assert '| 64x64 | 200 (200–200) | 100 (100–100) | 2.00x faster |' in text
    assert '| 64x96 | 57 (57–57) | 1020 (1020–1020) | disturbed |' in text
    assert 'slower' not in text
    assert '64x96 (disturbed: other processes took 0.9 of 2 cores' in text


@pytest.fixture
def competitor():
    """A process that holds one of the cores."""
    loop = ('import os; os.sched_setaffinity(0, {'f'{cores()[0]}''})\n'
            'print(flush=True)\nwhile True: pass')
    process = subprocess.Popen([sys.executable, '-c', loop], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield
    process.kill()
    process.wait()


def seconds_of_products():
    """Of a short measurement with as many threads as cores, in a process as the tools start it."""
    code = '''
from mmvitlin.utils.environment import short_openmp_spin
short_openmp_spin()
import json, torch
from mmvitlin.utils.disturbance import Watch, cores
from mmvitlin.benchmark.latency import time_interleaved
torch.set_num_threads(len(cores()))
a = torch.randn(256, 256)
watch = Watch(len(cores()))
def run():
    x = a
    for _ in range(60):
        x = torch.nn.functional.gelu(x @ a / 16)
times = time_interleaved(dict(a=run), warmup=3, rounds=400, seconds=2, watch=watch)
print(json.dumps(dict(ms=times['a'], load=watch.load.as_dict())))
'''
    env = {k: v for k, v in os.environ.items() if k != 'OMP_NUM_THREADS'}
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                          env=dict(env, PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not 2 <= len(cores()) <= 8, reason='a competitor on one of two to eight cores')
def test_beside_a_competing_process(request):
    quiet = seconds_of_products()
    request.getfixturevalue('competitor')
    attempts = []
    while len(attempts) < 3 and (not attempts or attempts[-1]['ms']['median'] >=
                                 3 * quiet['ms']['median']):
        attempts.append(seconds_of_products())
        assert attempts[-1]['load']['disturbed'], attempts
        assert 0 < attempts[-1]['load']['share'] < 1
    shared = attempts[-1]
    if quiet['load']['disturbed']:
        pytest.skip('the machine was not quiet to begin with: ' + in_words(quiet['load']))
    if shared['load']['others'] is None or shared['load']['others'] > 1.1:
        pytest.skip('more than the competitor came: ' + in_words(shared['load']))
    assert shared['ms']['median'] < 3 * quiet['ms']['median'], (quiet, attempts)


def test_rows_of_a_busy_machine_are_marked_and_can_be_measured_again(tmp_path, monkeypatch):
    """The measuring process is injected: three disturbed measurements, then quiet ones."""
    from mmvitlin.benchmark import latency
    loads = [0.3, 0.2, 0.4, 0., 0.]

    def worker(task, *_):
        if task == 'alone':
            return dict(status='pending', tokens=4, precision='fp32', peak_mib=None)
        if task == 'limits':
            return {}
        waiting = loads.pop(0)
        ms = dict(median=1e3 * waiting + 1, p10=1., p90=1e3 * waiting + 2, rounds=9)
        return dict(ms=[ms], load=dict(
            disturbed=waiting > 0.05, waiting=waiting, others=0., cores=2))

    monkeypatch.setattr(measuring, '_worker', worker)
    monkeypatch.setattr(latency.time, 'sleep', lambda seconds: None)
    lines = []

    def row():
        actual, = measure(grid, tmp_path / 'r.json', lines.append)['rows'].values()
        return actual['ms']['median'], actual['load']['disturbed']

    grid = Grid([Subject('a', 'timm', 'resnet18')], [(32, 32)], repeats=2)
    assert row() == (201., True)
    assert lines[-2].endswith('; disturbed: its threads waited 20% of the time')
    assert row() == (201., True)  # it is kept
    grid.mend = True
    assert row() == (1., False)
    assert row() == (1., False)
    assert loads == [0.]


def test_runs_that_differ_are_a_disturbance_of_their_network():
    """Three rounds in turn: one network is steady, the other was held up in one of them."""
    from mmvitlin.benchmark import latency
    quiet = dict(disturbed=False, waiting=0., others=0., cores=2)
    steady = dict(median=100., p90=129., rounds=3)
    assert with_spread(quiet, steady) == dict(quiet, spread=1.29)
    assert with_spread(quiet, dict(steady, p90=131.), steady)['disturbed']
    assert with_spread(dict(quiet, disturbed=True), steady)['disturbed']
    for unsure in (dict(steady, p90=900., rounds=2), dict(median=1., p90=5., rounds=9)):
        assert with_spread(quiet, unsure) == dict(quiet, spread=1.)
    assert in_words(with_spread(quiet, dict(steady, p90=180.))) == \
        'disturbed: its slowest runs took 1.8 times the median'
    pauses = iter([0.] * 6 + [0.5] + [0.] * 20)
    times = latency.time_watched(dict(uneven=lambda: time.sleep(0.02 + next(pauses))), repeats=0,
                                 warmup=1, rounds=9)
    assert times['uneven']['load']['disturbed']


def test_what_a_busy_moment_made_too_slow_is_measured_again():
    row = dict(status='over the time limit', limit=120., made_of='m', load=dict(disturbed=True))
    mending, usual = (Grid([], [(32, 32), (64, 64)], mend=mend) for mend in (True, False))
    assert measuring._is_due(mending, row, 'm')
    assert not measuring._is_due(usual, row, 'm')
    assert not measuring._is_due(mending, dict(row, load=dict(disturbed=False)), 'm')
    subject, large = Subject('a', 'timm', 'resnet18'), dict(shape=[64, 64], batch=1,
                                                            precision='fp32')
    rows = {measuring.key_of(usual, dict(large, shape=[32, 32]), subject, False): row}
    assert measuring._given_up_before(usual, large, subject, False, rows) is None
    row['load']['disturbed'] = False
    assert measuring._given_up_before(usual, large, subject, False, rows) == '32x32'


def test_a_watched_block():
    with Watch(1) as watch:
        torch.randn(200, 200) @ torch.randn(200, 200)
    assert watch.load.seconds >= 0
    assert watch.load.others is None  # too short for the kernel's ticks


def test_backbones_say_what_they_got():
    table = backbone_latency({'a': torch.nn.Conv2d(3, 4, 3)}, [(32, 32)], rounds=3, repeats=0,
                             progress=lambda text: None)
    assert {'share', 'waiting', 'others', 'disturbed'} <= table['32x32']['a']['load'].keys()


@pytest.mark.parametrize(('given', 'expected'), [
    ({}, ('1000', '1')),
    (dict(GOMP_SPINCOUNT='5'), ('5', '1')),
    (dict(OMP_WAIT_POLICY='active'), (None, None)),
])
def test_the_spin_of_openmp(given, expected):
    code = ('from mmvitlin.utils.environment import short_openmp_spin; import sys, os\n'
            'assert "torch" not in sys.modules and "GOMP_SPINCOUNT" not in set(os.environ) - '
            f'{set(given)}\n'
            'short_openmp_spin()\n'
            'print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("KMP_BLOCKTIME"))')
    env = {k: v for k, v in os.environ.items()
           if k not in ('GOMP_SPINCOUNT', 'KMP_BLOCKTIME', 'OMP_WAIT_POLICY')}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT,
                          env=dict(env, PYTHONPATH=str(ROOT), **given))
    assert done.stdout.split() == [str(w) for w in expected], done.stderr


def test_tools_that_measure_set_it():
    """All in tools that take times on a CPU, before they import anything but the standard library's
    modules."""
    measuring = re.compile(r'perf_counter|time_interleaved|time_watched|backbone_latency|measure\(')
    found = []
    for path in [*(ROOT / 'tools').glob('*.py'), *(ROOT / 'tools/benchmarks').glob('*_c*.py')]:
        text = path.read_text()
        if measuring.search(text) and re.search('^import torch|^from mmvitlin', text, re.M):
            found.append(path.name)
            before = text.split('short_openmp_spin()\n')[0]
            assert not re.search('^(import torch|from mmvitlin(?!.utils.environment))', before,
                                 re.M), path
    assert {'benchmark.py', 'demo.py', 'ops_cpu.py', 'highres_cpu.py'} <= set(found)


@pytest.mark.parametrize('name', ['benchmark.py', 'demo.py', 'train.py', 'test.py', 'infer.py',
                                  'compare.py', 'report.py', 'export.py'])
def test_tools_set_it_before_anything_imports_torch(name):
    assert name in TOOLS
    before = (ROOT / 'tools' / name).read_text().split('short_openmp_spin()')[0]
    imports = [line for line in before.splitlines() if line.startswith(('import', 'from'))]
    code = '\n'.join([*imports, 'import sys; assert "torch" not in sys.modules'])
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr
