"""Diagnosis of a teacher and its data, before any student is trained.

`diagnose` computes the findings, and `diagnosis_page` displays them.
"""

import dataclasses
import hashlib
import math
import pathlib
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

import lelp_jax
from experiments.data import load
from experiments.data.dataset import Arrays
from experiments.data.source_rows import source_rows
from experiments.distillation import label_check
from experiments.distillation.teachers import TeacherArrays
from experiments.specs import DataSpec
from lelp_jax import metrics

_RTOL = 5e-3  # Relative tolerance of the head's rank.
_ROWS_AT_ONCE = 8192
_MOST_ROWS = 100_000  # Training examples that the spectra are computed from.
_MOST_DIRECTIONS = 1000  # Length of a spectrum.
_MOST_POINTS = 600  # Points per class in a picture.
_MOST_SHOWN = 5  # Contradicted labels that are listed.
# A prediction with a probability above the first number is saturated; one above
# the second number contradicts a different label.
_SATURATED, _SURE = 0.999, 0.95
# Thresholds of the warnings.
_SMALL_SHARE, _SMALL_COUNT = 0.05, 50
_LEAK, _LEAK_ERRORS = 0.02, 3.0
_UNCALIBRATED, _REPEATED, _CONTRADICTED = 0.1, 0.01, 0.02
# Shares of the variance in the null space: below the first, LELP has little to
# transfer; above the second, much.
_NO_SHARE, _SOME_SHARE = 0.05, 0.3
# The variance is spread out if half of it needs more than this share of the
# directions.
_SPREAD = 0.25
_MANY_CLASSES = 50


@dataclasses.dataclass(frozen=True)
class Scores:
  """Scores of the teacher on a split.

  Attributes:
    num_examples: Number of examples with labels.
    counts: Number of examples per class.
    accuracy: Fraction that is classified correctly.
    macro_f1: Mean F1 score of the classes.
    log_loss: Mean negative log probability of the label, in nats.
    calibration_error: Expected calibration error.
  """

  num_examples: int
  counts: tuple[int, ...]
  accuracy: float
  macro_f1: float
  log_loss: float
  calibration_error: float


@dataclasses.dataclass(frozen=True)
class Contradiction:
  """A label that the teacher contradicts with a high probability.

  Attributes:
    place: The row of the example, such as "row 3 of --test".
    text: Its text, "" for images.
    label: Its label in the data.
    predicted: The class that the teacher predicts.
    probability: The teacher's probability of that class.
  """

  place: str
  text: str
  label: str
  predicted: str
  probability: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
  """Findings about a teacher and its data.

  Attributes:
    teacher: Name of the teacher.
    class_names: Name of each class.
    scores: Scores by split: "train", "validation" and "test".
    has_test_files: Whether the test examples come from files of their own.
    num_unlabelled: Number of examples without a label.
    width: Width D of the embeddings.
    rank: Rank of the head up to the tolerance of A-2.
    null_shares: Share of the variance of each class in the null space of the
      head, where pseudo-subclasses lie.
    spectra: Variance along each direction in the null space, by class, as
      shares of the variance of the class.
    saturated: Share of the training examples whose predicted class has a
      probability above 0.999.
    calibration: Number of examples, sum of confidences and number of correct
      predictions in each of 15 bins of confidence, on the validation examples,
      ``[15, 3]``.
    repeated: Number of examples that share their embedding with another one.
    repeated_with_other_label: Number of repeated examples whose embedding
      occurs with several labels.
    num_contradicted: Number of labels that the teacher contradicts.
    contradictions: The contradictions with the highest probabilities.
    planes: Coordinates of some examples of each class along its first two
      directions, ``[n, 2]``.
    warnings: Findings that the user should look at, one sentence each.
    verdict: Whether LELP has something to transfer, in plain words.
    seconds: Duration of the diagnosis.
  """

  teacher: str
  class_names: tuple[str, ...]
  scores: Mapping[str, Scores]
  has_test_files: bool
  num_unlabelled: int
  width: int
  rank: int
  null_shares: tuple[float, ...]
  spectra: tuple[tuple[float, ...], ...]
  saturated: float
  calibration: tuple[tuple[float, ...], ...]
  repeated: int
  repeated_with_other_label: int
  num_contradicted: int
  contradictions: tuple[Contradiction, ...]
  planes: Mapping[str, np.ndarray] = dataclasses.field(repr=False)
  warnings: tuple[str, ...] = ()
  verdict: str = ""
  seconds: float = 0.0

  @property
  def null_share(self) -> float:
    """Mean of `null_shares`, weighted by the training examples per class."""
    weights = self.scores["train"].counts
    return float(np.average(self.null_shares, weights=weights))

  @property
  def half_directions(self) -> int:
    """Median over the classes of the directions that hold half a spectrum."""
    sizes = [_directions_of_half(spectrum) for spectrum in self.spectra]
    return int(np.median(sizes))


