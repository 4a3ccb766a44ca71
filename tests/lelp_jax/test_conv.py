import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lelp_jax.models import _conv

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _convolution(strides, padding, **options):
  def function(x, kernel):
    return lax.conv_general_dilated(
      x, kernel, strides, padding, dimension_numbers=_LAYOUT, **options
    )

  return function


def _value_and_gradients(function, x, kernel):
  y, pullback = jax.vjp(function, x, kernel)
  return y, *pullback(jnp.cos(y))


def _assert_equal(function, expected, x, kernel):
  eps = np.finfo(x.dtype).eps
  for got, want in zip(
    jax.jit(lambda *a: _value_and_gradients(function, *a))(x, kernel),
    jax.jit(lambda *a: _value_and_gradients(expected, *a))(x, kernel),
    strict=True,
  ):
    assert got.dtype == want.dtype == x.dtype
    np.testing.assert_allclose(
      got, want, rtol=0, atol=20 * eps * np.abs(want).max()
    )


@pytest.mark.parametrize(
  ("size", "strides", "padding", "dtype"),
  [
    ((5, 6), (1, 1), "SAME", np.float64),
    ((5, 6), (2, 2), "SAME", np.float32),
    ((7, 4), (2, 1), "VALID", np.float64),
    ((7, 4), (2, 2), ((0, 1), (0, 1)), np.float64),
    ((8, 7), (3, 2), ((2, 0), (1, 1)), np.float64),
    ((1, 1), (1, 1), "SAME", np.float64),
  ],
)
def test_depthwise_is_xla_s_convolution(rng, size, strides, padding, dtype):
  with jax.enable_x64(dtype == np.float64):
    x = rng.normal(size=(3, *size, 4)).astype(dtype)
    kernel = rng.normal(size=(3, 3, 1, 4)).astype(dtype)
    options = {"dimension_numbers": _LAYOUT, "feature_group_count": 4}
    _assert_equal(
      lambda x, k: _conv.depthwise(x, k, strides, padding, **options),
      _convolution(strides, padding, feature_group_count=4),
      x,
      kernel,
    )


def test_depthwise_of_stacked_kernels(rng):
  x = rng.normal(size=(2, 3, 5, 5, 4)).astype(np.float32)
  kernel = rng.normal(size=(2, 3, 3, 1, 4)).astype(np.float32)
  options = {"dimension_numbers": _LAYOUT, "feature_group_count": 4}
  _assert_equal(
    jax.vmap(lambda x, k: _conv.depthwise(x, k, (2, 2), "SAME", **options)),
    jax.vmap(_convolution((2, 2), "SAME", feature_group_count=4)),
    x,
    kernel,
  )


def test_depthwise_sums_narrow_numbers_in_float32():
  # In bfloat16, with 1 / 128 from 1 to the next number, every partial sum
  # would be rounded to 1.
  kernel = jnp.full([3, 3, 1, 1], 1 / 512, jnp.bfloat16).at[0, 0].set(1)
  options = {"dimension_numbers": _LAYOUT, "feature_group_count": 1}
  y = jax.jit(lambda x, k: _conv.depthwise(x, k, (1, 1), "VALID", **options))(
    jnp.ones([1, 3, 3, 1], jnp.bfloat16), kernel
  )
  assert y.dtype == jnp.bfloat16
  assert float(y[0, 0, 0, 0]) == 1 + 8 / 512


@pytest.mark.parametrize(
  ("platform", "has_convolution"), [("cpu", False), ("tpu", True)]
)
def test_depthwise_is_chosen_by_platform(platform, has_convolution):
  def gradient(x, kernel):
    options = {"dimension_numbers": _LAYOUT, "feature_group_count": 4}

    def total(x, kernel):
      return _conv.depthwise(x, kernel, (1, 1), "SAME", **options).sum()

    return jax.grad(total, (0, 1))(x, kernel)

  shapes = [
    jax.ShapeDtypeStruct(shape, np.float32)
    for shape in ((2, 5, 5, 4), (3, 3, 1, 4))
  ]
  traced = jax.jit(gradient).trace(*shapes)
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  assert ("stablehlo.convolution" in text) == has_convolution


@pytest.mark.parametrize(
  ("strides", "dtype"), [((1, 1), np.float32), ((2, 3), np.float64)]
)
def test_pointwise_is_xla_s_convolution(rng, strides, dtype):
  with jax.enable_x64(dtype == np.float64):
    x = rng.normal(size=(3, 5, 7, 4)).astype(dtype)
    kernel = rng.normal(size=(1, 1, 4, 6)).astype(dtype)
    _assert_equal(
      lambda x, k: _conv.pointwise(x, k, strides, "SAME"),
      _convolution(strides, "SAME"),
      x,
      kernel,
    )
