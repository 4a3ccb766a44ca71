import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models import MODELS
from lelp_jax.models.grafting import graft_pretrained
from tests.lelp_jax import tiny_text


def made(name, num_outputs, seed, **options):
  """Random params of a model."""
  model, rng = MODELS[name](num_outputs, **options), np.random.default_rng(seed)
  images = jnp.ones([2, 4, 4, 1])
  shapes, _ = jax.eval_shape(model.init, jax.random.key(0), images)
  return jax.tree.map(
    lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes
  )


@pytest.fixture(name="tuned", scope="module")
def fixture_tuned():
  return made("mlp", 2, seed=1, features=(4,))


def body(params):
  return {name: value for name, value in params.items() if name != "head"}


@pytest.mark.parametrize(
  ("name", "options"),
  [("mlp", {"features": (4, 3)}), ("cnn", {"features": (2,), "width": 3})],
)
def test_body_is_pretrained_and_a_wider_head_fresh(name, options):
  fresh = made(name, 6, seed=0, **options)
  tuned = made(name, 2, seed=1, **options)
  grafted = graft_pretrained(fresh, tuned)
  chex.assert_trees_all_equal_structs(grafted, fresh)
  chex.assert_trees_all_equal(body(grafted), body(tuned))
  chex.assert_trees_all_equal(grafted["head"], fresh["head"])


def test_a_head_comes_along_if_it_fits(tuned):
  fresh = made("mlp", 2, seed=0, features=(4,))
  chex.assert_trees_all_equal(graft_pretrained(fresh, tuned), tuned)
  without_bias = {"head": {"kernel": tuned["head"]["kernel"]}}
  for head in (without_bias, {}):
    grafted = graft_pretrained(fresh, {**body(tuned), **head})
    chex.assert_trees_all_equal(grafted, {**body(tuned), "head": fresh["head"]})


def test_heads_are_found_by_path(tuned):
  fresh = made("mlp", 3, seed=0, features=(4,))
  nested = [{"a": body(p), "b": {"out": p["head"]}} for p in (fresh, tuned)]
  grafted = graft_pretrained(*nested, head="b/out")
  chex.assert_trees_all_equal(grafted, {**nested[0], "a": nested[1]["a"]})
  # A layer whose name only starts like the head's is of the body.
  renamed = [
    {**{f"head_{k}": v for k, v in body(p).items()}, "head": p["head"]}
    for p in (fresh, tuned)
  ]
  grafted = graft_pretrained(*renamed)
  chex.assert_trees_all_equal(body(grafted), body(renamed[1]))


def test_dtypes_are_the_initial_ones(tuned):
  fresh = made("mlp", 3, seed=0, features=(4,))
  rough = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tuned)
  grafted = graft_pretrained(fresh, rough)
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(grafted))
  chex.assert_trees_all_close(body(grafted), body(tuned), rtol=1e-2)


def test_every_difference_of_the_bodies_is_listed():
  fresh = tiny_text.params()
  tuned = {**fresh, "encoder": {**fresh["encoder"]}}
  tuned["encoder"]["adapter"] = {"kernel": jnp.ones([2, 2])}
  tuned["encoder"]["word_embeddings"] = {"embedding": jnp.ones([21, 6])}
  del tuned["pooler"]
  pattern = (
    r"'pooler/bias', 'pooler/kernel'.*'encoder/adapter/kernel'.*"
    r"'encoder/word_embeddings/embedding \[21, 6\], not \[20, 6\]'"
  )
  with pytest.raises(ValueError, match=pattern):
    graft_pretrained(fresh, tuned)


def test_the_head_must_be_a_layer_of_the_initial_params(tuned):
  with pytest.raises(ValueError, match="head='out'"):
    graft_pretrained(tuned, tuned, head="out")
