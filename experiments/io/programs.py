"""JAX's cache of compiled programs, with which commands start faster.

JAX_COMPILATION_CACHE_DIR sets another folder, and
JAX_ENABLE_COMPILATION_CACHE=false turns the cache off.
"""

import contextlib
import os
import pathlib
import time

import jax

_MAX_DAYS = 30
_MIN_SECONDS = 0.01  # Programs that compile faster are not stored.


def keep() -> None:
  """Turns the cache on, in the user's cache folder, if that is writable.

  Programs older than 30 days are deleted. JAX's own limit on the size of the
  cache is not used, since JAX would then read the age of all programs whenever
  it stores one.
  """
  if jax.config.values["jax_compilation_cache_dir"] is not None:
    return  # The user has chosen a folder.
  try:
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(base, "lelp_jax", "programs")
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):  # The home folder is missing or read-only.
    return
  oldest = time.time() - _MAX_DAYS * 24 * 3600
  for path in folder.iterdir():
    with contextlib.suppress(OSError):  # Another process may have deleted it.
      if path.stat().st_mtime < oldest:
        path.unlink()
  for name, value in {
    "jax_compilation_cache_dir": str(folder),
    "jax_persistent_cache_min_compile_time_secs": _MIN_SECONDS,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }.items():
    jax.config.update(name, value)
