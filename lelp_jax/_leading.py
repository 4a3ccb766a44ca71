r"""The leading eigenvectors of a wide covariance, without a full decomposition.

A full decomposition takes some ten times :math:`D^3` operations, most of them
bound by memory. The few directions that fitting keeps can be had from products
with a thin block: Chebyshev-filtered subspace iteration (Zhou, Saad, Tiago and
Chelikowsky, 2006).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_product = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)
# A full decomposition of narrower matrices is as fast.
_SMALLEST_WIDTH = 1024
# Sweeps end when one adds less than the first share to the captured variance,
# or when the next one is expected to add less than the second. The share that
# is not captured is then less than 1e-5, for flat spectra too.
_LEAST_GAIN = 5e-7
_LEAST_EXPECTED = 2e-6
_MOST_SWEEPS = 24
_HIGHEST_DEGREE = 24
_MOST_AMPLIFIED = 1e6  # Of the first direction over the last, in one sweep.
_EXACT = 1e-5  # The residual of an eigenvector over its eigenvalue.


def is_faster(width: int, number: int) -> bool:
  """Returns whether `leading` beats a full decomposition at this size."""
  return width >= _SMALLEST_WIDTH and 8 * number <= width


class Leading(NamedTuple):
  """Leading eigenpairs of a matrix.

  Attributes:
    values: By decreasing size, ``[K]``.
    vectors: In columns, ``[D, K]``.
    is_accurate: Whether they capture all but 1e-5 of the variance that the
      exact ones capture, bool.
    size: Vectors in the block: the basis must leave room for as many.
  """

  values: jax.Array
  vectors: jax.Array
  is_accurate: jax.Array
  size: int


class _Block(NamedTuple):
  """Approximate eigenpairs: values, vectors, and the images of the vectors."""

  values: jax.Array
  vectors: jax.Array
  images: jax.Array


def leading(matrix: jax.Array, number: int, basis: jax.Array) -> Leading:
  """Finds the leading eigenvectors of a matrix projected off a basis.

  Each sweep applies a polynomial of the projected matrix to a block of
  vectors: bounded on the eigenvalues below those of the block, and as large as
  possible above them. That turns the block towards the leading eigenvectors.

  Args:
    matrix: Symmetric, with no eigenvalue below zero by more than rounding,
      ``[D, D]``. It is projected inside the products, which costs less than
      projecting all of it.
    number: Number of eigenvectors, K.
    basis: Orthonormal columns to project off, or zero ones, ``[D, C]``.

  Returns:
    The eigenpairs. They depend on the arguments alone: the block starts at
    fixed random numbers.
  """
  width = matrix.shape[0]
  # Spare vectors widen the gap between the wanted eigenvalues and the rest.
  size = min(width, 32 * -(-(number + number // 4 + 32) // 32))

  def apply(vectors: jax.Array) -> jax.Array:
    return _project_off(_product(matrix, vectors), basis)

  def sweep(state):
    old, _, index = state
    filtered, growth = _filtered(apply, old)
    new = _solved(apply, orthonormal(filtered, basis))
    captured = jnp.sum(new.values[:number])
    gain = captured - jnp.sum(old.values[:number])
    # The wanted directions grew beside those outside of the block by this
    # factor, and what is missing of them shrank by it.
    factor = jnp.exp(growth(new.values[number - 1]) - growth(new.values[-1]))
    expected = gain / jnp.maximum(factor - 1, 1e-3)
    is_done = gain <= _LEAST_GAIN * captured
    is_done |= expected <= _LEAST_EXPECTED * captured
    return new, is_done, index + 1

  def goes_on(state):
    _, is_done, index = state
    return ~is_done & (index < _MOST_SWEEPS)

  start = jax.random.normal(jax.random.key(0), (width, size), matrix.dtype)
  block = _solved(apply, orthonormal(start, basis))
  block, is_done, _ = jax.lax.while_loop(
    goes_on, sweep, (block, jnp.array(False), 0)
  )
  return Leading(
    block.values[:number], block.vectors[:, :number], is_done, size
  )


def _solved(
  apply: Callable[[jax.Array], jax.Array], vectors: jax.Array
) -> _Block:
  """Eigenpairs of the matrix inside the span of orthonormal vectors."""
  images = apply(vectors)
  inner = _product(vectors.T, images)
  values, rotation = jnp.linalg.eigh((inner + inner.T) / 2)
  values, rotation = values[::-1], rotation[:, ::-1]
  return _Block(values, _product(vectors, rotation), _product(images, rotation))


def _filtered(
  apply: Callable[[jax.Array], jax.Array], block: _Block
) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
  """Applies a Chebyshev polynomial that damps [0, the block's last value].

  Vectors that are exact already are left as they are and kept out of the
  others: without that, a few large eigenvalues above a flat rest would allow
  only a low degree.

  Returns:
    The vectors, and the logarithm of the polynomial as a function of the
    eigenvalue.
  """
  # A block past the rank of the matrix has a last value of rounding only.
  cutoff = jnp.maximum(block.values[-1], 1e-6 * block.values[0])
  cutoff = jnp.where(cutoff > 0, cutoff, 1)
  residual = block.images - block.values[None] * block.vectors
  is_exact = jnp.linalg.norm(residual, axis=0) <= _EXACT * block.values
  exact = jnp.where(is_exact[None], block.vectors, 0)

  # The highest degree that leaves the last vectors more than roundings of the
  # first: outside of [-1, 1], T_m(x) = cosh(m arccosh(x)).
  largest = jnp.max(jnp.where(is_exact, 0, block.values))

  def rate(value: jax.Array) -> jax.Array:
    return jnp.arccosh(jnp.maximum(2 * value / cutoff - 1, 1))

  degree = jnp.round(
    jnp.arccosh(_MOST_AMPLIFIED) / jnp.maximum(rate(largest), 0.1)
  )
  degree = jnp.where(largest > cutoff, jnp.clip(degree, 1, _HIGHEST_DEGREE), 1)

  def mapped(images: jax.Array, vectors: jax.Array) -> jax.Array:
    return 2 / cutoff * images - vectors

  def recurrence(_, pair):
    before, last = pair
    following = 2 * mapped(apply(last), last) - before
    return last, _project_off(following, exact)

  first = block.vectors, mapped(block.images, block.vectors)
  stop = degree.astype(jnp.int32)
  _, last = jax.lax.fori_loop(1, stop, recurrence, first)
  vectors = jnp.where(is_exact[None], block.vectors, last)
  return vectors, lambda value: degree * rate(value)


def orthonormal(vectors: jax.Array, basis: jax.Array) -> jax.Array:
  """An orthonormal basis of the span of vectors, off another one.

  Made by products, which take a fifth of the time of a QR decomposition. A
  vector that depends on the others is stretched by at most a thousand in each
  round, so that it may need a third.
  """

  def one_round(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    vectors = _project_off(vectors, basis)
    squares, axes = jnp.linalg.eigh(_product(vectors.T, vectors))
    factors = jax.lax.rsqrt(jnp.maximum(squares, 1e-6 * squares[-1]))
    return _product(vectors, axes * factors[None]), squares[0]

  vectors = vectors / jnp.linalg.norm(vectors, axis=0, keepdims=True)
  vectors, least = one_round(one_round(vectors)[0])
  return jax.lax.cond(
    least > 0.5, lambda: vectors, lambda: one_round(vectors)[0]
  )


def _project_off(columns: jax.Array, basis: jax.Array) -> jax.Array:
  """Removes the components inside the basis from each column."""
  return columns - _product(basis, _product(basis.T, columns))
