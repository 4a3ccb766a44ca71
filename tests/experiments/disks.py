"""File systems of a few pages, for tests that fill them."""

import contextlib
import shutil
import subprocess

import pytest


@contextlib.contextmanager
def small_disk(folder, size):
  """Mounts one at a folder, where this user may; skips the test elsewhere."""
  folder.mkdir()
  mount = shutil.which("mount") or "false"
  options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
  done = subprocess.run([mount, *options], capture_output=True, check=False)
  if done.returncode:
    pytest.skip("mounting a small disk needs root on Linux")
  try:
    yield folder
  finally:
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
  """Leaves no room on a disk; returns the file to delete to have it again."""
  path = folder / "filler"
  with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
    while True:
      file.write(bytes(4096))
  return path
