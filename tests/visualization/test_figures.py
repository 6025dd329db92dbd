"""Figures of runs: what is drawn."""
from mmvitlin.visualization import figures


def test_disturbed_times_are_crossed_out(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, 'save', lambda figure, path: drawn.append(figure.axes[0]))
    quiet, busy = (dict(median=9., p10=8., p90=10., load=dict(disturbed=b)) for b in (False, True))
    figures.latency_figure({'32x32': dict(a=quiet), '64x64': dict(a=quiet)}, 16, tmp_path / 'a.png')
    figures.latency_figure({'32x32': dict(a=quiet), '64x64': dict(a=busy)}, 16, tmp_path / 'a.png')
    names = [[line.get_label() for line in axis.lines] for axis in drawn]
    assert names == [['a'], ['a', 'disturbed']]
    assert list(drawn[1].lines[1].get_xdata()) == [16]
