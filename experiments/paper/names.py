"""Ids and printed names of the columns and rows of tables."""

import dataclasses
import functools
import json
import pathlib
import re
from typing import Any

# Titles of rows that are a method with special settings: the ablations of LELP
# (appendix C), and the rows of `configs/null_space.py`, `sensitivity.py` and
# `random_ensembles.py`.
ROW_TITLES = {
  "lelp_pca": "LELP, plain principal directions",
  "lelp_random": "LELP, random directions",
  "lelp_random_ensemble": "LELP, ensembles of random directions",
  "lelp_identity": "LELP, all coordinates",
  "lelp_differences": "LELP, off the differences of weights",
  "lelp_unprojected": "LELP, without the projection",
  "lelp_num_subclasses": "LELP, S varied",
  "lelp_subclass_temperature": "LELP, β varied",
  "lelp_temperature": "LELP, τ varied",
  "lelp_rotation": "LELP, rotation varied",
  "lelp_subclass_weight": "LELP, inner weight varied",
}


@functools.cache
def read(name: str) -> Any:
  """Returns the contents of a JSON file of this folder; do not change them."""
  path = pathlib.Path(__file__).with_name(f"{name}.json")
  return json.loads(path.read_text(encoding="utf-8"))


def printed_name(name: str) -> str:
  """Returns the paper's name of a data set or model; `name` if it has none.

  Examples:
    >>> printed_name("albert_xxlarge"), printed_name("digits")
    ('ALBERT-XXL', 'digits')
  """
  return read("names").get(name, name)


@dataclasses.dataclass(frozen=True)
class PaperColumn:
  """A column of a table: data set, teacher and student.

  Attributes:
    dataset: A data set, as `experiments.prepare` names it.
    teacher: A key of `lelp_jax.models.MODELS`.
    student: As `teacher`.
    num_labelled: Number of labels that the teacher sees, 0 for all (Table 5).
    transfer: Percentage of the examples that students see, 0 if the id does not
      say (Figure 6).
    num_merged: Number of classes that the data set's classes are merged into,
      0 for none.
  """

  dataset: str
  teacher: str
  student: str
  num_labelled: int = 0
  transfer: int = 0
  num_merged: int = 0

  @property
  def id(self) -> str:
    """Name of the column in configs and folders."""
    parts = [self.dataset, self.pair]
    parts += [str(self.num_labelled)] if self.num_labelled else []
    parts += [f"transfer{self.transfer}"] if self.transfer else []
    parts += [f"merged{self.num_merged}"] if self.num_merged else []
    return "-".join(parts)

  @property
  def pair(self) -> str:
    """Teacher and student."""
    return f"{self.teacher}-{self.student}"


def parse_column(column: str) -> PaperColumn:
  """Parses the id of a column.

  Args:
    column: ``dataset-teacher-student``, followed by ``-n`` for ``n`` labels,
      ``-transferP`` for P percent of the examples, ``-mergedC`` for C classes.

  Examples:
    >>> parse_column("cifar100-resnet92-mobilenet-10000").num_labelled
    10000
    >>> parse_column("cifar100-resnet92-resnet56-merged20").num_merged
    20
  """
  match = re.fullmatch(
    r"(\w+)-(\w+)-(\w+?)(?:-([1-9]\d*))?(?:-transfer(\d+))?(?:-merged(\d+))?",
    column,
  )
  if match is None:
    raise ValueError(
      "a column must be dataset-teacher-student, or dataset-teacher-student-"
      'labels, such as "cifar100_bin-resnet92-mobilenet", got '
      f"{column!r}."
    )
  dataset, teacher, student, *numbers = match.groups()
  labelled, transfer, merged = (int(text or 0) for text in numbers)
  return PaperColumn(dataset, teacher, student, labelled, transfer, merged)


def row_title(row: str, method: str, method_title: str) -> str:
  """Returns the printed name of a row.

  Examples:
    >>> row_title("lelp", "lelp", "LELP"), row_title("wide", "lelp", "LELP")
    ('LELP', 'LELP: wide')
  """
  if row in ROW_TITLES:
    return ROW_TITLES[row]
  return method_title if row == method else f"{method_title}: {row}"
