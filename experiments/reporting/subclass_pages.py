"""HTML pages on the subclasses of a cell: an index, and a page per class."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data.dataset import Subclasses
from experiments.data.dataset import Task
from experiments.reporting.document import Example
from experiments.reporting.images import image
from experiments.reporting.permutation_test import Information
from experiments.reporting.permutation_test import NUM_PERMUTATIONS
from experiments.reporting.permutation_test import subclass_information
from experiments.reporting.render import render

INDEX = "index.html"
_NUM_BINS = 32
# More fine labels are sorted by the subclass with most of their examples.
_MOST_IN_ORDER = 12


@dataclasses.dataclass(frozen=True)
class Subject:
  """Everything that the pages of a cell show.

  Attributes:
    title: Title of the cell.
    facts: Facts about the cell, by name.
    task: Task of the data set.
    subclasses: The subclasses of the examples.
    text_of: Returns the text of an example by its id; None for images, and for
      examples that cannot be shown.
    num_shown: Number of examples at each end of a direction.
  """

  title: str
  facts: Mapping[str, str]
  task: Task
  subclasses: Subclasses
  text_of: Callable[[int], str] | None = None
  num_shown: int = 8


def subclass_pages(subject: Subject) -> dict[str, str]:
  """Makes the pages of a cell.

  Returns their HTML by file name, the first one is `INDEX`.
  """
  told, over_all = (), None
  if "fine_labels" in subject.subclasses.examples:
    num_fine = len(subject.task.fine_to_class or ())
    told, over_all = subclass_information(subject.subclasses, num_fine)
  pages = {INDEX: _index(subject, told, over_all)}
  for c in range(subject.task.num_classes):
    pages[_file(c)] = _class_page(subject, c, told[c] if told else None)
  return pages


def _file(c: int) -> str:
  return f"class{c}.html"


def _class_name(task: Task, c: int) -> str:
  return task.class_names[c] if task.class_names else f"class {c}"


def _fine_name(task: Task, fine: int) -> str:
  return task.fine_names[fine] if task.fine_names else str(fine)


def _percent(share: float) -> str:
  return f"{100 * share:.1f} %"


def _index(
  subject: Subject, told: Sequence[Information], over_all: Information | None
) -> str:
  """The page with all classes."""
  found, task = subject.subclasses, subject.task
  labels, shares = np.asarray(found.examples["labels"]), found.variance_shares
  header = ["class", "examples", f"{found.kind}s"]
  header += ["variation captured"] * (shares is not None)
  if over_all is not None:
    header += ["information (nats)", "by chance", "from 0 to 1", "by chance"]
  rows = []
  for c in range(task.num_classes):
    numbers = [f"{(labels == c).sum():,}", str(found.where[c].sum())]
    numbers += [] if shares is None else [_percent(shares[c].sum())]
    numbers += _numbers(told[c]) if told else []
    rows.append((_file(c), _class_name(task, c), numbers))
  if over_all is not None:
    numbers = [f"{len(labels):,}", str(found.where.sum())]
    numbers += [""] * (shares is not None) + _numbers(over_all)
    rows.append(("", "all classes", numbers))
  return render(
    "subclass_index.html.j2",
    subject=subject,
    header=header,
    rows=rows,
    has_information=over_all is not None,
    num_permutations=NUM_PERMUTATIONS,
  )


def _numbers(told: Information) -> list[str]:
  """Mutual information and that of shuffled labels, as cells of a table."""
  return [
    f"{told.nats:.3f} of {told.entropy:.3f}",
    f"{told.chance.mean:.3f} ± {told.chance.std:.3f}",
    f"{told.normalized:.3f}",
    f"{told.chance_normalized:.3f}",
  ]


def _class_page(subject: Subject, c: int, told: Information | None) -> str:
  """The page of one class."""
  task, found = subject.task, subject.subclasses
  rows = np.flatnonzero(np.asarray(found.examples["labels"]) == c)
  fine: list[int] = []
  if told is not None:
    fine = np.flatnonzero(told.counts.any(axis=0)).tolist()
    if len(fine) > _MOST_IN_ORDER:
      fine.sort(key=lambda f: told.counts[:, f].argmax())
  neighbours = [(INDEX, "all classes")] + [
    (_file(other), arrow.format(_class_name(task, other)))
    for other, arrow in ((c - 1, "← {}"), (c + 1, "{} →"))
    if 0 <= other < task.num_classes
  ]
  return render(
    "subclass_class.html.j2",
    subject=subject,
    name=_class_name(task, c),
    neighbours=neighbours,
    num_examples=len(rows),
    information=_numbers(told) if told else None,
    fine_names=[_fine_name(task, f) for f in fine],
    subclasses=[
      _subclass(subject, c, int(s), rows, told, fine)
      for s in np.flatnonzero(found.where[c])
    ]
    if len(rows)
    else [],
  )


def _subclass(
  subject: Subject,
  c: int,
  s: int,
  rows: np.ndarray,
  told: Information | None,
  fine: Sequence[int],
) -> dict[str, Any]:
  """Shares, counts, histogram and examples of a subclass, for the template."""
  found = subject.subclasses
  members = rows[found.assignments[rows] == s]
  made: dict[str, Any] = {
    "number": s,
    "num_examples": len(members),
    "share": _percent(len(members) / len(rows)),
    "variance": None,
    # Each with its share of the fine label.
    "counts": [],
  }
  if found.variance_shares is not None:
    made["variance"] = _percent(found.variance_shares[c, s])
  if told is not None:
    totals = told.counts.sum(axis=0)
    made["counts"] = [
      (told.counts[s, f], told.counts[s, f] / totals[f]) for f in fine
    ]
  if found.coordinates is None:
    drawn = np.random.default_rng(s).permutation(members)[: subject.num_shown]
    return made | {"histogram": None, "ends": [("", _examples(subject, drawn))]}
  along = found.coordinates[:, s]
  # All directions of a class have the same scale.
  every = found.coordinates[rows][:, found.where[c]]
  limits = float(every.min()), float(every.max())
  counts, own = (
    np.histogram(along[some], _NUM_BINS, limits)[0].tolist()
    for some in (rows, members)
  )
  order = rows[np.argsort(along[rows], kind="stable")]
  # With few examples the two ends meet in the middle.
  count = min(subject.num_shown, max(1, len(order) // 2))
  return made | {
    "histogram": {
      "limits": [f"{limit:+.2f}" for limit in limits],
      "num_bins": _NUM_BINS,
      "bars": list(histogram_bars(counts, own)),
    },
    "ends": [
      ("Most typical", _examples(subject, order[::-1][:count], along)),
      ("Least typical", _examples(subject, order[:count], along)),
    ],
  }


def histogram_bars(
  counts: Sequence[int], own: Sequence[int]
) -> Iterator[tuple[str, int, float]]:
  """Yields the bars of a histogram."""
  most = max(1, *counts)
  for i, (total, part) in enumerate(zip(counts, own, strict=True)):
    for kind, value in (("all", total), ("own", part)):
      if value:
        yield kind, i, 100 * value / most


def _examples(
  subject: Subject, rows: np.ndarray, along: np.ndarray | None = None
) -> list[Example]:
  """Examples with their coordinates and fine labels."""
  task, examples = subject.task, subject.subclasses.examples
  made = []
  for row in rows:
    labels = [] if along is None else [f"{along[row]:+.2f}"]
    if "fine_labels" in examples:
      labels.append(_fine_name(task, examples["fine_labels"][row]))
    if task.image_shape is not None:
      picture = image(examples["inputs"][row], task.scale)
      made.append(Example(tuple(labels), image=picture))
      continue
    number = int(examples["ids"][row])
    text = subject.text_of(number) if subject.text_of else f"example {number}"
    made.append(Example(tuple(labels), text))
  return made
