"""What columns are called above a table and a picture."""

import re

from experiments.paper.columns import Column
from experiments.paper.columns import parse_column
from experiments.paper.columns import printed_name
from experiments.reporting.records import Named

CORNER = "Teacher architecture\nStudent architecture\nDataset"
LABELLED_CORNER = f"{CORNER}\nLabelled examples"

# Columns that differ from another in one thing say so at their end.
_SPECIAL = {
  r"transfer(\d+)": ", {} % of it",
  r"merged(\d+)": " in {} classes",
}


def column_header(column: Named) -> str:
  r"""Returns teacher, student and data of a column as the paper has them.

  Args:
    column: A column; one that is not ``dataset-teacher-student`` keeps its
      title.

  Examples:
    >>> column_header(Named("amazon-albert_xxlarge-mlp", ""))
    'ALBERT-XXL\nMLP/T5(11B)\nAmazon Reviews'
    >>> column_header(Named("cifar100-resnet92-resnet56-merged20", ""))
    'ResNet92\nResNet56\nCIFAR-100 in 20 classes'
  """
  name, special = _without_special(column.id)
  try:
    place = parse_column(name)
  except ValueError:
    return column.title
  names = (place.teacher, place.student, place.dataset)
  lines = [printed_name(name) for name in names]
  lines[-1] += special
  lines += [str(place.num_labelled)] if place.num_labelled else []
  return "\n".join(lines)


def paper_place(column: Named) -> Column | None:
  """Returns the paper's column of which a column is, whole or a share of it.

  Args:
    column: A column.

  Returns:
    Its data and models, or None where it has other data or none of a name.

  Examples:
    >>> paper_place(Named("cifar100-resnet92-mobilenet-transfer10", "")).id
    'cifar100-resnet92-mobilenet'
    >>> paper_place(Named("cifar100-resnet92-mobilenet-merged20", ""))
  """
  name, special = _without_special(column.id)
  if special.startswith(" in "):
    return None
  try:
    return parse_column(name)
  except ValueError:
    return None


def _without_special(name: str) -> tuple[str, str]:
  """A column's id without what is special about it, and that as text."""
  for pattern, text in _SPECIAL.items():
    match = re.fullmatch(f"(.*)-{pattern}", name)
    if match:
      return match[1], text.format(match[2])
  return name, ""


def corner(header: tuple[str, ...]) -> str:
  """Returns what the lines of such headers are, or nothing."""
  lines = [text.count("\n") for text in header]
  if len(set(lines)) > 1:
    return ""
  return {2: CORNER, 3: LABELLED_CORNER}.get(max(lines, default=0), "")


def column_name(column: Named) -> str:
  """Returns the same in one line.

  Examples:
    >>> column_name(Named("cifar100-resnet92-mobilenet-10000", ""))
    'CIFAR-100, ResNet92 to MobileNet, 10000 labels'
  """
  lines = column_header(column).split("\n")
  if len(lines) < 3:
    return column.title
  teacher, student, dataset, *labelled = lines
  name = f"{dataset}, {teacher} to {student}"
  return f"{name}, {labelled[0]} labels" if labelled else name
