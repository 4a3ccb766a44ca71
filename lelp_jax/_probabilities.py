"""Log probabilities with masked entries, and their divergence.

A masked entry has log probability ``-inf``. Its input may hold anything,
including NaN, and affects neither values nor gradients. NaN in other entries is
propagated.
"""

import functools
import math

import jax
import jax.numpy as jnp

# Below this difference of log probabilities, a series replaces exponentials.
_NEAR = 0.25


def tempered(
  logits: jax.Array, temperature: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Divides logits by a temperature; masked ones become ``-inf``.

  Entries of ``-inf`` stay so and do not contribute to the gradient of the
  temperature, which would otherwise be NaN.

  Args:
    logits: Float, ``[..., n]``.
    temperature: A scalar of the dtype of the logits.
    where: Entries that exist, bool, broadcastable to ``logits``, or None.

  Returns:
    The quotients, ``-inf`` where the logits are or where they are masked.
  """
  if where is not None:
    logits = jnp.where(where, logits, -jnp.inf)
  return _quotients(logits, temperature)


@jax.custom_jvp
def _quotients(logits: jax.Array, temperature: jax.Array) -> jax.Array:
  return logits / temperature


@functools.partial(_quotients.defjvp, symbolic_zeros=True)
def _quotients_jvp(primals, tangents):
  """Differentiates; at ``-inf``, the part of the temperature is zero."""
  quotients = _quotients(*primals)
  of_logits, of_temperature = tangents
  total = jnp.zeros_like(quotients)
  if not isinstance(of_logits, jax.custom_derivatives.SymbolicZero):
    total += of_logits / primals[1]
  if not isinstance(of_temperature, jax.custom_derivatives.SymbolicZero):
    finite = jnp.where(jnp.isneginf(quotients), 0, quotients)
    total -= finite * (of_temperature / primals[1])
  return quotients, total


def _shifted(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns logits minus the largest, and the log-sum-exp of these.

  Their difference equals `jax.nn.log_softmax` to the last bit.
  """
  largest = jnp.max(logits, axis=-1, keepdims=True)
  shifted = logits - jax.lax.stop_gradient(largest)
  return shifted, jnp.log(jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True))


