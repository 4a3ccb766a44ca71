"""Floating point operations of a function, counted in its jaxpr."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def matmul_flops(function: Callable[..., Any], *arguments: Any) -> int:
  """Counts the operations of matrix products and convolutions.

  A multiplication and an addition count as two operations. As is usual,
  elementwise operations are not counted, since memory limits their speed.

  Args:
    function: Any function of arrays.
    *arguments: Arrays or `jax.ShapeDtypeStruct`s.

  Returns:
    The number of operations of one call.
  """
  return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> int:
  return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
  name, params = equation.primitive.name, equation.params
  if name == "dot_general":
    (contracted, _), _ = params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    inner = math.prod(shape[axis] for axis in contracted)
    return 2 * inner * equation.outvars[0].aval.size
  if name == "conv_general_dilated":
    kernel = equation.invars[1].aval
    features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
    return 2 * (kernel.size // features) * equation.outvars[0].aval.size
  times = params.get("length", 1) if name == "scan" else 1
  return times * sum(map(_count, jaxprs_in_params(params)))
