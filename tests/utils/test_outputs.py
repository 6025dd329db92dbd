"""Results go where nothing of the user's is."""
import pytest

from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.outputs import claim


def test_labels_of_somebody_are_not_replaced(tmp_path):
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/a.png').write_bytes(b'mine')
    claim(tmp_path, ['overlay'])  # does not make the labels ours
    with pytest.raises(ConfigError, match=r'labels holds files that this tool did not write \(a'):
        claim(tmp_path, ['scores', 'labels'])
    assert sorted(p.name for p in tmp_path.iterdir()) == ['labels', 'overlay']


def test_results_of_a_former_call_are(tmp_path):
    for _ in range(2):
        claim(tmp_path / 'out', ['labels'])
        (tmp_path / 'out/labels/a.png').touch()


def test_results_are_not_read_by_the_next_call(tmp_path, monkeypatch):
    (tmp_path / 'photos').mkdir()
    with pytest.raises(ConfigError, match='lies inside .*photos, which is read'):
        claim(tmp_path / 'photos/out', ['labels'], [tmp_path / 'photos'])
    with pytest.raises(ConfigError, match='lies inside'):
        claim(tmp_path / 'photos', ['labels'], [str(tmp_path / 'photos')])
    monkeypatch.chdir(tmp_path)
    claim('out', ['labels'], ['photos', 'photos/a.jpg', None])


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / 'out').touch()
    with pytest.raises(ConfigError, match='cannot be a folder'):
        claim(tmp_path / 'out', ['labels'])