def log_softmax(logits: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Computes the log-softmax of the unmasked entries over the last axis.

  Args:
    logits: Unnormalized log probabilities, float, ``[..., n]``.
    where: Entries that exist, bool, broadcastable to ``logits``, or None for
      all.

  Returns:
    Log probabilities, of the shape and dtype of ``logits``; ``-inf`` where
    masked. A row without entries is ``-inf`` everywhere.
  """
  if where is None:
    return jax.nn.log_softmax(logits, axis=-1)
  where = jnp.broadcast_to(where, logits.shape)
  # Two selections: the inner one keeps the contents of masked entries out of
  # the gradient, the outer one out of the value.
  inner = jnp.where(where, logits, jnp.finfo(logits.dtype).min)
  largest = jax.lax.stop_gradient(inner.max(axis=-1, keepdims=True))
  shifted = jnp.where(where, inner - largest, 0)
  total = jnp.sum(jnp.where(where, jnp.exp(shifted), 0), axis=-1, keepdims=True)
  normalizer = jnp.log(jnp.where(total == 0, 1, total))
  return jnp.where(where, shifted - normalizer, -jnp.inf)


def log_sum_exp(log_probs: jax.Array) -> jax.Array:
  """Sums probabilities over the last axis; sums of zero are ``-inf``.

  Neither entries nor sums of ``-inf`` put NaN into the gradient.
  """
  largest = jax.lax.stop_gradient(log_probs.max(axis=-1, keepdims=True))
  largest = jnp.where(jnp.isneginf(largest), 0, largest)
  total = jnp.sum(jnp.exp(log_probs - largest), axis=-1)
  is_zero = total == 0
  summed = jnp.log(jnp.where(is_zero, 1, total)) + largest[..., 0]
  return jnp.where(is_zero, -jnp.inf, summed)


def divergence(
  log_p: jax.Array,
  log_q: jax.Array,
  axes: int | tuple[int, ...],
  difference: jax.Array | None = None,
) -> jax.Array:
  """Computes KL(p || q) from log probabilities without losing digits.

  With ``d = log p - log q``, each term is ``p (d + exp(-d) - 1)``: since both
  distributions sum to one, the added ``p exp(-d) - p`` cancel in the sum. All
  terms are nonnegative, so no digits are lost where the distributions are
  close, as at high temperatures. The terms of the textbook form, ``p d``,
  cancel there.

  Args:
    log_p: Log probabilities, normalised over ``axes``.
    log_q: Log probabilities of the same shape.
    axes: The axes of the sum.
    difference: ``log_p - log_q``, if the caller knows it more accurately.

  Returns:
    The divergence, in which ``0 log 0`` counts as zero.
  """
  if difference is None:
    difference = log_p - log_q
  return _divergence(log_p, log_q, jax.lax.stop_gradient(difference), axes)


def logit_divergence(
  student: jax.Array, teacher: jax.Array, gaps: jax.Array | None = None
) -> jax.Array:
  """Computes KL(teacher || student) between the softmaxes of logits.

  Args:
    student: Float, ``[..., n]``.
    teacher: Float, ``[..., n]``.
    gaps: ``teacher - student``, if the caller knows it more accurately. Rows
      use it where all gaps are below one in magnitude.

  Returns:
    The divergence of each row, ``[...]``.
  """
  q, log_z_q = _shifted(student)
  p, log_z_p = _shifted(teacher)
  # Differences of logits are nearly exact; those of log probabilities are not.
  difference = (p - q) - (log_z_p - log_z_q)
  if gaps is not None:
    normalizer = jax.nn.logsumexp(q - log_z_q + gaps, axis=-1, keepdims=True)
    is_near = jnp.max(jnp.abs(gaps), axis=-1, keepdims=True) < 1
    difference = jnp.where(is_near, gaps - normalizer, difference)
  return divergence(p - log_z_p, q - log_z_q, -1, difference)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _divergence(
  log_p: jax.Array,
  log_q: jax.Array,
  difference: jax.Array,
  axes: int | tuple[int, ...],
) -> jax.Array:
  """Sums all terms, computed by a series where p and q are close."""
  p, q = jnp.exp(log_p), jnp.exp(log_q)
  # Where p is zero, the difference is infinite, but the term is just q.
  difference = jnp.where(p == 0, _NEAR, difference)
  # NaN does not count as near, so that it stays in the terms.
  is_near = jnp.abs(difference) < _NEAR
  near = jnp.where(is_near, difference, 0)
  # Select last: XLA on CPUs then computes the terms in one loop.
  terms = jnp.where(is_near, p * _series(near), p * difference + (q - p))
  return jnp.sum(terms, axis=axes)


@functools.partial(_divergence.defjvp, symbolic_zeros=True)
def _divergence_jvp(axes, primals, tangents):
  """Differentiates the textbook form, whose derivative loses no digits."""
  log_p, log_q, _ = primals
  p = jnp.exp(log_p)
  absent = p == 0
  terms = jnp.zeros_like(p)
  factors = (lambda: p * (log_p - log_q + 1)), (lambda: -p)
  for factor, tangent in zip(factors, tangents[:2], strict=True):
    if not isinstance(tangent, jax.custom_derivatives.SymbolicZero):
      terms += jnp.where(absent, 0, factor()) * tangent
  return _divergence(*primals, axes), jnp.sum(terms, axis=axes)


def _series(d: jax.Array) -> jax.Array:
  """Computes ``d + exp(-d) - 1`` for small d by its Taylor series.

  Even and odd powers are summed separately, so that the two chains of
  operations can overlap.
  """
  square = d * d
  last = 7 if d.dtype == jnp.float32 else 16
  even, odd = (
    _polynomial(square, [1 / math.factorial(k) for k in range(first, last, 2)])
    for first in (2, 3)
  )
  return square * (even - d * odd)


def _polynomial(x: jax.Array, coefficients: list[float]) -> jax.Array:
  """Evaluates a polynomial by Horner's scheme."""
  value = jnp.full_like(x, coefficients[-1])
  for coefficient in reversed(coefficients[:-1]):
    value = coefficient + x * value
  return value
