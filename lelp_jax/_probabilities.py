"""Log probabilities with masked entries, and their divergence.

A masked entry has log probability ``-inf``. It may hold anything, including
NaN, and takes no part in any value or gradient. NaN elsewhere is passed on.
"""

import functools

import jax
import jax.numpy as jnp

# Below this difference of log probabilities a series replaces exponentials.
_NEAR = 0.5


def tempered(
  logits: jax.Array, temperature: jax.Array, where: jax.Array | None = None
) -> jax.Array:
  """Divides logits by a temperature; those of ``-inf`` and masked stay apart.

  Otherwise they would put NaN into the gradient of the temperature.

  Args:
    logits: Float, ``[..., n]``.
    temperature: A scalar of the dtype of the logits.
    where: Entries that exist, bool, broadcastable to ``logits``, or None.

  Returns:
    The quotients, ``-inf`` where the logits are or where they are masked.
  """
  present = ~jnp.isneginf(logits)
  if where is not None:
    present = present & where
  return jnp.where(
    present, jnp.where(present, logits, 0) / temperature, -jnp.inf
  )


def log_softmax(logits: jax.Array, where: jax.Array | None = None) -> jax.Array:
  """Log-softmax over the last axis of the entries that exist.

  Args:
    logits: Unnormalized log probabilities, float, ``[..., n]``.
    where: Entries that exist, bool, broadcastable to ``logits``, or None for
      all.

  Returns:
    Log probabilities, of the shape and dtype of ``logits``; ``-inf`` where
    masked, which is everywhere in a row without entries.
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
  """Sums probabilities over the last axis; rows of all zeros stay ``-inf``.

  Neither ``-inf`` entries nor such rows put NaN into the gradient.
  """
  present = ~jnp.isneginf(log_probs)
  values = jnp.where(present, log_probs, jnp.finfo(log_probs.dtype).min)
  largest = jax.lax.stop_gradient(values.max(axis=-1, keepdims=True))
  terms = jnp.where(present, jnp.exp(values - largest), 0)
  total = terms.sum(axis=-1)
  is_zero = total == 0
  summed = jnp.log(jnp.where(is_zero, 1, total)) + largest[..., 0]
  return jnp.where(is_zero, -jnp.inf, summed)


def logit_difference(teacher: jax.Array, student: jax.Array) -> jax.Array:
  """Differences of logits up to a constant, with as many digits as possible.

  Logits are taken relative to their largest first: an offset that only one of
  the two has would cost digits.
  """
  teacher, student = (
    logits - jnp.max(logits, axis=-1, keepdims=True)
    for logits in (teacher, student)
  )
  return teacher - student


def divergence(
  log_p: jax.Array,
  log_q: jax.Array,
  axes: int | tuple[int, ...],
  logit_difference: jax.Array | None = None,
) -> jax.Array:
  """Computes KL(p || q) from log probabilities, to the digits that they have.

  With ``d = log p - log q``, each term is ``p (d + exp(-d) - 1)``: since both
  distributions sum to one, the additions cancel in the sum. All terms are
  nonnegative, so that no digits are lost where the distributions are close,
  as they are at high temperatures. The textbook form ``p d`` loses them all.

  Args:
    log_p: Log probabilities, normalised over ``axes``.
    log_q: Log probabilities of the same shape.
    axes: The axes of the sum.
    logit_difference: ``log_p - log_q`` up to a constant, where it is known to
      more digits: from `logit_difference`, over a temperature.

  Returns:
    The divergence; terms with ``p = 0`` count as zero.
  """
  return _divergence(log_p, log_q, logit_difference, axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _divergence(
  log_p: jax.Array,
  log_q: jax.Array,
  logit_difference: jax.Array | None,
  axes: int | tuple[int, ...],
) -> jax.Array:
  """The sum of all terms, by a series where p and q are close."""
  p, q = jnp.exp(log_p), jnp.exp(log_q)
  absent = p == 0
  difference = jnp.where(absent, 0, log_p - log_q)
  if logit_difference is not None:
    # The constant that normalises it. The error of that only matters squared.
    offset = jnp.where(
      absent | jnp.isinf(difference), 0, p * (logit_difference - difference)
    ).sum(axis=axes, keepdims=True)
    difference = jnp.where(absent, 0, logit_difference - offset)
  near = (jnp.abs(difference) < _NEAR) & ~absent
  series = _series(jnp.where(near, difference, 0))
  terms = jnp.where(near, p * series, p * difference + (q - p))
  return jnp.sum(terms, axis=axes)


@functools.partial(_divergence.defjvp, symbolic_zeros=True)
def _divergence_jvp(axes, primals, tangents):
  """The derivative of the textbook form, which loses no digits."""
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
  """``d + exp(-d) - 1`` for small d, by its Taylor series."""
  last = 10 if d.dtype == jnp.float32 else 18
  factor = jnp.ones_like(d)
  for k in range(last, 2, -1):
    factor = 1 - d * factor / k
  return d * d * factor / 2
