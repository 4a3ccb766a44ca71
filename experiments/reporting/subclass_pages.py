"""HTML pages that show the subclasses of a cell: an index and a page per class.

`experiments.subclasses` writes them.
"""

import dataclasses
from collections.abc import Callable
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
# With more fine labels than this, a table sorts them by the subclass that has
# most of their examples.
_MOST_IN_ORDER = 12


@dataclasses.dataclass(frozen=True)
class Subject:
  """Everything that the pages of a cell show.

  Attributes:
    title: Title of the cell.
    facts: Facts about the cell, by name.
    task: Task of the data set.
    subclasses: The subclasses of the examples.
    text_of: Returns the text of an example by its id; None for images and for
      examples without a text, which appear by their ids.
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

  Returns the HTML of the pages by file name, starting with `INDEX`.
  """
  per_class, over_all = (), None
  if "fine_labels" in subject.subclasses.examples:
    num_fine = len(subject.task.fine_to_class or ())
    per_class, over_all = subclass_information(subject.subclasses, num_fine)
  pages = {INDEX: _index(subject, per_class, over_all)}
  for c in range(subject.task.num_classes):
    information = per_class[c] if per_class else None
    pages[_file(c)] = _class_page(subject, c, information)
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
  subject: Subject,
  per_class: Sequence[Information],
  over_all: Information | None,
) -> str:
  """Makes the page with the table of all classes."""
  subclasses, task = subject.subclasses, subject.task
  labels = np.asarray(subclasses.examples["labels"])
  shares = subclasses.variance_shares
  header = ["class", "examples", f"{subclasses.kind}s"]
  header += ["variation captured"] * (shares is not None)
  if over_all is not None:
    header += ["information (nats)", "by chance", "from 0 to 1", "by chance"]
  rows = []
  for c in range(task.num_classes):
    texts = [f"{(labels == c).sum():,}", str(subclasses.where[c].sum())]
    texts += [] if shares is None else [_percent(shares[c].sum())]
    texts += _information_texts(per_class[c]) if per_class else []
    rows.append((_file(c), _class_name(task, c), texts))
  if over_all is not None:
    texts = [f"{len(labels):,}", str(subclasses.where.sum())]
    texts += [""] * (shares is not None) + _information_texts(over_all)
    rows.append(("", "all classes", texts))
  return render(
    "subclass_index.html.j2",
    subject=subject,
    header=header,
    rows=rows,
    has_information=over_all is not None,
    num_permutations=NUM_PERMUTATIONS,
  )


def _information_texts(information: Information) -> list[str]:
  """Formats mutual information, and that of shuffled labels, for a table."""
  chance = information.chance
  return [
    f"{information.nats:.3f} of {information.entropy:.3f}",
    f"{chance.mean:.3f} ± {chance.std:.3f}",
    f"{information.normalized:.3f}",
    f"{information.chance_normalized:.3f}",
  ]


def _class_page(
  subject: Subject, c: int, information: Information | None
) -> str:
  """Makes the page of one class."""
  task, subclasses = subject.task, subject.subclasses
  rows = np.flatnonzero(np.asarray(subclasses.examples["labels"]) == c)
  fine: list[int] = []
  if information is not None:
    counts = information.counts
    fine = np.flatnonzero(counts.any(axis=0)).tolist()
    if len(fine) > _MOST_IN_ORDER:
      fine.sort(key=lambda f: counts[:, f].argmax())
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
    information=_information_texts(information) if information else None,
    fine_names=[_fine_name(task, f) for f in fine],
    subclasses=[
      _subclass(subject, c, int(s), rows, information, fine)
      for s in np.flatnonzero(subclasses.where[c])
    ]
    if len(rows)
    else [],
  )


def _subclass(
  subject: Subject,
  c: int,
  s: int,
  rows: np.ndarray,
  information: Information | None,
  fine: Sequence[int],
) -> dict[str, Any]:
  """Returns the fields of the template for subclass `s` of class `c`."""
  subclasses = subject.subclasses
  members = rows[subclasses.assignments[rows] == s]
  fields: dict[str, Any] = {
    "number": s,
    "num_examples": len(members),
    "share": _percent(len(members) / len(rows)),
    "variance": None,
    # Number of examples by fine label, each with its share of the fine label.
    "counts": [],
  }
  if subclasses.variance_shares is not None:
    fields["variance"] = _percent(subclasses.variance_shares[c, s])
  if information is not None:
    counts, totals = information.counts[s], information.counts.sum(axis=0)
    fields["counts"] = [(counts[f], counts[f] / totals[f]) for f in fine]
  if subclasses.coordinates is None:
    drawn = np.random.default_rng(s).permutation(members)[: subject.num_shown]
    ends = [("", _examples(subject, drawn))]
    return fields | {"histogram": None, "ends": ends}
  along = subclasses.coordinates[:, s]
  # The histograms of all directions of a class have the same range.
  every = subclasses.coordinates[rows][:, subclasses.where[c]]
  limits = float(every.min()), float(every.max())
  heights, own_heights = (
    np.histogram(along[some], _NUM_BINS, limits)[0].tolist()
    for some in (rows, members)
  )
  order = rows[np.argsort(along[rows], kind="stable")]
  # Few examples are divided between the two ends.
  count = min(subject.num_shown, max(1, len(order) // 2))
  return fields | {
    "histogram": {
      "limits": [f"{limit:+.2f}" for limit in limits],
      "num_bins": _NUM_BINS,
      # Examples of the class and, drawn over them, those of the subclass.
      "bars": list(zip(heights, own_heights, strict=True)),
      "most": max(heights),
    },
    "ends": [
      ("Most typical", _examples(subject, order[::-1][:count], along)),
      ("Least typical", _examples(subject, order[:count], along)),
    ],
  }


def _examples(
  subject: Subject, rows: np.ndarray, along: np.ndarray | None = None
) -> list[Example]:
  """Returns examples with their coordinates and fine labels."""
  task, examples = subject.task, subject.subclasses.examples
  shown = []
  for row in rows:
    labels = [] if along is None else [f"{along[row]:+.2f}"]
    if "fine_labels" in examples:
      labels.append(_fine_name(task, examples["fine_labels"][row]))
    if task.image_shape is not None:
      picture = image(examples["inputs"][row], task.scale)
      shown.append(Example(tuple(labels), image=picture))
      continue
    number = int(examples["ids"][row])
    text = subject.text_of(number) if subject.text_of else f"example {number}"
    shown.append(Example(tuple(labels), text))
  return shown
