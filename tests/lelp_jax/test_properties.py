"""Properties of every public function, over the table of function_cases.py."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from lelp_jax import baselines
from tests import jaxprs
from tests.lelp_jax.function_cases import BATCH
from tests.lelp_jax.function_cases import CASES
from tests.lelp_jax.function_cases import in_dtype

every_case = pytest.mark.parametrize("name", CASES)
every_run = pytest.mark.parametrize(
  "name", [name for name, case in CASES.items() if not case.composed]
)


def test_every_public_function_is_here():
  public = {
    name
    for module in (lelp_jax, baselines)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
  }
  assert public <= set(CASES)


@functools.cache
def compiled(name):
  """The results of a case, and gradients to its arrays and scalars."""
  case = CASES[name]

  def everything(arrays, scalars):
    def total(inputs):
      results = case.call(**{**arrays, **inputs})
      leaves = [
        jnp.sum(jnp.where(jnp.isneginf(leaf), 0, leaf) ** 2)
        for leaf in jax.tree.leaves(results)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
      ]
      return sum(leaves), results

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
  return [leaf for leaf in jax.tree.leaves(tree) if leaf.dtype.kind == "f"]


def has_nan(tree):
  return any(np.isnan(leaf).any() for leaf in floats(tree))


@every_run
def test_nan_in_gives_nan_out(name):
  case = CASES[name]
  results, gradients = run(name, case.arrays)
  assert not has_nan(results)
  assert not has_nan(gradients)
  for argument in case.nan:
    spoiled = case.arrays[argument].copy()
    counts = ~case.masked.get(argument, np.zeros(spoiled.shape, bool))
    spoiled[tuple(np.argwhere(counts)[0])] = np.nan
    results, gradients = run(name, {**case.arrays, argument: spoiled})
    assert has_nan(results), argument
    assert has_nan(gradients) or not gradients, argument


@pytest.mark.parametrize(
  "name", [name for name, case in CASES.items() if case.masked]
)
@pytest.mark.parametrize("filler", [np.nan, np.inf, -np.inf, 1e30])
def test_masked_entries_never_matter(name, filler):
  case = CASES[name]
  expected = run(name, case.arrays)
  filled = dict(case.arrays)
  for argument, mask in case.masked.items():
    number = filler if filled[argument].dtype.kind == "f" else -7
    filled[argument] = np.where(mask, number, filled[argument]).astype(
      filled[argument].dtype
    )
  jax.tree.map(np.testing.assert_array_equal, run(name, filled), expected)


_KEEP_DTYPE = "binary_head", "coordinate_directions", "subspaces_from_principal"


def _of_moments(case):
  """Moments and banks have the dtype that they were made with."""
  return "count" in case.arrays or "student_rows" in case.arrays


@every_case
def test_results_have_the_dtype_of_the_arrays(name):
  case = CASES[name]
  with jax.enable_x64(True):
    for dtype, expected in (
      (np.float32, np.float32),
      (np.float64, np.float64),
      (jnp.bfloat16, np.float32),
    ):
      if dtype == jnp.bfloat16 and _of_moments(case):
        continue
      for scalar in (np.float64, np.float32, float):
        scalars = {key: scalar(value) for key, value in case.scalars.items()}
        results = jax.eval_shape(
          lambda arrays, scalars=scalars: case.call(**arrays, **scalars),
          in_dtype(case.arrays, dtype),
        )
        if name in _KEEP_DTYPE:
          expected = dtype
        if name.startswith(("metrics.acc", "metrics.agr")):
          expected = np.float32
        for leaf in jax.tree.leaves(results):
          if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert leaf.dtype == expected, (dtype, scalar)


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
  "reshape",
  "select_n",
  "slice",
  "squeeze",
  "stop_gradient",
  "transpose",
  "while",
}


@pytest.mark.parametrize("name", [n for n in CASES if n not in _KEEP_DTYPE])
def test_bfloat16_is_read_exactly(name):
  case = CASES[name]
  if _of_moments(case):
    return
  low = in_dtype(case.arrays, jnp.bfloat16)
  jaxpr = jax.make_jaxpr(lambda arrays: case.call(**arrays, **case.scalars))
  rounded = {
    equation.primitive.name
    for equation in jaxprs.equations(jaxpr(low).jaxpr)
    if any(x.aval.dtype == jnp.bfloat16 for x in equation.invars)
  }
  assert rounded <= _EXACT


@every_case
def test_strict_promotion(name):
  case = CASES[name]
  with jax.numpy_dtype_promotion("strict"):
    jax.eval_shape(compiled(name), case.arrays, case.scalars)
    if not _of_moments(case):
      low = in_dtype(case.arrays, jnp.bfloat16)
      jax.eval_shape(lambda arrays: case.call(**arrays, **case.scalars), low)


@every_case
def test_products_ask_for_full_precision(name):
  case = CASES[name]
  products = jaxprs.products(compiled(name), case.arrays, case.scalars)
  assert bool(products) == case.products
  jaxprs.assert_highest(products)


@pytest.mark.parametrize(
  "name", [name for name, case in CASES.items() if case.batch]
)
def test_explicit_mesh_and_shard_map(name):
  """Plain `jax.make_mesh` and `jax.shard_map`, as people write them."""
  case = CASES[name]
  mesh = jax.make_mesh((8,), ("data",))
  assert mesh.axis_types == (jax.sharding.AxisType.Explicit,)
  rows = jax.NamedSharding(mesh, jax.P("data"))
  sharded = {
    key: jax.device_put(array, rows if key in case.batch else None)
    for key, array in case.arrays.items()
  }

  def local(batch, rest):
    results = case.call(**batch, **rest, **case.scalars)
    return jax.tree.map(lambda x: x if case.per_row else x[None], results)

  batch = {key: sharded[key] for key in case.batch}
  rest = {key: case.arrays[key] for key in case.arrays if key not in batch}
  in_shards = jax.jit(
    jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(jax.P("data"), jax.P()),
      out_specs=jax.P("data"),
    )
  )
  if case.composed:
    jax.eval_shape(compiled(name), sharded, case.scalars)
    jax.eval_shape(in_shards, batch, rest)
    return
  expected = run(name, case.arrays)
  results = compiled(name)(sharded, case.scalars)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6),
    results,
    expected,
  )
  if case.per_row:
    first = jax.tree.leaves(results)[0]
    assert first.sharding.spec[0] == "data"
  mapped = jax.tree.map(np.asarray, in_shards(batch, rest))
  if case.per_row:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6),
      mapped,
      expected[0],
    )
    return
  part = {key: case.arrays[key][BATCH // 8 :][: BATCH // 8] for key in batch}
  second = jax.tree.map(
    np.asarray, jax.jit(case.call)(**part, **rest, **case.scalars)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[1], b, rtol=2e-5, atol=2e-6),
    mapped,
    second,
  )


@every_run
def test_maps_like_a_loop(name):
  case = CASES[name]
  stacked = {
    key: np.stack([array, array[::-1] if key in case.batch else array])
    for key, array in case.arrays.items()
  }
  scalars = {key: np.float32([v, v]) for key, v in case.scalars.items()}
  mapped = jax.jit(jax.vmap(lambda a, s: case.call(**a, **s)))(stacked, scalars)
  for i in range(2):
    one, _ = run(name, {key: array[i] for key, array in stacked.items()})
    jax.tree.map(
      lambda a, b, i=i: np.testing.assert_allclose(
        a[i], b, rtol=2e-5, atol=2e-5
      ),
      mapped,
      one,
    )
