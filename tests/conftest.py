"""Test process: 8 virtual CPU devices, strict ranks and key reuse checked."""

import os

import jax
import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "agg")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# Computations in flight at once starve each other's collectives of threads.
jax.config.update("jax_cpu_enable_async_dispatch", False)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def rng() -> np.random.Generator:
  """A NumPy generator with a fixed seed, fresh for each test."""
  return np.random.default_rng(0)


# What these compile is large and run a few times: compiling it fast takes half
# the time. The mathematics is tested as it is compiled for users.
_FAST_COMPILATION = (
  "test_albert",
  "test_albert_training",
  "test_albert_weights",
  "test_cached_outputs",
  "test_checkpoints_bucket",
  "test_checks",
  "test_contributing",
  "test_coordinates",
  "test_feature_methods",
  "test_grafting",
  "test_inspection",
  "test_interface",
  "test_kinds_of_data",
  "test_mobilenet",
  "test_methods_models",
  "test_models",
  "test_nonfinite",
  "test_pretrained_runs",
  "test_pretraining",
  "test_processes_agree",
  "test_processes_caches",
  "test_processes_runs",
  "test_paper_smoke",
  "test_resnet",
  "test_resuming",
  "test_runs",
  "test_saved_students",
  "test_subclass_pages",
  "test_stacked_sweep",
  "test_train_step",
  "test_training",
  "test_training_real_data",
)


@pytest.fixture(autouse=True, scope="module")
def fast_compilation(request):
  """Switches most of XLA's optimizations off for some modules."""
  fast = request.module.__name__.split(".")[-1] in _FAST_COMPILATION
  jax.config.update("jax_disable_most_optimizations", fast)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
