"""What stands above a column of the paper's tables: data, teacher, student."""

import dataclasses
import functools
import json
import pathlib
import re
from typing import Any


@functools.cache
def read(name: str) -> Any:
  """Returns what a JSON file of this folder holds; not to be changed."""
  path = pathlib.Path(__file__).with_name(f"{name}.json")
  return json.loads(path.read_text(encoding="utf-8"))


def printed_name(name: str) -> str:
  """Returns the paper's name of a dataset or model; others stay as they are.

  Examples:
    >>> printed_name("albert_xxlarge"), printed_name("digits")
    ('ALBERT-XXL', 'digits')
  """
  return read("names").get(name, name)


@dataclasses.dataclass(frozen=True)
class Column:
  """A setting that methods are compared in.

  Attributes:
    dataset: A dataset, as `experiments.prepare` names it.
    teacher: A key of `lelp_jax.models.MODELS`.
    student: As `teacher`.
    num_labelled: Labels that the teacher sees, 0 for all (Table 5).
  """

  dataset: str
  teacher: str
  student: str
  num_labelled: int = 0

  @property
  def id(self) -> str:
    """What names the column in configs and in folders."""
    labelled = (str(self.num_labelled),) if self.num_labelled else ()
    return "-".join((self.dataset, self.pair, *labelled))

  @property
  def pair(self) -> str:
    """Teacher and student."""
    return f"{self.teacher}-{self.student}"


def parse_column(column: str) -> Column:
  """Returns the column that an id names.

  Args:
    column: ``dataset-teacher-student``, and ``-n`` for ``n`` labels.

  Raises:
    ValueError: If it is no such id. What it names need not be in the paper.

  Examples:
    >>> parse_column("cifar100-resnet92-mobilenet-10000").num_labelled
    10000
  """
  match = re.fullmatch(r"(\w+)-(\w+)-(\w+)(?:-([1-9]\d*))?", column)
  if match is None:
    raise ValueError(
      "a column must be dataset-teacher-student, or dataset-teacher-student-"
      'labels, such as "cifar100_bin-resnet92-mobilenet", got '
      f"{column!r}."
    )
  dataset, teacher, student, labelled = match.groups()
  return Column(dataset, teacher, student, int(labelled or 0))
