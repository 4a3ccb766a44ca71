"""Digests of sources: equal wherever they lie, other after edits of code."""

import importlib
import shutil

import pytest

from experiments.io import digests

FILES = {"__init__.py": "A = 1\n", "inner/__init__.py": "", "inner/a.py": "B\n"}


@pytest.fixture
def digest(tmp_path, monkeypatch):
  """Writes a package into a folder and digests it there."""

  def write_and_digest(place, files):
    for name, text in files.items():
      path = tmp_path / place / "made_up" / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(text.encode())
    with monkeypatch.context() as patch:
      patch.syspath_prepend(str(tmp_path / place))
      importlib.invalidate_caches()
      return digests.of_sources.__wrapped__("made_up")

  return write_and_digest


def test_it_is_the_same_wherever_the_sources_lie(digest, tmp_path):
  found = digest("checkout", FILES)
  assert len(found) == 12
  windows = {k: v.replace("\n", "\r\n") for k, v in FILES.items()}
  assert digest("elsewhere/and/deeper", windows) == found
  # Caches of Python and other files do not count.
  shutil.copytree(tmp_path / "checkout", tmp_path / "used")
  assert digest("used", {"__pycache__/a.pyc": "", "a.txt": ""}) == found


@pytest.mark.parametrize(
  "change",
  [{"__init__.py": "A = 2\n"}, {"inner/a.py": "B()\n"}, {"inner/b.py": ""}],
)
def test_every_edit_of_code_changes_it(digest, change):
  assert digest("edited", FILES | change) != digest("checkout", FILES)


def test_edits_of_prose_do_not_change_it(digest):
  code = "def f():\n  {}\n  return 'a'{}\n"
  first = {"__init__.py": "'First.'\n" + code.format("'First.'", "")}
  second = {"__init__.py": "'2.'\n\n\n" + code.format("'2.'", "  # Second.")}
  found = digest("first", FILES | first)
  assert digest("second", FILES | second) == found
  without = {"__init__.py": code.format("pass", "")}
  assert digest("without", FILES | without) != found
