"""Properties of every public function, over the table of function_cases.py."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from lelp_jax import baselines
from lelp_jax import calibration
from lelp_jax import metrics
from tests import jaxprs
from tests.lelp_jax.function_cases import CASES
from tests.lelp_jax.function_cases import in_dtype
from tests.lelp_jax.function_cases import leaves_of
from tests.lelp_jax.function_cases import with_leaves


def cases_where(condition):
  """Parametrizes a test over the cases of which something is true."""
  return pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if condition(case)]
  )


every_case = cases_where(lambda case: True)
every_run = cases_where(lambda case: not case.composed)


def test_every_public_function_is_here():
  public = {
    name
    for module in (lelp_jax, baselines, calibration, metrics)
    for name, value in inspect.getmembers(module, inspect.isfunction)
    if name in getattr(module, "__all__", [name]) and not name.startswith("_")
  }
  # These two take dicts of `Mean`.
  assert public - {"merge", "compute"} <= set(CASES)


@functools.cache
def compiled(name):
  """The results of a case, and gradients to its arguments and scalars.

  All is traced under strict promotion, which refuses to mix dtypes.
  """
  case = CASES[name]

  @jax.numpy_dtype_promotion("strict")
  def everything(arrays, scalars):
    def total(inputs):
      results = case.call(**{**arrays, **inputs})
      squares = [
        jnp.sum(jnp.where(jnp.isneginf(leaf), 0, leaf) ** 2)
        for leaf in floats(results)
      ]
      return sum(squares), results

    inputs = {name: arrays[name] for name in case.gradients} | scalars
    if not case.gradients:
      return total(inputs)[1], {}
    gradients, results = jax.grad(total, has_aux=True)(inputs)
    return results, gradients

  return jax.jit(everything)


def run(name, arrays):
  """Results and gradients of a case as NumPy arrays."""
  return jax.tree.map(np.asarray, compiled(name)(arrays, CASES[name].scalars))


def floats(tree):
  return [
    leaf
    for leaf in jax.tree.leaves(tree)
    if jnp.issubdtype(leaf.dtype, jnp.floating)
  ]


def has_nan(tree):
  return any(np.isnan(leaf).any() for leaf in floats(tree))


def assert_close(actual, expected):
  """Entries agree, relative to the largest of their array."""

  def check(a, b):
    size = np.max(np.abs(b), initial=1, where=np.isfinite(b))
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-6 * size)

  jax.tree.map(check, actual, expected)


# --- Values ------------------------------------------------------------------


@every_run
def test_nan_in_gives_nan_out(name):
  case = CASES[name]
  results, gradients = run(name, case.arrays)
  assert not has_nan(results)
  assert not has_nan(gradients)
  for leaf, array in leaves_of(case.arrays).items():
    if array.dtype.kind != "f" or leaf in case.unread:
      continue
    counts = ~case.masked.get(leaf, np.zeros(array.shape, bool))
    spoiled = array.copy()
    spoiled[tuple(np.argwhere(counts)[0])] = np.nan
    spoiled = with_leaves(case.arrays, **{leaf: spoiled})
    results, gradients = run(name, spoiled)
    assert has_nan(results), leaf
    assert has_nan(gradients) or not gradients, leaf


@cases_where(lambda case: case.masked)
@pytest.mark.parametrize("filler", [np.nan, np.inf, -np.inf, 1e30])
def test_masked_entries_never_matter(name, filler):
  case = CASES[name]
  filled = {}
  for leaf, mask in case.masked.items():
    array = leaves_of(case.arrays)[leaf]
    number = filler if array.dtype.kind == "f" else -7
    filled[leaf] = np.where(mask, number, array).astype(array.dtype)
  found = run(name, with_leaves(case.arrays, **filled))
  expected = run(name, case.arrays)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


@cases_where(lambda case: case.per_row)
def test_an_empty_batch_gives_an_empty_result(name):
  case = CASES[name]
  batch = {key: case.arrays[key][:0] for key in case.batch}
  arguments = {**case.arrays, **batch, **case.scalars}
  results = jax.eval_shape(lambda given: case.call(**given), arguments)
  assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(results))


@every_run
def test_maps_like_a_loop(name):
  case = CASES[name]
  stacked = {
    key: jax.tree.map(
      lambda x, key=key: np.stack([x, x[::-1] if key in case.batch else x]),
      value,
    )
    for key, value in case.arrays.items()
  }
  scalars = {key: np.float32([v, v]) for key, v in case.scalars.items()}
  mapped = jax.device_get(
    jax.jit(jax.vmap(lambda a, s: case.call(**a, **s)))(stacked, scalars)
  )
  for i in range(2):
    one, _ = run(name, jax.tree.map(lambda x, i=i: x[i], stacked))
    assert_close(jax.tree.map(lambda x, i=i: x[i], mapped), one)


# --- Dtypes ------------------------------------------------------------------

_KEEP_DTYPE = "binary_head", "coordinate_directions", "subspaces_from_principal"
_FLOAT32 = (
  "accuracy",
  "agreement",
  "calibration_bins",
  "expected_calibration_error",
  "macro_f1",
  "matthews_correlation",
)


def of_moments(case):
  """Moments, and what follows from them, have the dtype of their making."""
  return any("." in leaf for leaf in leaves_of(case.arrays)) and (
    "embeddings" not in case.arrays
  )


def assert_floats(name, results, dtype):
  """The results have this dtype, or another one that the function always has.

  Some functions have no float in their results.
  """
  dtypes = {leaf.dtype for leaf in floats(results)}
  if name == "confusion_matrix":
    assert results.dtype == np.int32
  else:
    assert dtypes == {np.dtype("f" if name in _FLOAT32 else dtype)}


@every_case
def test_results_have_the_dtype_of_the_arrays(name):
  case = CASES[name]
  # The scalars have the other dtype, which could become that of the result.
  for dtype, scalar in ((np.float32, np.float64), (np.float64, np.float32)):
    with jax.enable_x64(True):
      scalars = {key: scalar(value) for key, value in case.scalars.items()}
      results = jax.eval_shape(
        lambda arrays, scalars=scalars: case.call(**arrays, **scalars),
        in_dtype(case.arrays, dtype),
      )
    assert_floats(name, results, dtype)


# Nothing else may happen to numbers of 16 bits before they are widened.
_EXACT = {
  "argmax",
  "broadcast_in_dim",
  "concatenate",
  "convert_element_type",
  "copy",
  "eq",
  "gather",
  "jit",
  "ne",
  "remat2",
  "reshape",
  "select_n",
  "slice",
  "squeeze",
  "stop_gradient",
  "transpose",
  "while",
}


@cases_where(lambda case: not of_moments(case))
def test_bfloat16_is_read_exactly(name):
  case = CASES[name]
  low = in_dtype(case.arrays, jnp.bfloat16)
  with jax.numpy_dtype_promotion("strict"):
    jaxpr, results = jax.make_jaxpr(
      lambda arrays: case.call(**arrays, **case.scalars), return_shape=True
    )(low)
  assert_floats(name, results, jnp.bfloat16 if name in _KEEP_DTYPE else "f")
  rounded = {
    equation.primitive.name
    for equation in jaxprs.equations(jaxpr.jaxpr)
    if any(x.aval.dtype == jnp.bfloat16 for x in equation.invars)
  }
  assert rounded <= _EXACT


@every_case
def test_products_ask_for_full_precision(name):
  case = CASES[name]
  products = jaxprs.products(compiled(name), case.arrays, case.scalars)
  assert bool(products) == case.products
  jaxprs.assert_highest(products)


# --- Devices -----------------------------------------------------------------


@cases_where(lambda case: case.batch)
def test_explicit_mesh_and_shard_map(name):
  """Plain `jax.make_mesh` and `jax.shard_map`, as people write them."""
  case = CASES[name]
  mesh = jax.make_mesh((8,), ("data",))
  assert mesh.axis_types == (jax.sharding.AxisType.Explicit,)
  rows = jax.NamedSharding(mesh, jax.P("data"))
  batch = jax.device_put({key: case.arrays[key] for key in case.batch}, rows)
  rest = {key: case.arrays[key] for key in case.arrays if key not in batch}

  shards = batch
  if not case.per_row:
    # The second shard has the rows as they are; the others mix them up.
    shards = {
      key: np.concatenate(
        [np.roll(case.arrays[key], (i - 1) * j, axis=0) for i in range(8)]
      )
      for j, key in enumerate(case.batch, 1)
    }
    shards = jax.device_put(shards, rows)

  def local(batch, rest):
    results = case.call(**batch, **rest, **case.scalars)
    return jax.tree.map(lambda x: x if case.per_row else x[None], results)

  @jax.jit
  def both(batch, shards, rest):
    in_shards = jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(jax.P("data"), jax.P()),
      out_specs=jax.P("data"),
    )
    results = compiled(name)({**batch, **rest}, case.scalars)
    return results, in_shards(shards, rest)

  if case.composed:
    jax.eval_shape(both, batch, shards, rest)
    return
  expected = run(name, case.arrays)
  results, mapped = both(batch, shards, rest)
  assert_close(results, expected)
  if case.per_row:
    assert jax.tree.leaves(results)[0].sharding.spec[0] == "data"
  else:
    mapped = jax.tree.map(lambda x: np.asarray(x)[1], mapped)
  assert_close(mapped, expected[0])
