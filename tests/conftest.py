"""Configures the test processes: 8 virtual CPU devices and strict checks."""

import contextlib
import gc
import os
import pathlib
import time

import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "agg")
# Tests, workers and commands share compiled programs, and so does the next run.
# The cache has no limit: with one, JAX locks the folder and reads the age of
# every entry to write another. In return, an entry may be read before it is
# whole (JAX then warns and compiles), and what no run uses grows old here.
_CACHE = {
  "jax_compilation_cache_dir": str(
    pathlib.Path(__file__).parents[1] / "build" / "jax_cache"
  ),
  "jax_persistent_cache_min_compile_time_secs": 0.02,
  "jax_persistent_cache_min_entry_size_bytes": -1,
}
_OLD = time.time() - 7 * 24 * 3600
for _path in pathlib.Path(_CACHE["jax_compilation_cache_dir"]).glob("*"):
  with contextlib.suppress(FileNotFoundError):  # Another worker was faster.
    if _path.stat().st_mtime < _OLD:
      _path.unlink()
for _name, _value in _CACHE.items():
  os.environ.setdefault(_name.upper(), str(_value))


def pytest_configure(config):
  """Configures JAX and Hypothesis where tests run."""
  # With `-n`, this process starts others, which wait for it, and runs no test.
  if config.getoption("numprocesses", default=None):
    return
  import hypothesis
  import jax

  for name, value in _CACHE.items():
    jax.config.update(name, value)
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 8)
  # Collectives of several computations in flight starve each other of threads.
  jax.config.update("jax_cpu_enable_async_dispatch", False)
  jax.config.update("jax_numpy_rank_promotion", "raise")
  jax.config.update("jax_debug_key_reuse", True)

  # Tracing makes many objects and few cycles: with Python's own thresholds, a
  # tenth of the time goes to looking for garbage, mostly in what was imported.
  gc.freeze()
  gc.set_threshold(100_000, 20, 20)

  # No test needs its files after a power failure, and waiting takes seconds.
  os.fsync = lambda fd: None

  # A busy machine takes longer than Hypothesis' 200 ms for some examples.
  hypothesis.settings.register_profile("unhurried", deadline=None)
  hypothesis.settings.load_profile("unhurried")


@pytest.fixture
def rng() -> np.random.Generator:
  """A NumPy generator with a fixed seed, fresh for each test."""
  return np.random.default_rng(0)


# Modules of the library whose programs are large and run few times: compiling
# them without most of XLA's optimizations halves their time. The mathematics is
# tested as it is compiled for users.
_FAST_COMPILATION = (
  "test_albert",
  "test_bert",
  "test_coordinates",
  "test_errors",
  "test_examples",
  "test_grafting",
  "test_image_models",
  "test_interface",
  "test_models",
  "test_properties",
  "test_serialization",
  "test_static",
  "test_text_models",
  "test_train_step",
)


@pytest.fixture(autouse=True, scope="module")
def fast_compilation(request):
  """Turns most of XLA's optimizations off for experiments and large models."""
  import jax

  name = request.module.__name__
  experiments = name.startswith("tests.experiments")
  fast = experiments or name.split(".")[-1] in _FAST_COMPILATION
  jax.config.update("jax_disable_most_optimizations", fast)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
