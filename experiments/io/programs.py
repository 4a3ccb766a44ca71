"""The folder in which JAX keeps compiled programs, so that commands start fast.

JAX_COMPILATION_CACHE_DIR names another folder, and
JAX_ENABLE_COMPILATION_CACHE=false keeps none.
"""

import os
import pathlib

import jax

# With a limit JAX locks the folder, which several processes write, and deletes
# the programs that were not used for longest.
_MAX_BYTES = 2**30
_MIN_SECONDS = 0.1  # Of a compilation that is worth a file.


def keep() -> None:
  """Keeps compiled programs in the user's cache folder, if it is writable."""
  if jax.config.values["jax_compilation_cache_dir"] is not None:
    return  # The user has chosen a folder.
  try:
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(base, "lelp_jax", "programs")
    folder.mkdir(parents=True, exist_ok=True)
    forget_unfinished(folder)
  except (OSError, RuntimeError):  # There is no home, or it is read-only.
    return
  for name, value in {
    "jax_compilation_cache_dir": str(folder),
    "jax_compilation_cache_max_size": _MAX_BYTES,
    "jax_persistent_cache_min_compile_time_secs": _MIN_SECONDS,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }.items():
    jax.config.update(name, value)


def forget_unfinished(folder: pathlib.Path) -> None:
  """Deletes programs that lack the time of their last use.

  A process that is killed while it writes leaves one, and JAX then fails to
  write any other.
  """
  for path in folder.glob("*-cache"):
    if not path.with_name(path.name.removesuffix("cache") + "atime").exists():
      path.unlink(missing_ok=True)
