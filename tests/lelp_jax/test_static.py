import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models import MODELS
from lelp_jax.models import static_embeddings

OPTIONS = {"vocab_size": 20, "width": 4, "features": (8, 6)}
INPUTS = {
  "input_ids": jnp.array([[3, 7, 19, 7], [5, 0, 13, 13], [13, 13, 13, 13]]),
  "attention_mask": jnp.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]),
}


@pytest.fixture(name="started", scope="module")
def fixture_started():
  model = MODELS["static"](3, **OPTIONS)
  params, state = jax.jit(model.init)(jax.random.key(0), INPUTS)
  assert state == {}
  return model, params, jax.jit(model.apply)


def test_outputs_equal_the_definition(started):
  model, params, apply = started
  outputs, _ = apply(params, {}, INPUTS)
  table, *layers = (
    jax.tree.map(lambda x: np.asarray(x, np.float64), params[name])
    for name in ("word_embeddings", "Dense_0", "Dense_1", "head")
  )
  table = table["embedding"]
  x = np.stack(
    [table[[3, 7, 19, 7]].mean(0), table[[5, 0]].mean(0), np.zeros(4)]
  )
  for layer in layers[:-1]:
    x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
  np.testing.assert_allclose(outputs.embeddings, x, atol=1e-6)
  x = x @ layers[-1]["kernel"] + layers[-1]["bias"]
  np.testing.assert_allclose(outputs.logits, x, atol=1e-6)
  assert model.head(params).kernel.shape == (6, 3)


def test_padding_and_token_types_have_no_influence(started):
  _, params, apply = started
  plain, _ = apply(params, {}, INPUTS)
  longer = {k: np.pad(v, [(0, 0), (0, 3)]) for k, v in INPUTS.items()}
  types = {"token_type_ids": np.ones_like(longer["input_ids"])}
  outputs, _ = apply(params, {}, {**longer, **types})
  chex.assert_trees_all_close(outputs, plain, atol=1e-6)
  ids = {"input_ids": INPUTS["input_ids"][:1]}
  outputs, _ = apply(params, {}, ids)
  np.testing.assert_allclose(outputs.logits[0], plain.logits[0], atol=1e-6)


def test_training_drops_units_and_has_finite_gradients():
  options = {**OPTIONS, "features": (32,), "dropout_rate": 0.5}
  model = MODELS["static"](3, compute_dtype="bfloat16", **options)
  params, _ = jax.jit(model.init)(jax.random.key(0), INPUTS)

  def loss(params, key):
    outputs, _ = model.apply(params, {}, INPUTS, train=True, key=key)
    return jnp.sum(outputs.logits**2), outputs

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  ((value, outputs), gradient), ((other, _), _) = (
    step(params, jax.random.key(seed)) for seed in (0, 1)
  )
  assert outputs.embeddings.dtype == jnp.bfloat16
  assert outputs.logits.dtype == jnp.float32
  assert value != other
  chex.assert_tree_all_finite(gradient)
  rows = jnp.any(gradient["word_embeddings"]["embedding"] != 0, axis=1)
  # The rows of tokens change, those of padding alone do not.
  assert {*np.flatnonzero(rows).tolist()} == {0, 3, 5, 7, 19}


def test_the_record_says_what_the_model_reads():
  architecture = MODELS["static"]
  assert architecture.vocab_size(**OPTIONS) == 20
  assert architecture.max_length() is None
  assert architecture.input_shapes(2, (5,)).keys() == {
    "input_ids",
    "attention_mask",
  }


# --- Initial embeddings from a teacher ----------------------------------------


reduced = jax.jit(static_embeddings, static_argnums=1)


def test_static_embeddings_are_scaled_principal_components(rng):
  teacher = rng.normal(size=[50, 6]) * [9, 1, 7, 3, 0.1, 5] + 4.0
  found = reduced(jnp.asarray(teacher, jnp.float32), 3)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(np.mean(np.sum(found**2, 1)), 1, rtol=1e-5)
  u, s, _ = np.linalg.svd(teacher - teacher.mean(0), full_matrices=False)
  expected = u[:, :3] * s[:3]
  expected /= np.sqrt(np.mean(np.sum(expected**2, 1)))
  np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)


def test_degenerate_static_embeddings_are_finite(rng):
  line = rng.normal(size=[20, 1]) * np.ones([1, 4])
  found = np.asarray(reduced(line, 3))
  np.testing.assert_allclose(found[:, 1:], 0, atol=1e-5)
  assert np.std(found[:, 0]) > 0.9
  np.testing.assert_array_equal(reduced(np.ones([20, 4]), 3), 0)


@pytest.mark.parametrize(
  ("embeddings", "width", "error", "message"),
  [
    (np.ones([3]), 1, ValueError, r"teacher_embeddings .*\[V, D\].*\(3,\)"),
    (np.ones([3, 2], int), 1, TypeError, r"teacher_embeddings .*int"),
    (np.ones([3, 2]), 0, ValueError, r"width .*got 0"),
    (np.ones([3, 2]), 3, ValueError, r"width must be at most 2, .*got 3"),
  ],
)
def test_static_embeddings_check_their_arguments(
  embeddings, width, error, message
):
  with pytest.raises(error, match=message):
    static_embeddings(embeddings, width)


def test_a_table_gives_params_without_the_layers_above_it(rng):
  table = jnp.asarray(rng.normal(size=[20, 5]), jnp.float32)
  architecture = MODELS["static"]
  found = architecture.from_token_embeddings(
    table, architecture.attributes(**OPTIONS)
  )
  embedding = static_embeddings(table, 4)
  chex.assert_trees_all_equal(
    found,
    {"word_embeddings": {"embedding": embedding}, "Dense_0": {}, "Dense_1": {}},
  )
  with pytest.raises(ValueError, match=r"vocab_size must be 20, .*got 21"):
    architecture.from_token_embeddings(
      table, architecture.attributes(**OPTIONS | {"vocab_size": 21})
    )
