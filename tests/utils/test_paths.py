"""Paths below folders."""
from mmvitlin.utils.paths import files_below


def test_files_below_links(tmp_path):
    (tmp_path / 'there').mkdir()
    (tmp_path / 'there' / 'a.png').touch()
    (tmp_path / 'set' / 'own').mkdir(parents=True)
    (tmp_path / 'set' / 'own' / 'b.png').touch()
    (tmp_path / 'set' / 'linked').symlink_to(tmp_path / 'there')
    (tmp_path / 'set' / 'own' / 'round').symlink_to(tmp_path / 'set')
    assert [path.name for path in files_below(tmp_path / 'set')] == ['a.png', 'b.png']
