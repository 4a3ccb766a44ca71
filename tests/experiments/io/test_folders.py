"""New folders, and folders that replace others."""

import pathlib

import pytest

from experiments.io.folders import new_folder


def _fill(folder, text, **options):
  with new_folder(folder, **options) as scratch:
    (scratch / "file").write_text(text)


def test_a_folder_is_replaced_whole(tmp_path):
  folder = tmp_path / "out" / "folder"
  _fill(folder, "old")
  with pytest.raises(OSError, match="folder"):
    _fill(folder, "new")
  assert (folder / "file").read_text() == "old"
  _fill(folder, "new", replace=True)
  assert (folder / "file").read_text() == "new"
  assert [*folder.parent.iterdir()] == [folder]


def test_a_failure_leaves_the_old_folder_alone(tmp_path):
  folder = tmp_path / "folder"
  _fill(folder, "old")
  with pytest.raises(TypeError):
    _fill(folder, text=None, replace=True)
  assert [*tmp_path.iterdir()] == [folder]
  assert (folder / "file").read_text() == "old"


def test_a_failed_move_restores_the_old_folder(tmp_path, monkeypatch):
  folder = tmp_path / "folder"
  _fill(folder, "old")

  def fail(self, target):
    raise OSError("disk")

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(OSError, match="disk"):
      _fill(folder, "new", replace=True)
  assert [*tmp_path.iterdir()] == [folder]
  assert (folder / "file").read_text() == "old"


def test_the_next_one_mends_what_a_killed_process_left(tmp_path):
  folder = tmp_path / "folder"
  _fill(folder, "old")
  folder.rename(tmp_path / ".folder.old")
  (tmp_path / ".folder.tmp").mkdir()
  with new_folder(folder, replace=True) as scratch:
    assert (folder / "file").read_text() == "old"
    (scratch / "file").write_text("new")
  assert [*tmp_path.iterdir()] == [folder]
  assert (folder / "file").read_text() == "new"
