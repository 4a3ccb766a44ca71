"""Reading jaxprs: what a CPU cannot show, since it ignores precision."""

import jax
from jax.extend.core import jaxprs_in_params


def equations(jaxpr):
  """All equations of a jaxpr and of those inside it."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jaxprs_in_params(equation.params):
      yield from equations(inner)


def products(function, *args):
  """The equations of all matrix products of a function."""
  jaxpr = jax.make_jaxpr(function)(*args).jaxpr
  return [
    equation
    for equation in equations(jaxpr)
    if "dot_general" in equation.primitive.name
  ]


def assert_highest(products):
  """Asserts that matrix products ask for precision HIGHEST.

  A TPU's default is one pass of bfloat16, which loses the digits that the
  other tests measure on a CPU, where the default loses none.
  """
  highest = jax.lax.Precision.HIGHEST
  for equation in products:
    assert equation.params["precision"] in (highest, (highest, highest)), (
      equation
    )
