"""Static embeddings: an MLP on the mean of a text's token embeddings.

This is the fastest text model on a CPU. Tokens do not interact, so a text costs
one row of a table per token and a small MLP.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lelp_jax import _checks
from lelp_jax.models import _transformer
from lelp_jax.models.architecture import Architecture


class Static(nn.Module):
  """The mean of token embeddings, hidden ReLU layers and a linear head.

  Attributes:
    num_outputs: Number of logits ``n``.
    vocab_size: Number of tokens in the vocabulary.
    width: Width of the token embeddings.
    features: Widths of the hidden layers; the last is the embedding's ``D``.
      Empty for a linear model, whose embedding is the mean.
    dropout_rate: Share of each hidden layer, the embedding included, that is
      zeroed in training.
    compute_dtype: Dtype of the hidden layers. The mean, params and head are
      float32.
  """

  num_outputs: int
  vocab_size: int = 30_522
  width: int = 128
  features: Sequence[int] = (256,)
  dropout_rate: float = 0.0
  compute_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, inputs: Mapping[str, jax.Array], *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Computes embeddings and logits.

    Args:
      inputs: ``"input_ids"`` and, optionally, ``"attention_mask"`` (positive
        for tokens, 0 for padding; all tokens if absent), each int, shape ``[B,
        L]``; ``"token_type_ids"`` are ignored. Ids out of range give NaN under
        a trace.
      train: Whether dropout is on; it then draws from the stream
        ``"dropout"``.

    Returns:
      The embeddings, ``[B, D]`` in ``compute_dtype``, and the logits,
      ``[B, n]``, float32. A text without tokens has the mean 0.

    Raises:
      TypeError: If an input does not hold integers.
      ValueError: If an input is missing, unknown, of another shape or out of
        range.

    Examples:
      >>> model = Static(num_outputs=3, vocab_size=9, width=4, features=(8,))
      >>> texts = {"input_ids": jnp.array([[2, 7, 3], [2, 3, 0]]),
      ...          "attention_mask": jnp.array([[1, 1, 1], [1, 1, 0]])}
      >>> variables = jax.jit(model.init)(jax.random.key(0), texts)
      >>> embeddings, logits = jax.jit(model.apply)(variables, texts)
      >>> embeddings.shape, logits.shape
      ((2, 8), (2, 3))
    """
    ids, mask, _ = _transformer.check_inputs(inputs, vocab_size=self.vocab_size)
    # Rows have a mean square norm of 1, like those of `static_embeddings`.
    init = nn.initializers.normal(self.width**-0.5)
    tokens = _transformer.Embedding(
      self.vocab_size,
      self.width,
      embedding_init=init,
      name="word_embeddings",
    )(ids)
    x = _transformer.mean_over_tokens(tokens, mask).astype(self.compute_dtype)
    for width in self.features:
      x = nn.relu(nn.Dense(width, dtype=self.compute_dtype)(x))
      x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
    logits = nn.Dense(self.num_outputs, dtype=jnp.float32, name="head")(x)
    return x, logits


def static_embeddings(teacher_embeddings: jax.Array, width: int) -> jax.Array:
  """Reduces a teacher's token embeddings to initial embeddings of a `Static`.

  The rows are projected on their first ``width`` principal components and
  scaled by a common factor to a mean square norm of 1.

  Args:
    teacher_embeddings: The teacher's table, float, shape ``[V, D]``. The
      student must use the teacher's tokenizer.
    width: Width of the student's embeddings, at most ``D``.

  Returns:
    The student's table, float32, shape ``[V, width]``. If the teacher's
    embeddings span fewer dimensions, the remaining columns are zero.

  Raises:
    TypeError: If the embeddings are not floating point.
    ValueError: If the embeddings are not a matrix, or ``width`` is out of its
      range.

  Examples:
    >>> from lelp_jax.models import MODELS
    >>> student = MODELS["static"](2, vocab_size=50, width=4)
    >>> texts = {"input_ids": jnp.array([[2, 7, 3]])}
    >>> params, state = jax.jit(student.init)(jax.random.key(0), texts)
    >>> # With a BERT: teacher_params["encoder"]["word_embeddings"]["embedding"]
    >>> table = jax.random.normal(jax.random.key(1), (50, 8))
    >>> reduced = jax.jit(static_embeddings, static_argnums=1)(table, 4)
    >>> params = {**params, "word_embeddings": {"embedding": reduced}}
    >>> outputs, _ = jax.jit(student.apply)(params, state, texts)
    >>> outputs.embeddings.shape
    (1, 256)
  """
  _checks.check_rank("teacher_embeddings", teacher_embeddings, 2, "[V, D]")
  _checks.check_floating("teacher_embeddings", teacher_embeddings)
  _checks.check_at_least("width", width, 1)
  dimensions = teacher_embeddings.shape[1]
  if width > dimensions:
    raise ValueError(
      f"width must be at most {dimensions}, the width of teacher_embeddings, "
      f"got {width}."
    )
  x = jnp.asarray(teacher_embeddings, jnp.float32)
  x = x - jnp.mean(x, axis=0, keepdims=True)
  scatter = jnp.matmul(x.T, x, precision=jax.lax.Precision.HIGHEST)
  # Eigenvalues are in ascending order.
  components = jnp.linalg.eigh(scatter)[1][:, ::-1][:, :width]
  x = jnp.matmul(x, components, precision=jax.lax.Precision.HIGHEST)
  norm = jnp.sqrt(jnp.mean(jnp.sum(x**2, axis=1)))
  return x / jnp.where(norm > 0, norm, 1)


def _from_token_embeddings(
  table: jax.Array, attributes: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns params with the reduced token embeddings and empty layers."""
  if len(table) != attributes["vocab_size"]:
    raise ValueError(
      f"vocab_size must be {len(table)}, the number of rows of the token "
      f"embeddings, got {attributes['vocab_size']}."
    )
  reduced = static_embeddings(table, attributes["width"])
  layers = {f"Dense_{i}": {} for i in range(len(attributes["features"]))}
  return {"word_embeddings": {"embedding": reduced}, **layers}


MODELS = {
  "static": Architecture(
    Static,
    reads="tokens",
    free_options=frozenset({"dropout_rate", "compute_dtype"}),
    is_dense=True,
    from_token_embeddings=_from_token_embeddings,
  )
}