def diagnose(
  teacher: TeacherArrays,
  data: DataSpec,
  workdir: pathlib.Path,
  selection: str = "heldout",
) -> Diagnosis:
  """Measures a teacher and its data.

  Args:
    teacher: The teacher, from `prepare_teacher`.
    data: `config.data`; its tokenizer is ignored.
    workdir: Folder in which teacher and data were prepared.
    selection: `config.selection`.
  """
  start = time.monotonic()
  data = dataclasses.replace(data, tokenizer="", embeddings=str(teacher.folder))
  splits = load.load(data, selection, workdir)
  labelled = {
    "train": splits.train,
    "validation": splits.validation,
    "test": splits.test,
  }
  logits, scores, bins = {}, {}, {}
  for name, part in labelled.items():
    logits[name] = label_check.head_logits(
      part["embeddings"], teacher.kernel, teacher.bias
    )
    scores[name], bins[name] = _scores(logits[name], np.asarray(part["labels"]))
  moments = _moments(splits.train, splits.task.num_classes)
  kernel = jnp.asarray(teacher.kernel)
  size = min(len(kernel), _MOST_DIRECTIONS)
  principal = lelp_jax.principal_directions(
    moments, kernel, num_directions=size, rtol=_RTOL
  )
  total = np.maximum(np.asarray(principal.total_variance), 1e-30)
  repeated, differing = _repeated(labelled)
  contradicted, contradictions = _contradictions(
    labelled, logits, teacher.class_names, data, workdir
  )
  made = Diagnosis(
    teacher=str(teacher.source["name"]),
    class_names=teacher.class_names,
    scores=scores,
    has_test_files=bool(data.test),
    num_unlabelled=len(splits.unlabelled["ids"]) if splits.unlabelled else 0,
    width=len(kernel),
    rank=int(np.linalg.matrix_rank(teacher.kernel, rtol=_RTOL)),
    null_shares=_floats(lelp_jax.null_space_share(moments, kernel, rtol=_RTOL)),
    spectra=tuple(
      _floats(row) for row in np.asarray(principal.variances) / total[:, None]
    ),
    saturated=float(
      np.mean(special.softmax(logits["train"], axis=1).max(axis=1) > _SATURATED)
    ),
    calibration=tuple(map(_floats, bins["validation"])),
    repeated=repeated,
    repeated_with_other_label=differing,
    num_contradicted=contradicted,
    contradictions=contradictions,
    planes=_planes(splits.train, principal, teacher.class_names),
  )
  return dataclasses.replace(
    made,
    warnings=tuple(_warnings(made)),
    verdict=_verdict(made),
    seconds=round(time.monotonic() - start, 1),
  )


def _moments(train: Arrays, num_classes: int) -> lelp_jax.ClassMoments:
  """Returns the class moments of the embeddings of training examples."""
  rows = _evenly(len(train["labels"]), _MOST_ROWS)
  moments = None
  for start in range(0, len(rows), _ROWS_AT_ONCE):
    part = rows[start : start + _ROWS_AT_ONCE]
    own = lelp_jax.class_moments(
      jnp.asarray(train["embeddings"][part], jnp.float32),
      jnp.asarray(train["labels"][part]),
      num_classes=num_classes,
    )
    moments = own if moments is None else lelp_jax.merge_moments(moments, own)
  assert moments is not None
  return moments


