"""Comparison of a teacher's predictions with the labels of the data.

Arrays whose rows or classes are in the wrong order have the right shapes. Only
the labels show the mistake.
"""

import numpy as np
from scipy import optimize

from experiments.data.prepared import Prepared

_ROWS_AT_ONCE = 65_536
# Agreement with the labels, in standard errors above chance. Up to the first
# number, predictions are unrelated to the labels. Above the second, another
# order of the rows or classes may be the right one.
_UNRELATED, _RELATED = 3.0, 6.0
# The right order must also raise the accuracy by this.
_GAIN = 0.2
_FEW = 100  # Fewer labels than this prove little.


def head_logits(
  embeddings: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
  """Returns the outputs of a linear head, float32 ``[N, C]``."""
  parts = [
    np.asarray(embeddings[start : start + _ROWS_AT_ONCE], np.float32) @ kernel
    for start in range(0, len(embeddings), _ROWS_AT_ONCE)
  ]
  return np.concatenate(parts) + bias


def check_predictions(
  teacher: str,
  logits: np.ndarray,
  order: np.ndarray,
  rows: np.ndarray,
  found: Prepared,
  advice: str,
) -> None:
  """Raises ValueError if the predictions are unrelated to the labels.

  Args:
    teacher: The teacher, for messages.
    logits: The teacher's outputs, ``[rows, C]``, in its own order of classes.
    order: The output that belongs to each class, ``[C]``.
    rows: The row of each example by its id, ``[N]``.
    found: The data.
    advice: End of the message if no other order explains the predictions.
  """
  outputs = logits.argmax(axis=1)
  parts = [np.asarray(split["labels"]) for split in found.splits.values()]
  labels = np.concatenate(parts)  # In the order of the examples' ids.
  kept = labels >= 0
  labels, rows = labels[kept], rows[kept]
  expected = order[labels]  # The correct output of each example.
  accuracy = np.mean(outputs[rows] == expected)
  _check_classes(teacher, outputs[rows], labels, accuracy, found)
  chance = np.bincount(labels).max() / len(labels)
  if _surprise(outputs[rows], expected) > _UNRELATED:
    return
  text = (
    f"the teacher {teacher} predicts the label of {100 * accuracy:.1f} % of "
    f"the examples, which is no better than chance (always predicting the "
    f"most frequent label reaches {100 * chance:.1f} %)"
  )
  others = {
    "in reverse": len(outputs) - 1 - rows,
    "one row too late": (rows + 1) % len(outputs),
    "one row too early": (rows - 1) % len(outputs),
  }
  for name, other in others.items():
    better = np.mean(outputs[other] == expected)
    if (
      better > accuracy + _GAIN
      and _surprise(outputs[other], expected) > _RELATED
    ):
      raise ValueError(
        f"{text}: its rows are {name}. In the order of the data they would "
        f"reach {100 * better:.1f} %."
      )
  if accuracy > chance and len(labels) < _FEW:
    return
  raise ValueError(f"{text}: {advice}")


def _check_classes(
  teacher: str,
  outputs: np.ndarray,
  labels: np.ndarray,
  accuracy: float,
  found: Prepared,
) -> None:
  """Raises ValueError if another order of the outputs is much better."""
  names = found.task.class_names
  counts = np.zeros([len(names), len(names)], np.int64)
  np.add.at(counts, (labels, outputs), 1)
  _, best = optimize.linear_sum_assignment(counts, maximize=True)
  better = counts[np.arange(len(names)), best].sum() / len(labels)
  if better <= accuracy + _GAIN or _surprise(outputs, best[labels]) < _RELATED:
    return
  own = [names[label] for label in np.argsort(best)]
  raise ValueError(
    f"the teacher {teacher} predicts the label of {100 * accuracy:.1f} % of "
    f"the examples, and of {100 * better:.1f} % if its outputs are "
    f"{', '.join(own)}: set --teacher_labels={','.join(own)}."
  )


def _surprise(predicted: np.ndarray, expected: np.ndarray) -> float:
  """Returns by how many standard errors the agreement exceeds chance."""
  size = max(predicted.max(), expected.max()) + 1
  shares = [
    np.bincount(x, minlength=size) / len(x) for x in (predicted, expected)
  ]
  chance = float(shares[0] @ shares[1])
  agreement = float(np.mean(predicted == expected))
  error = np.sqrt(max(chance * (1 - chance), 1e-12) / len(predicted))
  return (agreement - chance) / error
