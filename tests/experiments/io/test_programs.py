"""The folder of compiled programs."""

import os
import pathlib
import time

import jax
import pytest

from experiments import cli
from experiments.io import programs

OPTIONS = (
  "jax_compilation_cache_dir",
  "jax_persistent_cache_min_compile_time_secs",
  "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def no_folder(monkeypatch, tmp_path):
  """JAX without a folder, in a process whose user has a cache folder."""
  before = {name: getattr(jax.config, name) for name in OPTIONS}
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  jax.config.update("jax_compilation_cache_dir", None)
  yield tmp_path / "lelp_jax" / "programs"
  for name, value in before.items():
    jax.config.update(name, value)


def test_commands_keep_their_programs(no_folder):
  with pytest.raises(SystemExit):
    cli.run(lambda: None)
  assert jax.config.jax_compilation_cache_dir == str(no_folder)
  assert no_folder.is_dir()


def test_the_users_own_folder_is_used(no_folder, tmp_path):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
  programs.keep()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
  assert not no_folder.exists()


@pytest.mark.parametrize("is_home", [False, True])
def test_no_folder_can_be_made(no_folder, monkeypatch, tmp_path, is_home):
  (tmp_path / "file").touch()
  if is_home:  # Of a user that the system does not know.
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", _no_home)
  else:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  programs.keep()
  assert jax.config.jax_compilation_cache_dir is None


def _no_home():
  raise RuntimeError("Could not determine home directory.")


def test_old_programs_are_deleted(no_folder):
  no_folder.mkdir(parents=True)
  for name, days in (("old-cache", 31), ("new-cache", 29)):
    (no_folder / name).touch()
    changed = time.time() - days * 24 * 3600
    os.utime(no_folder / name, (changed, changed))
  programs.keep()
  assert [path.name for path in no_folder.iterdir()] == ["new-cache"]
