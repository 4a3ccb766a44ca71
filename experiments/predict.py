r"""Predicts the classes of texts or images with an exported student.

  python -m experiments.predict --student=runs/reviews/student \
    --data=new.csv --output=predictions.csv

The output has one row per row of the input, in the same order: the columns of
the input, then `label`, and `p_<label>` for each class. A column of the input
that has one of these names is renamed to `input_<name>`. Empty and missing
texts are predicted, too. If a row cannot be read, the command names it and
writes nothing.
"""

import itertools
import pathlib
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from experiments import cli
from experiments.data import tables
from experiments.distillation import description
from experiments.distillation import flags as shared_flags
from experiments.distillation import input_rows
from experiments.distillation import output_rows
from experiments.distillation.input_rows import InputRows
from experiments.distillation.predictor import Predictor
from experiments.distributed import signals
from experiments.io.progress import Progress

# Number of rows that are in memory at once.
_WINDOW = {"text": 8192, "image": 256, "embeddings": 8192}

_STUDENT = shared_flags.string_flag(
  "student",
  "Folder of the student, such as runs/reviews/student.",
  required=True,
)
_DATA = shared_flags.string_flag(
  "data",
  "The rows to predict: tables (.csv, .tsv, .jsonl, .parquet, text files also "
  "compressed), several of them separated by commas, a pattern or a folder of "
  "them; a folder of images; or, for a student that reads embeddings, .npy.",
  required=True,
)
_OUTPUT = shared_flags.string_flag(
  "output",
  "The file to write: .csv, .tsv, .jsonl or .parquet, or - for CSV on standard "
  "output.",
  required=True,
)
_TEXT_COLUMN = shared_flags.string_flag(
  "text_column",
  "Column of the texts; by default the one of the training data.",
)
_IMAGE_COLUMN = shared_flags.string_flag(
  "image_column",
  "Column of images in a table: their bytes, or paths relative to the table's "
  "folder; by default the one of the training data.",
)
_OPTIONS = {
  "encoding": shared_flags.string_flag(
    "encoding",
    "Encoding of text files; by default UTF-8, or as the byte order mark says.",
  ),
  "delimiter": shared_flags.string_flag(
    "delimiter",
    "Character between the fields of a CSV or TSV file; by default it is "
    "detected.",
  ),
  "quoting": flags.DEFINE_enum(
    "quoting",
    None,
    ["auto", "double", "none"],
    'Quotes in CSV and TSV files: "double" if fields may stand in double '
    'quotes, "none" if not. By default "double" for CSV and "none" for TSV.',
    allow_override=True,
  ),
  "header": flags.DEFINE_bool(
    "header",
    None,
    "Whether CSV and TSV files start with the names of their columns; by "
    "default as in the training data. Without names, columns are numbers.",
    allow_override=True,
  ),
}


def main() -> None:
  """Predicts the rows that the flags name."""
  with cli.reported(), signals.deferred():
    given = {name: holder.value for name, holder in _OPTIONS.items()}
    predict(
      cli.folder(_STUDENT.value),
      _DATA.value,
      _OUTPUT.value,
      text_column=_TEXT_COLUMN.value or "",
      image_column=_IMAGE_COLUMN.value or "",
      **{name: value for name, value in given.items() if value is not None},
    )


def predict(
  folder: pathlib.Path,
  data: str,
  output: str,
  *,
  text_column: str = "",
  image_column: str = "",
  **options: Any,
) -> None:
  """Predicts every row of a user's files.

  Args:
    folder: Folder of the student.
    data: The files, as `tables.find_files` takes them.
    output: The file to write, or "-".
    text_column: Column of the texts; by default that of the training data.
    image_column: Column of the images; by default that of the training data.
    **options: Options of text files, see `tables.TEXT_OPTIONS`.

  Raises:
    Interrupted: On SIGINT or SIGTERM; nothing is written.
    OSError: If a file cannot be read or written.
    ValueError: If the student cannot read the files, or a row is malformed.
  """
  student, labels = description.read(folder)
  output_rows.check_output(output, tables.find_files(data))
  try:
    inputs = input_rows.find(
      data,
      student,
      text_column=text_column or student.text_column,
      image_column=image_column or student.image_column,
      **{"header": student.header, **options},
    )
  except ValueError as error:
    raise ValueError(str(error).replace("config.data.", "--")) from error
  for note in [*inputs.notes, *_notes(inputs, output, labels)]:
    _print(note)
  predictor = Predictor(folder)
  names, num_empty, num_done = np.array(labels), 0, 0
  rows = inputs.rows()
  with (
    output_rows.writing(output, inputs.columns, labels) as write,
    Progress(inputs.num_rows, label="predict", unit="row") as progress,
  ):
    while window := list(itertools.islice(rows, _WINDOW[student.reads])):
      signals.stop_if_asked("nothing is written", all_processes=False)
      values = [value for _, value in window]
      if student.reads == "text":
        num_empty += sum(not value.strip() for value in values)
      probabilities = predictor.predict(values, num_done)
      bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
      if bad.size:
        raise ValueError(
          f"the student gives NaN for row {num_done + bad[0] + 1:,} of "
          f"--data={data}, so nothing is written: are its numbers finite?"
        )
      chosen = names[probabilities.argmax(axis=1)].tolist()
      write([row for row, _ in window], chosen, probabilities)
      num_done += len(window)
      progress.update(len(window))
  empty = f", {num_empty:,} with an empty text" if num_empty else ""
  _print(f"{inputs.num_rows:,} rows{empty}: {output}")


def _notes(
  inputs: InputRows, output: str, labels: Sequence[str]
) -> Iterator[str]:
  """Yields notes on the columns that are renamed or left out."""
  for column, name in output_rows.renamed(list(inputs.columns), labels).items():
    yield f"the input's column {column!r} is written as {name!r}."
  for column in output_rows.left_out(output, inputs.columns):
    yield (
      f"the column {column!r} holds bytes, which only Parquet can store: it is "
      "left out."
    )


def _print(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
  cli.run(main)
