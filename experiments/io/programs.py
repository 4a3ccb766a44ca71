"""The folder in which JAX keeps compiled programs, so that commands start fast.

JAX_COMPILATION_CACHE_DIR names another folder, and
JAX_ENABLE_COMPILATION_CACHE=false keeps none.
"""

import contextlib
import os
import pathlib
import time

import jax

_MAX_DAYS = 30
_MIN_SECONDS = 0.01  # Of a compilation that is worth a file.


def keep() -> None:
  """Keeps compiled programs in the user's cache folder, if it is writable.

  Old ones are deleted. With a limit on the size, JAX would read the age of
  every program to write another.
  """
  if jax.config.values["jax_compilation_cache_dir"] is not None:
    return  # The user has chosen a folder.
  try:
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(base, "lelp_jax", "programs")
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):  # There is no home, or it is read-only.
    return
  oldest = time.time() - _MAX_DAYS * 24 * 3600
  for path in folder.iterdir():
    with contextlib.suppress(OSError):  # Another process was faster.
      if path.stat().st_mtime < oldest:
        path.unlink()
  for name, value in {
    "jax_compilation_cache_dir": str(folder),
    "jax_persistent_cache_min_compile_time_secs": _MIN_SECONDS,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }.items():
    jax.config.update(name, value)
