"""A table, the arrays of its teacher, and requests to distil it."""

import pathlib
from typing import Any

import numpy as np

from experiments.distillation import student_models
from experiments.distillation.pipeline import Request
from tests.experiments.distillation import recorded

# The smallest student, and a training of two chunks, from which it learns:
# without that, its probabilities would be equal but for rounding.
STUDENT = "static:width=4,features=(4,)"
TRAINING = {
  "student.num_steps": 6,
  "student.steps_per_chunk": 3,
  "student.learning_rate": 0.1,
}


def write(
  folder: pathlib.Path, num_rows: int = 120, num_unlabelled: int = 12
) -> dict[str, np.ndarray]:
  """Writes reviews.csv, of which the last rows have no label, and teacher/."""
  table = folder / "reviews.csv"
  labels = recorded.write_table(table, num_rows)
  lines = table.read_text().splitlines()
  for row in range(num_rows - num_unlabelled + 1, num_rows + 1):
    lines[row] = lines[row].rpartition(",")[0] + ","
  table.write_text("\n".join(lines) + "\n")
  arrays = recorded.outputs(labels)
  recorded.write_arrays(folder / "teacher", arrays)
  return arrays


def request(folder: pathlib.Path, **changes: Any) -> Request:
  """A request to distil what `write` wrote; changes name flags or fields."""
  given = TRAINING | changes.pop("given", {})
  values: dict[str, Any] = {
    "train": str(folder / "reviews.csv"),
    "text_column": "text",
    "label_column": "label",
  }
  for name in (*values, "test", "unlabelled_files", "image_column"):
    if name in changes:
      values[name] = changes.pop(name)
  student = student_models.parse(changes.pop("student", STUDENT))
  fields = {
    "teacher": str(folder / "teacher"),
    "student": student,
    "fields": {f"data.{k}": v for k, v in values.items()} | given,
    "given": given,
    "workdir": folder / "run",
  }
  return Request(**fields | changes)
