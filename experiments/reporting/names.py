"""What columns are called above a table and a picture."""

from experiments.paper.columns import parse_column
from experiments.paper.columns import printed_name
from experiments.reporting.records import Named

CORNER = "Teacher architecture\nStudent architecture\nDataset"
LABELLED_CORNER = f"{CORNER}\nLabelled examples"


def column_header(column: Named) -> str:
  r"""Returns teacher, student and data of a column as the paper has them.

  Args:
    column: A column; one that is not ``dataset-teacher-student`` keeps its
      title.

  Examples:
    >>> column_header(Named("amazon-albert_xxlarge-mlp", ""))
    'ALBERT-XXL\nMLP/T5(11B)\nAmazon Reviews'
  """
  try:
    place = parse_column(column.id)
  except ValueError:
    return column.title
  names = (place.teacher, place.student, place.dataset)
  lines = [printed_name(name) for name in names]
  lines += [str(place.num_labelled)] if place.num_labelled else []
  return "\n".join(lines)


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
