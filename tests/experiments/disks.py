"""Small file systems, for tests of full disks."""

import contextlib
import shutil
import subprocess

import pytest


@contextlib.contextmanager
def small_disk(folder, size):
  """Mounts a small disk at a folder; skips the test where that needs root."""
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
  """Fills a disk; returns the file to delete to make room again."""
  path = folder / "filler"
  with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
    while True:
      file.write(bytes(4096))
  return path
