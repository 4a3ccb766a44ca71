"""Teachers of every kind, brought into one form: embeddings and a linear head.

`prepare_teacher` runs a teacher once on a user's data, or reads the arrays that
another framework wrote, and leaves a folder

  <workdir>/teacher/embeddings.npy, ids.npy, manifest.json
  <workdir>/teacher/student.msgpack, config.json             the head

which `config.data.embeddings` and `config.teacher.init` read: a linear model on
precomputed embeddings. Teacher and student may have different tokenizers.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.data import embeddings as embeddings_lib
from experiments.data import load
from experiments.data.prepared import file_sha256
from experiments.data.prepared import Prepared
from experiments.data.source_rows import id_name
from experiments.data.source_rows import source_rows
from experiments.data.source_rows import SourceRows
from experiments.distillation import arrays as arrays_lib
from experiments.io import array_files
from experiments.io import json_files
from experiments.io import students
from experiments.specs import DataSpec

_ROWS_PER_PART = 65_536
_LINEAR = {"model": "mlp", "options": {"features": ()}}


@dataclasses.dataclass(frozen=True)
class TeacherArrays:
  """A teacher in the form that every kind is brought into.

  Attributes:
    folder: Holds the embeddings of all examples, and the head.
    class_names: Name of each class, in the order of the head's outputs.
    kernel: The head's weights, float32, ``[D, C]``.
    bias: Its bias, float32, ``[C]``.
    tokenizer: Folder or hub id of the teacher's tokenizer, "" for arrays.
    source: What the teacher is, plain data: "kind", "name", and where they are
      known "family", "parameters", "bytes" and "examples_per_second".
    token_embeddings: Returns the teacher's table of token embeddings
      ``[V, D]``; None if it has none.
    weights: Folder or hub id of the teacher's weights; None for arrays.
  """

  folder: pathlib.Path
  class_names: tuple[str, ...]
  kernel: np.ndarray
  bias: np.ndarray
  tokenizer: str
  source: Mapping[str, Any]
  token_embeddings: Callable[[], np.ndarray] | None = None
  weights: str | None = None

  def overrides(self) -> dict[str, Any]:
    """Returns the fields of a config that make it use this teacher."""
    return {
      "data.embeddings": str(self.folder),
      "teacher.model": _LINEAR["model"],
      "teacher.options.features": (),
      "teacher.input_field": "embeddings",
      "teacher.init": str(self.folder),
      "teacher.init_head": "pretrained",
      "teacher.num_epochs": 0.0,
      "teacher.num_steps": 0,
      # A batch must not be larger than the training set.
      "teacher.batch_size": 8,
    }


def prepare_teacher(
  teacher: str,
  data: DataSpec,
  workdir: pathlib.Path,
  *,
  finetune_epochs: float | None = None,
  id_column: str = "",
  labels: Sequence[str] = (),
) -> TeacherArrays:
  """Brings a teacher into one form: its embeddings of all examples, and a head.

  Args:
    teacher: A folder of arrays; see `arrays`.
    data: `config.data`; the tokenizer does not matter.
    workdir: Folder of the run; the result is kept in its folder `teacher`.
    finetune_epochs: Length of the fine-tuning of an encoder without a
      classifier.
    id_column: Column of the data whose values the ids of arrays are.
    labels: The label of each output; by default what the teacher says.

  Raises:
    FileNotFoundError: If there is no such teacher.
    Interrupted: On SIGINT or SIGTERM; what is computed is kept.
    ValueError: If the teacher does not fit the data.
  """
  folder = pathlib.Path(teacher).expanduser()
  data = dataclasses.replace(data, tokenizer="", embeddings="")
  found = load.open_data(data, workdir)
  given = arrays_lib.read_arrays(folder)
  rows = _rows(given, found, source_rows(data, found, id_column), id_column)
  order = _order_of_outputs(given, found, labels)
  files = sorted(folder.glob("*.npy"))
  origin = {
    "encoder": {
      "arrays": {path.name: file_sha256(path) for path in files},
      "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
    },
    "texts": {"splits": embeddings_lib.dataset_contents(found)},
  }

  def compute(start: int, stop: int, fixed: Any) -> dict[str, np.ndarray]:
    del fixed
    values = given.embeddings[rows[start:stop]]
    return {"embeddings": np.asarray(values, np.float32)}

  written = _write(
    workdir / "teacher",
    origin,
    len(rows),
    given.embeddings.shape[1],
    compute,
    _ROWS_PER_PART,
  )
  kernel, bias = given.kernel[:, order], given.bias[order]
  _write_head(written, kernel, bias)
  return TeacherArrays(
    folder=written,
    class_names=found.task.class_names,
    kernel=kernel,
    bias=bias,
    tokenizer="",
    source={"kind": "arrays", "name": folder.name},
  )


def _rows(
  given: arrays_lib.Arrays,
  found: Prepared,
  source: SourceRows,
  id_column: str,
) -> np.ndarray:
  """Returns the row of the arrays that belongs to each example."""
  num_rows = len(given.embeddings)
  if given.ids is None:
    if id_column:
      raise ValueError(
        f"--id_column={id_column}, and {given.folder} has no ids.npy: write "
        "the values of that column there, in the order of the arrays."
      )
    if num_rows != source.num_rows:
      sizes = source.describe()
      raise ValueError(
        f"{given.folder / 'embeddings.npy'} has {num_rows:,} rows, and the "
        f"data have {source.num_rows:,} ({sizes}): write a row for each of "
        "them in this order, those without a label too, or add ids.npy and "
        "set --id_column."
      )
    return source.rows
  if source.names is None:
    raise ValueError(
      f"{given.folder} has ids.npy: set --id_column to the column that holds "
      "these ids, or delete ids.npy if the rows are those of the data."
    )
  return _rows_by_id(given, source, id_column)


def _rows_by_id(
  given: arrays_lib.Arrays, source: SourceRows, id_column: str
) -> np.ndarray:
  """Returns the row of the arrays that has the id of each example."""
  assert given.ids is not None
  assert source.names is not None
  names = [source.names[row] for row in source.rows]
  for row, name in zip(source.rows, names, strict=True):
    if name is None:
      raise ValueError(
        f"{source.place(row)} has no value in --id_column={id_column}: name a "
        "column that has one in each row."
      )
  present = [name for name in names if name is not None]
  unique, counts = np.unique(present, return_counts=True)
  if len(unique) < len(present):
    twice = unique[np.argmax(counts > 1)]
    raise ValueError(
      f"the id {twice!r} occurs more than once in --id_column={id_column}, "
      "among all files: use a column of unique ids, or delete ids.npy and "
      "write the arrays in the order of the rows."
    )
  ids = np.array([id_name(value) or "" for value in given.ids.tolist()])
  rows = arrays_lib.positions(ids, present)
  missing = np.flatnonzero(rows < 0)
  if len(missing):
    raise ValueError(
      f"{given.folder / 'ids.npy'} lacks {len(missing):,} of the "
      f"{len(rows):,} examples, the first with id {present[missing[0]]!r} "
      f"({source.place(int(source.rows[missing[0]]))}): write the outputs for "
      "all of them."
    )
  return rows


def _order_of_outputs(
  given: arrays_lib.Arrays, found: Prepared, labels: Sequence[str]
) -> np.ndarray:
  """Returns the output that belongs to each class of the data."""
  names, num_outputs = found.task.class_names, given.kernel.shape[1]
  if num_outputs != len(names):
    raise ValueError(
      f"the teacher in {given.folder} has {num_outputs} classes, and the data "
      f"have {len(names)}: {', '.join(names[:10])}."
    )
  del labels
  return np.arange(num_outputs)


def _write(
  folder: pathlib.Path,
  origin: Mapping[str, Any],
  num_rows: int,
  width: int,
  compute: Callable[[int, int, Any], dict[str, np.ndarray]],
  rows_per_part: int,
) -> pathlib.Path:
  """Writes embeddings of all examples, in parts; returns the folder."""
  shape = jax.ShapeDtypeStruct((num_rows, width), np.float32)
  content = array_files.Content(
    origin,
    {"embeddings": shape},
    (*range(0, num_rows, rows_per_part), num_rows),
  )
  array_files.load_or_compute(
    folder,
    content,
    compute,
    # Ids of prepared examples are their positions.
    fixed={"ids": np.arange(num_rows, dtype=np.int32)},
    label="outputs of the teacher",
  )
  return folder


def _write_head(
  folder: pathlib.Path, kernel: np.ndarray, bias: np.ndarray
) -> None:
  """Writes a head as the weights of a linear model."""
  head = {"kernel": np.asarray(kernel), "bias": np.asarray(bias)}
  students.save_student(folder / "student.msgpack", {"head": head}, {})
  json_files.write_json(folder / "config.json", {"student": _LINEAR})
