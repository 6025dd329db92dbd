"""The page of a set of runs, as text and in a real browser."""
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from mmvitlin.visualization.report_page import (
    Page,
    Sample,
    accuracy_table,
    find_runs,
    find_speeds,
    write_page,
)

BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
CHECK = """
window.onerror = e => document.body.dataset.error = e;
window.onload = () => {
  const body = document.body, input = document.querySelector('input[type=range]');
  body.dataset.broken = [...document.images].filter(i => !i.naturalWidth).length;
  input.value = 80;
  input.dispatchEvent(new Event('input'));
  const over = document.querySelector('.over');
  body.dataset.clip = getComputedStyle(over).clipPath;
  body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
};
"""


@pytest.fixture
def runs(tmp_path):
    for seed, miou in ((0, 30.), (1, 34.)):
        for stage, metrics in (('teacher', dict(mIoU=miou)), ('distill', {})):
            folder = tmp_path / f'seed{seed}' / stage
            (folder / '2026' / 'vis_data').mkdir(parents=True)
            (folder / 'result.json').write_text(json.dumps(
                dict(metrics=metrics, iterations=9, seconds=2.)))
            (folder / '2026' / 'vis_data' / 'scalars.json').write_text(
                '\n'.join(json.dumps(dict(loss=1 / n, iter=n)) for n in (1, 2, 3)))
    return find_runs([tmp_path])


@pytest.fixture
def page(runs, tmp_path):
    from PIL import Image
    Image.new('RGB', (40, 30)).save(tmp_path / 'f.png')
    rng = np.random.RandomState(0)
    samples = [Sample(*(rng.randint(0, 255, (60, 90, 3)).astype(np.uint8) for _ in range(2)),
                      'teacher', 'student <b>')]
    return write_page(Page('Runs & more', runs, {'a figure': tmp_path / 'f.png'}, samples,
                           ['a note']), tmp_path / 'report.html')


def test_seeds_are_grouped(runs):
    assert {(r.name, r.seed) for r in runs} == {('teacher', 0), ('teacher', 1), ('distill', 0),
                                                ('distill', 1)}
    assert accuracy_table(runs).heads == ['run', 'mIoU', 'iterations', 'seconds', 'seeds']
    assert accuracy_table(runs).rows == [['distill', '', 9, '2', 2],
                                         ['teacher', '32.00 ± 2.83', 9, '2', 2]]


def test_folders_are_kept_apart_and_runs_counted_once(tmp_path):
    for root in ('a', 'b'):
        folder = tmp_path / root / 'seed0' / 'teacher'
        folder.mkdir(parents=True)
        (folder / 'result.json').write_text(json.dumps(dict(metrics=dict(mIoU=1., name='x'))))
    runs = find_runs([tmp_path / 'a', tmp_path / 'b', tmp_path / 'b' / 'seed0'])
    assert [r.name for r in runs] == ['a · teacher', 'b · teacher']
    assert [row[1] for row in accuracy_table(runs).rows] == ['1.00', '1.00']


def test_runs_of_several_experiments_in_one_folder_are_kept_apart(tmp_path):
    for place, miou in (('a/seed0/student', 70.), ('a/seed1/student', 60.),
                        ('b/seed0/student', 40.), ('c/tuned', 10.)):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / 'result.json').write_text(json.dumps(dict(metrics=dict(mIoU=miou))))
    rows = accuracy_table(find_runs([tmp_path])).rows
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ('a · student', '65.00 ± 7.07', 2), ('b · student', '40.00', 1), ('tuned', '10.00', 1)]


def test_nothing_in_a_result_is_taken_for_markup(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    bad = '<img src=x onerror=alert(1)>'
    (folder / 'result.json').write_text(json.dumps(dict(metrics={bad: 1.}, iterations=bad)))
    (folder / 'results.json').write_text(json.dumps(dict(
        calls=[dict(machine=dict(processor=bad, gpu=None, threads=2))], limits={},
        rows={f'{bad}|backbone|inference|64x64|batch 1|fp32|eager|cpu': dict(status=bad),
              'net|backbone|inference|64x64|batch 1|fp32|eager|cpu': dict(
                  status='ok', ms=dict(median=3., p10=2., p90=4., rounds=5), peak_mib=7.)})))
    page = Page('t', find_runs([folder]), speeds=find_speeds([folder]))
    text = write_page(page, tmp_path / 'r.html').read_text()
    assert '<img src=x' not in text
    assert '<td>64x64</td><td>fp32</td><td>3.0</td><td>2.0–4.0</td><td>7</td>' in text


def test_the_page_needs_no_other_file(page):
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert 'http' not in text.replace('http-equiv', '')
    assert 'Runs &amp; more' in text
    assert 'student &lt;b&gt;' in text
    assert text.count('<img') == 4  # slider of two, figure, curves


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='no work directory at'):
        find_runs([tmp_path / 'none'])


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason='needs chromium')
@pytest.mark.parametrize('size', ['1000,800', '390,800'])
def test_in_a_browser(page, tmp_path, size):
    text = page.read_text().replace('<script>', f'<script>{CHECK}')
    (tmp_path / 'checked.html').write_text(text)
    done = subprocess.run(
        [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         f'--user-data-dir={tmp_path / "profile"}', f'--window-size={size}',
         '--virtual-time-budget=3000', '--dump-dom', f'file://{tmp_path / "checked.html"}'],
        capture_output=True, text=True, timeout=120)
    body = re.search(r'<body[^>]*>', done.stdout)[0]
    assert 'data-error' not in body, body
    assert 'data-broken="0"' in body
    assert 'data-clip="inset(0px 0px 0px 80%)"' in body
    assert 'data-wide="false"' in body
