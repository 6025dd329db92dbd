"""What is concluded from measured times: who is ahead, and from which size on."""
import pytest

from mmvitlin.benchmark.trends import crossover, faster_from, other_conditions, pairs


def fake(points):
    return [dict(tokens=t, shape=str(t), ms=dict(median=m)) for t, m in points]


def test_crossovers():
    slow = fake([(100, 10), (400, 160), (1600, 2560)])
    fast = fake([(100, 40), (400, 160 / 2), (1600, 640)])
    assert crossover(fast, slow) == pytest.approx(252, abs=2)  # where 4 → 1/2 meets 1
    assert crossover(slow, fast) is None
    assert crossover(fake([(100, 1), (400, 2)]), slow) == 0
    crossings = pairs({'fast · b': fast, 'slow · b': slow, 'first · b': fake([(100, 1), (400, 2)]),
                       'slow · c': fast})
    assert [(p['faster'], p['slower'], p['tokens'], p['side'], p['always'], p['since'])
            for p in crossings] == [('fast', 'slow', 252, 254, False, '400'),
                                    ('first', 'fast', None, None, True, '100'),
                                    ('first', 'slow', None, None, True, '100')]
    assert [faster_from(p) for p in crossings] == ['about 254×254 (252 tokens)', 'every size',
                                                   'every size']
    assert pairs({'fast · b': fast, 'other · c': slow}) == []


def test_sizes_that_were_disturbed_are_not_every_size():
    slow, fast = fake([(100, 10), (400, 160)]), fake([(100, 4), (400, 80)])
    slow[1]['load'] = dict(disturbed=True)
    pair, = pairs({'fast · b': fast, 'slow · b': slow})
    assert faster_from(pair) == '100, the only size compared'
    slow.append(dict(tokens=900, shape='900', ms=dict(median=500)))
    fast.append(dict(tokens=900, shape='900', ms=dict(median=90)))
    pair, = pairs({'fast · b': fast, 'slow · b': slow})
    assert faster_from(pair) == 'every size that was not disturbed'


def test_networks_that_are_level_do_not_overtake():
    """Spreads that overlap, medians within a tenth; nobody is told to be ahead by less."""
    def rows(*times):
        return [dict(tokens=t, shape=f'{t}x1', ms=dict(median=m, p10=0.9 * m, p90=1.1 * m))
                for t, m in zip((100, 400, 1600), times, strict=True)]

    slow = rows(10., 20., 40.)
    pair, = pairs({'a · b': rows(9.5, 10., 20.), 'slow · b': slow})
    assert faster_from(pair) == '400×1 (level at 100×1)'
    assert pair['tokens'] is None
    pair, = pairs({'a · b': rows(30., 20.5, 20.), 'slow · b': slow})
    assert faster_from(pair) == '1600×1 (level at 400×1)'
    assert pairs({'a · b': rows(5., 10., 39.), 'slow · b': slow}) == []
    pair, = pairs({'a · b': rows(5., 10., 30.), 'slow · b': slow})
    assert faster_from(pair) == 'every size'


def test_other_conditions_are_reported():
    call = dict(machine=dict(threads=2), versions=dict(torch='2.11'))
    other = dict(call, machine=dict(threads=1))
    rows = dict(a=dict(call=0))
    assert other_conditions(dict(calls=[call], rows=rows), dict(calls=[call], rows=rows)) == []
    assert other_conditions(dict(call, rows={}), dict(calls=[other], rows=rows)) == [
        'machine.threads: 2 then, 1 now']
