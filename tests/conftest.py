"""Test process: 8 virtual CPU devices, strict ranks and key reuse checked."""

import os

import jax
import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "agg")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def rng() -> np.random.Generator:
  """A NumPy generator with a fixed seed, fresh for each test."""
  return np.random.default_rng(0)