def _evenly(size: int, most: int) -> np.ndarray:
  """Returns the positions of at most `most` evenly spaced rows of `size`."""
  if size <= most:
    return np.arange(size)
  return np.linspace(0, size - 1, most).astype(np.int64)


def _scores(
  logits: np.ndarray, labels: np.ndarray
) -> tuple[Scores, np.ndarray]:
  """Returns the teacher's scores on a split, and the calibration bins."""
  log_probs = jax.nn.log_softmax(jnp.asarray(logits), axis=-1)
  classes = jnp.asarray(labels)
  confusion = metrics.confusion_matrix(log_probs, classes)
  bins = metrics.calibration_bins(log_probs, classes)
  label_log_probs = jnp.take_along_axis(log_probs, classes[:, None], axis=-1)
  found = Scores(
    num_examples=len(labels),
    counts=tuple(np.bincount(labels, minlength=logits.shape[1]).tolist()),
    accuracy=float(metrics.accuracy(log_probs, classes).mean()),
    macro_f1=float(metrics.macro_f1(confusion)),
    log_loss=-float(label_log_probs.mean()),
    calibration_error=float(metrics.expected_calibration_error(bins)),
  )
  return found, np.asarray(bins)


def _repeated(labelled: Mapping[str, Arrays]) -> tuple[int, int]:
  """Counts the examples that share their embedding with another example.

  The second number counts only those whose embedding has several labels.
  """
  labels: dict[bytes, list[int]] = {}
  for part in labelled.values():
    for row, label in zip(part["embeddings"], part["labels"], strict=True):
      key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
      labels.setdefault(key, []).append(int(label))
  groups = [group for group in labels.values() if len(group) > 1]
  differing = [group for group in groups if len(set(group)) > 1]
  return sum(map(len, groups)), sum(map(len, differing))


def _contradictions(
  labelled: Mapping[str, Arrays],
  logits: Mapping[str, np.ndarray],
  class_names: Sequence[str],
  data: DataSpec,
  workdir: pathlib.Path,
) -> tuple[int, tuple[Contradiction, ...]]:
  """Returns the number of contradictions, and the most confident of them."""
  found: list[tuple[float, int, int, int]] = []
  for name, part in labelled.items():
    confidence = special.softmax(logits[name], axis=1).max(axis=1)
    predicted, labels = logits[name].argmax(axis=1), np.asarray(part["labels"])
    wrong = np.flatnonzero((predicted != labels) & (confidence > _SURE))
    found += [
      (confidence[i], int(part["ids"][i]), int(labels[i]), int(predicted[i]))
      for i in wrong
    ]
  if not found:
    return 0, ()
  prepared = load.open_data(data, workdir)
  rows = source_rows(data, prepared)
  is_text = prepared.task.image_shape is None
  surest = sorted(found, key=lambda item: (-item[0], item[1]))[:_MOST_SHOWN]
  return len(found), tuple(
    Contradiction(
      place=rows.place(int(rows.rows[example])),
      text=prepared.text_of(example) if is_text else "",
      label=class_names[label],
      predicted=class_names[predicted],
      probability=float(probability),
    )
    for probability, example, label, predicted in surest
  )


def _planes(
  train: Arrays,
  principal: lelp_jax.PrincipalDirections,
  class_names: Sequence[str],
) -> dict[str, np.ndarray]:
  """Projects some examples of each class onto its first two directions."""
  labels, planes = np.asarray(train["labels"]), {}
  means, directions = map(np.asarray, (principal.means, principal.directions))
  for number, name in enumerate(class_names):
    rows = np.flatnonzero(labels == number)
    rows = rows[_evenly(len(rows), _MOST_POINTS)]
    centred = np.asarray(train["embeddings"][rows]) - means[number]
    planes[name] = centred @ directions[number, :2].T
  return planes


def _directions_of_half(spectrum: Sequence[float]) -> int:
  """Returns how many directions hold half of the variance of a spectrum."""
  cumulative = np.cumsum(spectrum)
  if not len(spectrum) or cumulative[-1] <= 0:
    return 0
  return int(np.searchsorted(cumulative, cumulative[-1] / 2)) + 1


