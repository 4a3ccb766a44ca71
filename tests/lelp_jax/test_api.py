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
  ("kind", "fields"),
  [
    (
      lelp_jax.ClassMoments,
      "count mean scatter mean_remainder num_examples",
    ),
    (
      lelp_jax.ClassSketch,
      "count mean products squares probe mean_remainder num_examples",
    ),
    (
      lelp_jax.PrincipalDirections,
      "directions variances means total_variance rank",
    ),
    (lelp_jax.Subspaces, "directions means offsets"),
    (baselines.CRDBank, "student teacher log_normalizers"),
    (metrics.Mean, "total count remainder"),
  ],
)
def test_results_are_frozen_pytrees(kind, fields):
  value = kind(*range(len(fields.split())))
  names = [field.name for field in dataclasses.fields(value)]
  assert names == fields.split()
  leaves, treedef = jax.tree.flatten(value)
  assert leaves == list(range(len(names)))
  assert jax.tree.unflatten(treedef, leaves) == value
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(value, names[0], None)


def test_modules_have_names_of_their_own():
  # A function of the name of its module would hide the module.
  for name in lelp_jax.__all__:
    assert not pathlib.Path(lelp_jax.__file__).with_name(f"{name}.py").exists()


def test_signatures_are_those_of_the_design():
  expected = {
    "class_moments": "embeddings labels * num_classes where=None",
    "merge_moments": "a b",
    "sketch_probe": "embeddings labels * num_classes size key where=None",
    "class_sketch": "embeddings labels * num_classes probe where=None",
    "merge_sketches": "a b",
    "principal_directions": "moments head_kernel=None * num_directions"
    " null_space='weights' rtol=0.005",
    "subspaces_from_principal": "principal * num_subclasses key=None"
    " rotation='haar' normalization='max' rank_deficient='complete'",
    "fit_subspaces": "embeddings labels head_kernel * num_subclasses key"
    " where=None null_space='weights' rotation='haar' normalization='max'"
    " rank_deficient='complete' method='exact'",
    "fit_subspaces_from_moments": "moments head_kernel * num_subclasses key"
    " null_space='weights' rotation='haar' normalization='max'"
    " rank_deficient='complete'",
    "random_subspaces": "moments * num_subclasses key normalization='max'",
    "identity_subspaces": "moments * normalization='max'",
    "centroid_subspaces": "centroids moments head_kernel=None * variance"
    " null_space='weights' rtol=0.005",
    "project_off_head": "embeddings head_kernel * null_space='weights'"
    " rtol=0.005",
    "variance_of_perplexity": "squared_distances where=None * perplexity=1.5",
    "variance_share": "subspaces moments",
    "null_space_share": "moments head_kernel * rtol=0.005",
    "binary_head": "kernel bias=None",
    "subsplit": "embeddings class_logits subspaces * temperature"
    " subclass_temperature where=None",
    "log_subsplit": "embeddings class_logits subspaces * temperature"
    " subclass_temperature where=None",
    "subspace_coordinates": "embeddings subspaces",
    "principal_coordinates": "embeddings principal",
    "coordinate_directions": "principal",
    "lelp_loss": "student_logits teacher_log_probs * temperature where=None",
    "lelp_loss_terms": "student_logits teacher_log_probs * temperature"
    " where=None",
    "class_log_probs": "logits * num_classes temperature where=None",
  }
  for name, text in expected.items():
    function = getattr(lelp_jax, name)
    parts, keyword_only = [], False
    for parameter in inspect.signature(function).parameters.values():
      if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
        parts.append("*")
        keyword_only = True
      default = parameter.default
      has_default = default is not parameter.empty
      parts.append(parameter.name + (f"={default!r}" if has_default else ""))
    assert " ".join(parts) == text, name
