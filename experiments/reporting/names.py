"""Headers and names of columns, with the names that the paper prints."""

from experiments.paper.names import PaperColumn
from experiments.paper.names import parse_column
from experiments.paper.names import printed_name
from experiments.results import Heading

_CORNER = "Teacher architecture\nStudent architecture\nDataset"
_CORNERS = {2: _CORNER, 3: f"{_CORNER}\nLabelled examples"}


def paper_column(column: str) -> PaperColumn | None:
  """Parses the id of a column; None if it does not name data set and models."""
  try:
    return parse_column(column)
  except ValueError:
    return None


def column_header(column: Heading) -> str:
  r"""Returns teacher, student and data of a column, one per line.

  Examples:
    >>> column_header(Heading("amazon-albert_xxlarge-mlp", ""))
    'ALBERT-XXL\nMLP/T5(11B)\nAmazon Reviews'
    >>> column_header(Heading("cifar100-resnet92-resnet56-merged20", ""))
    'ResNet92\nResNet56\nCIFAR-100 in 20 classes'
  """
  place = paper_column(column.id)
  if place is None:
    return column.title
  names = (place.teacher, place.student, place.dataset)
  lines = [printed_name(name) for name in names]
  lines[-1] += f", {place.transfer} % of it" if place.transfer else ""
  lines[-1] += f" in {place.num_merged} classes" if place.num_merged else ""
  lines += [str(place.num_labelled)] if place.num_labelled else []
  return "\n".join(lines)


def corner(header: tuple[str, ...]) -> str:
  """Returns the text above the labels: the meaning of each line of the header.

  It is empty unless all texts of the header are results of `column_header`.
  """
  heights = {text.count("\n") for text in header}
  return _CORNERS.get(heights.pop(), "") if len(heights) == 1 else ""


def column_name(column: Heading) -> str:
  """Returns the name of a column on one line.

  Examples:
    >>> column_name(Heading("cifar100-resnet92-mobilenet-10000", ""))
    'CIFAR-100, ResNet92 to MobileNet, 10000 labels'
  """
  lines = column_header(column).split("\n")
  if len(lines) < 3:
    return column.title
  teacher, student, dataset, *labelled = lines
  name = f"{dataset}, {teacher} to {student}"
  return f"{name}, {labelled[0]} labels" if labelled else name