def _floats(values: Any) -> tuple[float, ...]:
  return tuple(float(value) for value in np.asarray(values))


# --- Sentences ----------------------------------------------------------------


def percent(share: float) -> str:
  """Returns a share such as "3.2 %"."""
  return f"{100 * share:.1f} %"


def _warnings(found: Diagnosis) -> list[str]:
  """Returns a sentence for each finding that a user should look at."""
  sentences = []
  train, test = found.scores["train"], found.scores["test"]
  heldout = found.scores["validation"]
  rare = [
    f"{name} ({count:,})"
    for name, count in zip(found.class_names, train.counts, strict=True)
    if count < _SMALL_COUNT or count < _SMALL_SHARE * train.num_examples
  ]
  if rare:
    sentences.append(
      f"Few training examples have the label {', '.join(rare[:5])}: accuracy "
      "says little about rare classes, so look at macro F1."
    )
  if found.has_test_files and _is_leak(heldout, test):
    sentences.append(
      f"The teacher predicts the label of {percent(heldout.accuracy)} of the "
      f"held-out rows of --data and of {percent(test.accuracy)} of --test: it "
      "was trained on the held-out rows, or on rows like them. Settings that "
      "are chosen on them rely on outputs that are too good; name rows that it "
      "has not seen with --config.data.validation=FILE."
    )
  elif not found.has_test_files and heldout.accuracy > 0.99:
    sentences.append(
      f"The teacher predicts the label of {percent(heldout.accuracy)} of the "
      "held-out rows. If it was trained on --data, its own accuracy is too "
      "high to compare with; name rows that it has not seen with --test=FILE."
    )
  if heldout.calibration_error > _UNCALIBRATED:
    sentences.append(
      "The teacher is not calibrated: its probabilities differ from its "
      f"accuracy by {percent(heldout.calibration_error)} on average."
    )
  total = sum(scores.num_examples for scores in found.scores.values())
  if found.repeated > _REPEATED * total:
    sentences.append(
      f"{found.repeated:,} of {total:,} examples share their embedding with "
      f"another example ({found.repeated_with_other_label:,} with another "
      "label): test examples may also be training examples."
    )
  if found.num_contradicted > _CONTRADICTED * total:
    sentences.append(
      f"The teacher is more than {percent(_SURE)} sure of another label than "
      f"the given one in {found.num_contradicted:,} of {total:,} examples: "
      "look at some of these labels."
    )
  return sentences


def _is_leak(heldout: Scores, test: Scores) -> bool:
  """Returns whether held-out accuracy is significantly above test accuracy."""
  gap = heldout.accuracy - test.accuracy
  error = math.sqrt(
    sum(
      max(x.accuracy * (1 - x.accuracy), 0.25 / x.num_examples) / x.num_examples
      for x in (heldout, test)
    )
  )
  return gap > _LEAK and gap > _LEAK_ERRORS * error


def _verdict(found: Diagnosis) -> str:
  """Returns whether LELP has something to transfer, in plain words."""
  if found.rank >= found.width:
    return (
      f"LELP has nothing to transfer: the head reads all {found.width} "
      "dimensions of the embeddings, so that nothing is hidden from its logits."
    )
  share = percent(found.null_share)
  if found.null_share < _NO_SHARE:
    return (
      f"LELP has little to transfer: only {share} of the variance within the "
      "classes is invisible to the logits. Expect what vanilla distillation "
      "gives."
    )
  dimensions = found.width - found.rank
  is_spread = found.half_directions > max(_SPREAD * dimensions, 10)
  is_much = found.null_share > _SOME_SHARE and not is_spread
  text = (
    f"LELP has {'much' if is_much else 'something'} to transfer: {share} of "
    "the variance within the classes is invisible to the logits, half of it "
    f"along {found.half_directions} of {dimensions} directions"
    + ", so that none of them stands out" * is_spread
    + ". Only training shows whether a student gains from it"
  )
  if len(found.class_names) >= _MANY_CLASSES:
    return (
      f"{text}; with {len(found.class_names)} classes the logits say much "
      "already, and the gain tends to be small."
    )
  return f"{text}; the gain tends to be largest with few labelled examples."
