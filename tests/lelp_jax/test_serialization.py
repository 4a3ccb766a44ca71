"""Our dataclasses through Flax's MessagePack."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

import lelp_jax
from lelp_jax.baselines import CRDBank
from lelp_jax.metrics import Mean
from lelp_jax.models import MODELS
from lelp_jax.train_step import TrainState


@pytest.fixture(name="values", scope="module")
def fixture_values():
  embeddings, labels = np.ones((20, 4), "f"), np.arange(20) % 2

  def fit(embeddings, key):
    moments = lelp_jax.class_moments(embeddings, labels, num_classes=2)
    principal = lelp_jax.principal_directions(moments, num_directions=2)
    subspaces = lelp_jax.subspaces_from_principal(
      principal, num_subclasses=2, key=key
    )
    return moments, principal, subspaces

  # Any numbers, in the fields and dtypes of a fit.
  rng = np.random.default_rng(0)
  moments, principal, subspaces = jax.tree.map(
    lambda x: jnp.asarray(9 * rng.normal(size=x.shape), x.dtype),
    jax.eval_shape(fit, embeddings, jax.random.key(1)),
  )
  model = MODELS["mlp"](2, features=(4,))
  state = TrainState.create(
    *jax.jit(model.init)(jax.random.key(0), embeddings),
    optax.adam(0.1),
    jax.random.key(2),
    loss_params={"projection": jnp.ones([2, 2])},
    loss_state={"keys": jax.random.split(jax.random.key(3, impl="rbg"), 2)},
  )
  return {
    "moments": moments,
    "moments without a remainder": lelp_jax.ClassMoments(
      moments.count, moments.mean, moments.scatter
    ),
    "principal": principal,
    "subspaces": subspaces,
    "subspaces with offsets": dataclasses.replace(
      subspaces, offsets=jnp.ones([2, 2])
    ),
    "mean": Mean.of(jnp.arange(3.0)),
    "bank": CRDBank.init(jax.random.key(0), num_examples=5, width=3),
    "state": state,
  }


def without_keys(tree):
  def plain(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf

  return jax.tree.map(plain, tree)


def test_what_is_restored_is_what_was_saved(values):
  data = serialization.to_bytes(values)
  restored = serialization.from_bytes(values, data)
  chex.assert_trees_all_equal_dtypes(restored, values)
  chex.assert_trees_all_equal(without_keys(restored), without_keys(values))
  assert type(restored["subspaces"]) is lelp_jax.Subspaces


def test_restored_keys_draw_the_same_numbers(values):
  state = values["state"]
  other = TrainState(**{**vars(state), "key": jax.random.key(9)})
  restored = serialization.from_bytes(other, serialization.to_bytes(state))
  chex.assert_trees_all_equal(
    jax.random.normal(restored.key), jax.random.normal(state.key)
  )


def test_missing_fields_are_named(values):
  state_dict = serialization.to_state_dict(values["subspaces"])
  del state_dict["means"]
  with pytest.raises(ValueError, match=r"^means of Subspaces is not in what"):
    serialization.from_state_dict(values["subspaces"], state_dict)


@pytest.mark.parametrize(
  ("whole", "part", "fields"),
  [
    (
      "moments",
      "moments without a remainder",
      ("mean_remainder", "num_examples"),
    ),
    ("subspaces with offsets", "subspaces", ("offsets",)),
  ],
)
def test_optional_fields_may_be_absent(values, whole, part, fields):
  """Neither the target nor what was saved has to have them."""
  whole, part = values[whole], values[part]
  for target, saved in ((whole, part), (part, whole), (part, part)):
    restored = serialization.from_bytes(target, serialization.to_bytes(saved))
    chex.assert_trees_all_equal(restored, saved)
  state_dict = serialization.to_state_dict(whole)
  for field in fields:  # As saved before there were any.
    del state_dict[field]
  for target in (whole, part):
    chex.assert_trees_all_equal(
      serialization.from_state_dict(target, state_dict), part
    )
