"""The public surface: names, documentation, and what an import loads."""

import dataclasses
import inspect
import pathlib
import subprocess
import sys

import jax
import pytest

import lelp_jax
from lelp_jax import baselines
from lelp_jax import metrics
from lelp_jax import models
from lelp_jax import train_step

_FOREIGN = (
  "absl.flags",
  "chex",
  "grain",
  "matplotlib",
  "ml_collections",
  "orbax.checkpoint",
  "sklearn",
  "tensorflow",
  "tensorflow_datasets",
  "torch",
)


def test_import_loads_no_foreign_package():
  # Flax itself imports Orbax's checkpointing; what counts is what we add.
  code = """
import sys
import jax, optax, flax, flax.linen, flax.nnx
needed = set(sys.modules)
import lelp_jax, lelp_jax.baselines, lelp_jax.models
import lelp_jax.train_step, lelp_jax.metrics
print(*(set(sys.modules) - needed))
"""
  out = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  added = set(out.stdout.split())
  assert "lelp_jax.splitting" in added  # The comparison sees something.
  assert not added & set(_FOREIGN)


@pytest.mark.parametrize(
  "module", [lelp_jax, baselines, models], ids=lambda m: m.__name__
)
def test_all_names_exist_and_are_documented(module):
  for name in module.__all__:
    value = getattr(module, name)
    if inspect.isfunction(value) or inspect.isclass(value):
      assert inspect.getdoc(value), name


@pytest.mark.parametrize(
  "function",
  [
    getattr(module, name)
    for module in (lelp_jax, baselines, train_step, metrics)
    for name in dir(module)
    if inspect.isfunction(getattr(module, name))
    and getattr(module, name).__module__.startswith("lelp_jax")
    and not name.startswith("_")
  ],
  ids=lambda f: f"{f.__module__}.{f.__name__}",
)
def test_public_functions_say_what_they_take_return_and_show(function):
  doc = inspect.getdoc(function)
  assert "Args:" in doc
  assert "Returns:" in doc
  assert ">>>" in doc
  for name in inspect.signature(function).parameters:
    assert f"{name}:" in doc, name


@pytest.mark.parametrize(
  "kind",
  [
    lelp_jax.ClassMoments,
    lelp_jax.ClassSketch,
    lelp_jax.PrincipalDirections,
    lelp_jax.Subspaces,
    baselines.CRDBank,
    metrics.Mean,
  ],
)
def test_results_are_frozen_pytrees(kind):
  names = [field.name for field in dataclasses.fields(kind)]
  value = kind(*range(len(names)))
  leaves, treedef = jax.tree.flatten(value)
  assert leaves == list(range(len(names)))
  assert jax.tree.unflatten(treedef, leaves) == value
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(value, names[0], None)


def test_modules_have_names_of_their_own():
  # A function of the name of its module would hide the module.
  for name in lelp_jax.__all__:
    assert not pathlib.Path(lelp_jax.__file__).with_name(f"{name}.py").exists()
