"""Check that a linear head reproduces a teacher's logits.

If it does not, the check names the likely mistake.
"""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax import nn
from scipy import special
from scipy.spatial import distance

_MOST_ROWS = 4000  # Rows that are compared.
# The largest root mean square error of the logits, as a share of their own
# standard deviation: float16 gives 0.001 and bfloat16 0.01.
_TOLERANCE = 0.02
# A row is wrong if its logits differ by more than this many standard deviations
# of all logits. If more than this share of the rows is wrong, the mistake
# concerns all of them.
_ROW_TOLERANCE, _FEW = 0.25, 0.05

# Activations that may precede the last layer of a model.
_ACTIVATIONS: dict[str, Callable[..., Any]] = {
  "tanh": nn.tanh,
  "relu": nn.relu,
  "gelu": nn.gelu,
  "silu": nn.silu,
  "sigmoid": nn.sigmoid,
  "L2 normalization": lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
  "layer normalization": nn.standardize,
}


def problem(
  embeddings: np.ndarray,
  logits: np.ndarray,
  kernel: np.ndarray,
  bias: np.ndarray | None,
) -> str:
  """Returns why the head does not give the logits, "" if it does.

  The logits must be ``embeddings @ kernel + bias``.

  Args:
    embeddings: Finite floats, ``[N, D]``.
    logits: Finite floats, ``[N, C]``.
    kernel: ``[D, C]``.
    bias: ``[C]``, or None if the head has none.
  """
  rows = np.unique(
    np.linspace(0, len(logits) - 1, min(_MOST_ROWS, len(logits))).astype(int)
  )
  inputs = np.asarray(embeddings[rows], np.float64)
  outputs = np.asarray(logits[rows], np.float64)
  weights = np.asarray(kernel, np.float64)
  offset = np.zeros(weights.shape[1]) if bias is None else bias
  given = inputs @ weights + offset
  error = np.abs(given - outputs).max(axis=1)
  wrong = error > _ROW_TOLERANCE * _scale(outputs)
  right = given[~wrong], outputs[~wrong]
  if wrong.mean() < _FEW and _same(*right) and not _is_shifted(*right):
    if not wrong.any():
      return ""
    return (
      f"{wrong.sum():,} of {len(rows):,} rows differ, the first of them row "
      f"{rows[np.argmax(wrong)]} from 0: write both arrays in one pass."
    )
  with np.errstate(all="ignore"):
    for explained, reason in _mistakes(inputs, outputs, weights, bias):
      if _same(explained, outputs):
        return reason
  if _is_permuted(embeddings, logits, kernel, offset):
    return (
      "they have the same rows in another order: write both arrays in one "
      "pass over the data, without shuffling."
    )
  return _unexplained(inputs, outputs, given)


def _mistakes(
  inputs: np.ndarray,
  outputs: np.ndarray,
  weights: np.ndarray,
  bias: np.ndarray | None,
) -> Iterator[tuple[np.ndarray, str]]:
  """Yields the logits that each simple mistake gives, and names the mistake."""
  product = inputs @ weights
  offset = 0.0 if bias is None else bias
  given = product + offset
  if weights.shape[0] == weights.shape[1]:
    yield (
      inputs @ weights.T + offset,
      "head_kernel.npy is transposed (torch.nn.Linear keeps weight [C, D]): "
      "save weight.T.",
    )
  shift = (outputs - product).mean(axis=0)
  values = ", ".join(f"{value:.4g}" for value in shift[:4])
  yield (
    product + shift,
    f"the bias is missing: save it as head_bias.npy (the logits are larger by "
    f"{values})."
    if bias is None
    else f"head_bias.npy is not the bias of these logits, which is {values}: "
    "save that of the same checkpoint, as it is added.",
  )
  is_binary = given.shape[1] == 1
  yield (
    special.expit(given) if is_binary else special.softmax(given, axis=1),
    "logits.npy holds probabilities: save the logits, which the softmax or the "
    "sigmoid reads.",
  )
  yield (
    special.log_softmax(given, axis=1),
    "logits.npy holds logarithms of probabilities: save the logits, which "
    "log_softmax reads.",
  )
  for name, activation in _ACTIVATIONS.items():
    yield (
      np.asarray(activation(inputs)) @ weights + offset,
      f"embeddings.npy was saved before the {name} that precedes the last "
      "linear layer: save the inputs of that layer.",
    )
  factor = (given * outputs).sum() / (given**2).sum()
  yield (
    factor * given,
    f"the logits are {factor:.3g} times as large, as after a division by a "
    "temperature: save them without it.",
  )
  columns = distance.cdist(outputs.T, given.T).argmin(axis=1)
  yield (
    given[:, columns],
    "the classes of logits.npy are in another order than the columns of "
    f"head_kernel.npy: {columns.tolist()}.",
  )


def _unexplained(
  inputs: np.ndarray, outputs: np.ndarray, given: np.ndarray
) -> str:
  """Describes the difference if no simple mistake explains it."""
  error = np.sqrt(np.mean((given - outputs) ** 2)) / _scale(outputs)
  columns = np.hstack([inputs, np.ones([len(inputs), 1])])
  # With too few rows, a linear head would fit any logits.
  if len(inputs) > 2 * columns.shape[1]:
    fitted = columns @ np.linalg.lstsq(columns, outputs, rcond=None)[0]
    if _same(fitted, outputs):
      return (
        "another linear head fits them, so head_kernel.npy is that of another "
        "checkpoint or layer."
      )
  return (
    f"they differ by {error:.2g} standard deviations of the logits. "
    "embeddings.npy must hold the inputs of the last linear layer, after "
    "pooling and activation, for the same rows in the same order, with dropout "
    "off (model.eval())."
  )


def _same(found: np.ndarray, expected: np.ndarray) -> bool:
  """Returns whether logits are equal up to rounding."""
  error = np.sqrt(np.mean((found - expected) ** 2))
  return bool(error <= _TOLERANCE * _scale(expected))


def _scale(logits: np.ndarray) -> float:
  """Returns the standard deviation of the logits per output, never zero."""
  spread = np.sqrt(np.mean(np.var(logits, axis=0)))
  return float(max(spread, 1e-3 * np.abs(logits).max(), 1e-6))


def _is_shifted(given: np.ndarray, outputs: np.ndarray) -> bool:
  """Returns whether a small difference of the logits is a constant shift."""
  error = outputs - given
  shift = np.sqrt(np.mean(error.mean(axis=0) ** 2))
  noise = np.sqrt(np.mean(np.var(error, axis=0)))
  return bool(shift > max(5 * noise, 1e-3 * _scale(outputs)))


def _is_permuted(
  embeddings: np.ndarray,
  logits: np.ndarray,
  kernel: np.ndarray,
  offset: np.ndarray,
) -> bool:
  """Returns whether the head gives the same logits in another order of rows."""
  given = np.asarray(embeddings, np.float32) @ np.asarray(kernel, np.float32)
  given = np.sort((given + offset).astype(np.float64), axis=0)
  return _same(given, np.sort(np.asarray(logits, np.float64), axis=0))
