"""Tests the outputs of ALBERT and BERT, in inference and in training."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models import _transformer
from lelp_jax.models import MODELS
from lelp_jax.models.albert import albert
from tests import jaxprs
from tests.lelp_jax import tiny_text
from tests.lelp_jax.tiny_text import BERT
from tests.lelp_jax.tiny_text import CONFIG
from tests.lelp_jax.tiny_text import DROPOUT
from tests.lelp_jax.tiny_text import ROBERTA

# AlbertModel, without its pooler, with a 2-class head: transformers 5.23.
COUNTS = {
  "base": (11_683_584, 11_685_122),
  "large": (17_683_968, 17_686_018),
  "xlarge": (58_724_864, 58_728_962),
  "xxlarge": (222_595_584, 222_603_778),
}


@pytest.fixture(name="inputs")
def fixture_inputs():
  return tiny_text.inputs()


# --- The published sizes ------------------------------------------------------


@pytest.mark.parametrize("size", COUNTS)
def test_parameter_counts_are_the_published(size):
  def count(**options):
    model = MODELS[f"albert_{size}"](2, **options)
    params = tiny_text.shapes(model)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    sizes = jax.tree.map(lambda leaf: leaf.size, params)
    total, head = (sum(jax.tree.leaves(s)) for s in (sizes, sizes["head"]))
    return total - head, total

  body, total = count(version="v1")
  assert (body, total) == COUNTS[size]
  if size == "base":
    bare, _ = count(pooling="cls", compute_dtype=jnp.bfloat16)
    assert bare == 11_092_992


@pytest.mark.slow
def test_base_runs_as_a_student():
  model = MODELS["albert_base"](2 * 10)
  inputs = {"input_ids": jnp.array([[2, 29_999, 3, 0], [2, 7, 8, 3]])}
  params, _ = jax.jit(model.init)(jax.random.key(0), inputs)
  outputs, _ = jax.jit(model.apply)(params, {}, inputs)
  chex.assert_shape(outputs.embeddings, (2, 768))
  chex.assert_shape(outputs.logits, (2, 20))
  chex.assert_tree_all_finite(outputs)
  layer = params["encoder"]["layer"]
  words = params["encoder"]["word_embeddings"]["embedding"]
  for kernel in (words, layer["ffn"]["kernel"], params["head"]["kernel"]):
    np.testing.assert_allclose(np.std(kernel), 0.02, rtol=0.02)
  assert not np.any(layer["ffn"]["bias"])


# --- What is computed ---------------------------------------------------------


def test_programs_do_not_grow_with_depth(inputs):
  def equations(num_layers, **options):
    config = dataclasses.replace(DROPOUT, num_layers=num_layers)
    model = albert(config, 3, **options)

    def loss(params):
      key = jax.random.key(0)
      outputs, _ = model.apply(params, {}, inputs, train=True, key=key)
      return jnp.sum(outputs.logits)

    jaxpr = jax.make_jaxpr(jax.grad(loss))(tiny_text.params()).jaxpr
    return sum(1 for _ in jaxprs.equations(jaxpr))

  for options in ({}, {"remat": True}):
    assert 100 < equations(2, **options) == equations(12, **options)


def test_attention_is_jax_nn_with_a_full_mask(inputs, monkeypatch):
  calls = []
  attention = jax.nn.dot_product_attention

  def listen(query, key, value, *, mask, implementation):
    calls.append((query.shape, np.shape(mask), implementation))
    return attention(query, key, value, mask=mask)

  monkeypatch.setattr(jax.nn, "dot_product_attention", listen)
  model = albert(CONFIG, 3, attention_implementation="cudnn")
  jax.eval_shape(model.apply, tiny_text.params(), {}, inputs)
  # cuDNN refuses the mask [B, 1, 1, L].
  assert {*calls} == {((3, 7, 2, 4), (3, 1, 7, 7), "cudnn")}
  calls.clear()
  ids = {"input_ids": inputs["input_ids"]}
  jax.eval_shape(model.apply, tiny_text.params(), {}, ids)
  assert {*calls} == {((3, 7, 2, 4), (), "cudnn")}


# --- Padding ------------------------------------------------------------------


def test_padding_has_no_influence(inputs):
  inputs = jax.device_get(inputs)
  plain = tiny_text.outputs(CONFIG, inputs)
  tokens, types = inputs["attention_mask"] > 0, inputs["token_type_ids"]
  changed = {
    **inputs,
    "input_ids": np.where(tokens, inputs["input_ids"], 13),
    "token_type_ids": np.where(tokens, types, 1 - types),
  }
  chex.assert_trees_all_equal(tiny_text.outputs(CONFIG, changed), plain)
  longer = {k: np.pad(v, [(0, 0), (0, 3)]) for k, v in inputs.items()}
  chex.assert_trees_all_close(
    tiny_text.outputs(CONFIG, longer), plain, atol=1e-5
  )
  full = {**inputs, "attention_mask": np.ones_like(types)}
  difference = tiny_text.outputs(CONFIG, full).logits - plain.logits
  assert np.all(np.abs(difference[1:]).max(1) > 1e-3)
  np.testing.assert_allclose(difference[0], 0, atol=1e-6)


# --- BERT: pooling, positions and token types ---------------------------------


def test_the_mean_is_over_tokens():
  config = dataclasses.replace(BERT, pooling="mean")
  inputs = tiny_text.inputs()
  mean = tiny_text.outputs(config, inputs).embeddings
  cls = dataclasses.replace(config, pooling="cls")
  np.testing.assert_allclose(
    tiny_text.outputs(cls, inputs).embeddings[2], mean[2], atol=1e-6
  )
  padding = np.asarray(inputs["attention_mask"]) == 0
  ids = np.where(padding, 13, inputs["input_ids"])  # Read as any other token.
  changed = tiny_text.outputs(config, {**inputs, "input_ids": ids}).embeddings
  np.testing.assert_array_equal(changed, mean)
  empty = {**inputs, "attention_mask": jnp.zeros_like(inputs["input_ids"])}
  assert not np.any(tiny_text.outputs(config, empty).embeddings)


def test_positions_of_a_roberta_skip_padding():
  ids = jnp.array([[5, 6, 7, 1, 1], [1, 5, 1, 6, 7]])
  inputs = {"input_ids": ids, "attention_mask": (ids != 1).astype(jnp.int32)}
  config = dataclasses.replace(ROBERTA, pooling="mean")
  first, second = tiny_text.outputs(config, inputs).embeddings
  np.testing.assert_allclose(first, second, atol=1e-6)
  with_columns = dataclasses.replace(
    BERT, pooling="mean", type_vocab_size=1, max_positions=12
  )
  first, second = tiny_text.outputs(with_columns, inputs).embeddings
  assert np.max(np.abs(np.subtract(first, second))) > 1e-2


def test_a_model_without_token_types_ignores_them():
  inputs = tiny_text.inputs()
  without = {k: v for k, v in inputs.items() if k != "token_type_ids"}
  chex.assert_trees_all_equal(
    tiny_text.outputs(tiny_text.DISTILBERT, inputs),
    tiny_text.outputs(tiny_text.DISTILBERT, without),
  )


def test_batches_can_be_sharded():
  inputs = tiny_text.inputs(lengths=(7, 4, 1, 2, 3, 4, 5, 6))
  plain = tiny_text.outputs(BERT, inputs)
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.NamedSharding(mesh, jax.P("data"))
  apply = tiny_text.apply(BERT)
  sharded, _ = apply(tiny_text.params(BERT), {}, jax.device_put(inputs, rows))
  assert sharded.logits.sharding.is_equivalent_to(rows, 2)
  chex.assert_trees_all_close(sharded, plain, atol=1e-5)


# --- Precision ----------------------------------------------------------------


def test_bfloat16_is_near_float32(inputs):
  exact, rough = (
    tiny_text.outputs(CONFIG, inputs, compute_dtype=dtype)
    for dtype in ("float32", "bfloat16")
  )
  assert rough.embeddings.dtype == jnp.bfloat16
  assert rough.logits.dtype == jnp.float32
  error = np.max(np.abs(exact.logits - rough.logits))
  assert 0 < error < 0.05 * np.max(np.abs(exact.logits))


@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_keeps_norms_and_softmax_in_float32(inputs, train):
  model = albert(DROPOUT, 3, compute_dtype=jnp.bfloat16)

  def apply(params):
    key = jax.random.key(0)
    return model.apply(params, {}, inputs, train=train, key=key)[0]

  dtypes = {}
  jaxpr = jax.make_jaxpr(apply)(tiny_text.params()).jaxpr
  for equation in jaxprs.equations(jaxpr):
    for operand in equation.invars[:1]:
      name = equation.primitive.name
      dtypes.setdefault(name, []).append(operand.aval.dtype)
  assert dtypes["rsqrt"] == [jnp.float32] * 3  # The program holds one layer.
  assert dtypes["exp"] == [jnp.float32]
  assert dtypes["dot_general"].count(jnp.float32) == 1  # The head.
  assert dtypes["dot_general"].count(jnp.bfloat16) == 10


# --- Training -----------------------------------------------------------------

# The one dropout that changes the path of the computation.
QUIET = dataclasses.replace(CONFIG, classifier_dropout=0.0)
ATTENTION = dataclasses.replace(QUIET, attention_dropout=0.3)
RATES = "hidden_dropout", "attention_dropout", "classifier_dropout"


@pytest.mark.parametrize(
  ("config", "rates"), [*((CONFIG, (rate,)) for rate in RATES), (BERT, RATES)]
)
def test_dropout_is_for_training_and_follows_the_key(inputs, config, rates):
  quiet = dataclasses.replace(config, **dict.fromkeys(RATES, 0.0))
  config = dataclasses.replace(quiet, **dict.fromkeys(rates, 0.5))
  off = tiny_text.outputs(config, inputs, seed=1)
  chex.assert_trees_all_close(
    off, tiny_text.outputs(quiet, inputs, train=True), rtol=1e-5, atol=1e-6
  )
  first, again, other = (
    tiny_text.outputs(config, inputs, train=True, seed=seed).embeddings
    for seed in (1, 1, 2)
  )
  chex.assert_trees_all_equal(first, again)
  for different in (other, off.embeddings):
    assert np.all(np.abs(first - different).max(1) > 1e-3)


def test_each_layer_drops_its_own(inputs, monkeypatch):
  masks = []
  bernoulli = jax.random.bernoulli

  def listen(*args, **kwargs):
    mask = bernoulli(*args, **kwargs)
    jax.debug.callback(lambda mask: masks.append(np.array(mask)), mask)
    return mask

  monkeypatch.setattr(jax.random, "bernoulli", listen)
  apply = jax.jit(albert(DROPOUT, 3).apply, static_argnames="train")
  key = jax.random.key(0)
  apply(tiny_text.params(), {}, inputs, train=True, key=key)
  jax.effects_barrier()
  # Token embeddings; two and the attention weights in each of three layers;
  # the classifier.
  layers = [(3, 2, 7, 7)] * 3 + [(3, 7, 8)] * 6
  assert sorted(mask.shape for mask in masks) == sorted(
    [(3, 7, 6), *layers, (3, 8)]
  )
  assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_training_embeddings_are_after_the_dropout(inputs):
  config = dataclasses.replace(CONFIG, classifier_dropout=0.5)
  off = tiny_text.outputs(config, inputs).embeddings
  on = tiny_text.outputs(config, inputs, train=True, seed=0)
  kept = on.embeddings != 0
  assert 0.2 < np.mean(kept) < 0.8
  np.testing.assert_allclose(
    on.embeddings, np.where(kept, 2 * off, 0), atol=1e-6
  )
  head = jax.device_get(tiny_text.params()["head"])
  np.testing.assert_allclose(
    on.logits, on.embeddings @ head["kernel"] + head["bias"], atol=1e-5
  )


def test_attention_with_dropout_equals_the_fused(inputs):
  # At a rate that drops nothing, training still takes the explicit path.
  config = dataclasses.replace(QUIET, attention_dropout=1e-9)
  chex.assert_trees_all_close(
    tiny_text.outputs(config, inputs, train=True, seed=0),
    tiny_text.outputs(QUIET, inputs),
    atol=1e-5,
  )


@pytest.mark.parametrize(
  "config", [BERT, pytest.param(ATTENTION, marks=pytest.mark.slow)]
)
def test_remat_changes_neither_value_nor_gradient(inputs, config):
  plain, remat = (
    tiny_text.loss_and_gradient(config, inputs, train=True, remat=remat)
    for remat in (False, True)
  )
  assert all(np.any(leaf) for leaf in jax.tree.leaves(plain))
  chex.assert_trees_all_close(plain, remat, rtol=1e-5, atol=1e-6)


def test_remat_computes_the_layers_again(inputs):
  def products(remat):
    def loss(params):
      model = albert(CONFIG, 3, remat=remat)
      return jnp.sum(model.apply(params, {}, inputs)[0].logits)

    jaxpr = jax.make_jaxpr(jax.grad(loss))(tiny_text.params()).jaxpr
    names = [e.primitive.name for e in jaxprs.equations(jaxpr)]
    return names.count("dot_general")

  assert products(True) > products(False)


@pytest.mark.parametrize(
  ("config", "dtype"),
  [
    (ATTENTION, "float32"),
    (dataclasses.replace(ROBERTA, pooling="mean"), "bfloat16"),
  ],
)
def test_rows_of_padding_alone_have_finite_gradients(config, dtype):
  inputs = tiny_text.inputs(lengths=(0, 3), length=4, padding_id=1)
  del inputs["token_type_ids"]
  chex.assert_tree_all_finite(
    tiny_text.loss_and_gradient(config, inputs, train=True, compute_dtype=dtype)
  )


# --- What is refused ----------------------------------------------------------

IDS = jnp.ones([2, 4], jnp.int32)


@pytest.mark.parametrize(
  ("inputs", "error", "message"),
  [
    (IDS, ValueError, r"'input_ids'.*got ArrayImpl"),
    ({}, ValueError, r"'input_ids'.*got \[\]"),
    ({"input_ids": IDS, "position_ids": IDS}, ValueError, "'position_ids'"),
    ({"input_ids": IDS[0]}, ValueError, r"input_ids.*\[B, L\].*\(4,\)"),
    ({"input_ids": IDS * 1.0}, TypeError, r"input_ids.*float32"),
    (
      {"input_ids": IDS, "attention_mask": IDS > 0},
      TypeError,
      r"attention_mask.*bool",
    ),
    (
      {"input_ids": IDS, "attention_mask": IDS[:, 1:]},
      ValueError,
      r"attention_mask.*\(2, 4\).*\(2, 3\)",
    ),
    (
      {"input_ids": jnp.ones([2, 11], int)},
      ValueError,
      r"10.*\(max_positions\).*11",
    ),
    ({"input_ids": jnp.ones([2, 0], int)}, ValueError, r"max_positions.*0"),
    ({"input_ids": IDS * 20}, ValueError, r"input_ids.*\[0, 20\).*20"),
    (
      {"input_ids": IDS, "token_type_ids": IDS * 2},
      ValueError,
      r"token_type_ids.*\[0, 2\)",
    ),
  ],
)
def test_inputs_are_checked(inputs, error, message):
  with pytest.raises(error, match=message):
    albert(CONFIG, 3).apply(tiny_text.params(), {}, inputs)


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint32"])
def test_ids_out_of_range_are_nan_under_a_trace(inputs, dtype):
  for name in ("input_ids", "token_type_ids"):
    for value in (-1, -20, 20, 100):
      wrong = np.array(inputs[name])
      wrong[0, 0] = value
      wrong = wrong.astype(dtype)
      logits = tiny_text.outputs(CONFIG, {**inputs, name: wrong}).logits
      assert np.all(np.isnan(logits[0])), (name, value)
      assert np.all(np.isfinite(logits[1:]))


def test_a_table_of_one_row_has_one_id():
  variables = {"params": {"embedding": jnp.ones([1, 4])}}
  rows = _transformer.Embedding(1, 4).apply(variables, jnp.array([0, 1, -1]))
  np.testing.assert_array_equal(jnp.isnan(rows).all(axis=1), [0, 1, 1])
