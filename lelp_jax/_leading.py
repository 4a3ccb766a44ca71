r"""The leading eigenvectors of a wide covariance, without a full decomposition.

A full decomposition takes about :math:`10 D^3` operations, most of them
memory-bound. Fitting keeps only a few directions. Chebyshev-filtered subspace
iteration finds them by products with a thin block of vectors (Zhou, Saad, Tiago
and Chelikowsky, 2006).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_product = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)
# For narrower matrices, a full decomposition is as fast.
_SMALLEST_WIDTH = 1024
# The iteration ends when a sweep increases the captured variance by a share of
# less than _LEAST_GAIN, or when the next one is expected to increase it by less
# than _LEAST_EXPECTED. The share that is not captured is then below 1e-5, for
# flat spectra too.
_LEAST_GAIN = 5e-7
_LEAST_EXPECTED = 2e-6
_MOST_SWEEPS = 24
_HIGHEST_DEGREE = 24
# By how much a sweep may amplify the first direction relative to the last.
_MOST_AMPLIFIED = 1e6
_EXACT = 1e-5  # Relative residual below which an eigenvector has converged.


def is_faster(width: int, number: int) -> bool:
  """Returns whether `leading` beats a full decomposition at this size."""
  return width >= _SMALLEST_WIDTH and 8 * number <= width


class Leading(NamedTuple):
  """Leading eigenpairs of a matrix.

  Attributes:
    values: Eigenvalues in decreasing order, ``[K]``.
    vectors: Eigenvectors in columns, ``[D, K]``.
    is_accurate: Whether the vectors capture all but 1e-5 of the variance that
      the exact ones capture, bool.
    size: Number of vectors in the block. The result is valid only if the
      complement of the basis has at least as many dimensions.
  """

  values: jax.Array
  vectors: jax.Array
  is_accurate: jax.Array
  size: int


class _Block(NamedTuple):
  """Approximate eigenpairs, and the products of the matrix with the vectors."""

  values: jax.Array
  vectors: jax.Array
  images: jax.Array


def leading(matrix: jax.Array, number: int, basis: jax.Array) -> Leading:
  """Finds the leading eigenvectors of a matrix projected off a basis.

  Each sweep multiplies a block of vectors by a polynomial of the projected
  matrix. The polynomial is bounded on the eigenvalues below those of the block
  and grows as fast as possible above them, which turns the block towards the
  leading eigenvectors.

  Args:
    matrix: Symmetric and, up to rounding, positive semidefinite, ``[D, D]``.
      Its products are projected, which costs less than projecting the matrix.
    number: Number of eigenvectors, K.
    basis: Orthonormal columns to project off, or zero ones, ``[D, C]``.

  Returns:
    The eigenpairs. They are deterministic: the block starts from fixed random
    numbers.
  """
  width = matrix.shape[0]
  # Spare vectors widen the gap between the wanted eigenvalues and the rest.
  size = min(width, 32 * -(-(number + number // 4 + 32) // 32))

  def apply(vectors: jax.Array) -> jax.Array:
    return project_off(_product(matrix, vectors), basis)

  def sweep(state):
    old, _, index = state
    filtered, growth = _filtered(apply, old)
    new = _solved(apply, orthonormal(filtered, basis))
    captured = jnp.sum(new.values[:number])
    gain = captured - jnp.sum(old.values[:number])
    # The wanted directions grew by this factor relative to those outside the
    # block, and the variance that they miss shrank by it.
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
  """Returns the eigenpairs of the matrix within a span (Rayleigh-Ritz)."""
  images = apply(vectors)
  inner = _product(vectors.T, images)
  values, rotation = jnp.linalg.eigh((inner + inner.T) / 2)
  values, rotation = values[::-1], rotation[:, ::-1]
  return _Block(values, _product(vectors, rotation), _product(images, rotation))


def _filtered(
  apply: Callable[[jax.Array], jax.Array], block: _Block
) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
  """Applies a Chebyshev polynomial that damps [0, the block's last value].

  Vectors that have converged stay as they are and are projected off the others.
  Otherwise a few large eigenvalues above a flat spectrum would allow only a low
  degree.

  Returns:
    The vectors, and the logarithm of the polynomial as a function of the
    eigenvalue.
  """
  # If the block exceeds the rank of the matrix, its last value is rounding.
  cutoff = jnp.maximum(block.values[-1], 1e-6 * block.values[0])
  cutoff = jnp.where(cutoff > 0, cutoff, 1)
  residual = block.images - block.values[None] * block.vectors
  is_exact = jnp.linalg.norm(residual, axis=0) <= _EXACT * block.values
  exact = jnp.where(is_exact[None], block.vectors, 0)

  # Take the highest degree at which the last vectors still exceed the rounding
  # of the first: outside [-1, 1], T_m(x) = cosh(m arccosh(x)).
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
    return last, project_off(following, exact)

  first = block.vectors, mapped(block.images, block.vectors)
  stop = degree.astype(jnp.int32)
  _, last = jax.lax.fori_loop(1, stop, recurrence, first)
  vectors = jnp.where(is_exact[None], block.vectors, last)
  return vectors, lambda value: degree * rate(value)


def orthonormal(vectors: jax.Array, basis: jax.Array) -> jax.Array:
  """Returns an orthonormal basis of a span, projected off another basis.

  It uses matrix products, which take a fifth of the time of a QR decomposition.
  Each round stretches a vector that nearly depends on the others by at most a
  thousand, so that a third round may be needed.
  """

  def one_round(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    vectors = project_off(vectors, basis)
    squares, axes = jnp.linalg.eigh(_product(vectors.T, vectors))
    factors = jax.lax.rsqrt(jnp.maximum(squares, 1e-6 * squares[-1]))
    return _product(vectors, axes * factors[None]), squares[0]

  vectors = vectors / jnp.linalg.norm(vectors, axis=0, keepdims=True)
  vectors, least = one_round(one_round(vectors)[0])
  return jax.lax.cond(
    least > 0.5, lambda: vectors, lambda: one_round(vectors)[0]
  )


def project_off(columns: jax.Array, basis: jax.Array) -> jax.Array:
  """Removes the components inside the basis from each column."""
  return columns - _product(basis, _product(basis.T, columns))
