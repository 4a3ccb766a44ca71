"""A teacher given as arrays, which any framework can write.

  <folder>/embeddings.npy   float [N, D]: the inputs of the last linear layer
  <folder>/logits.npy       float [N, C]: the outputs of this layer
  <folder>/head_kernel.npy  float [D, C]: its weights
  <folder>/head_bias.npy    float [C]: its bias; absent if it has none
  <folder>/ids.npy          [N], optional: the id of each row
  <folder>/labels.json      optional: a list with the label of each output

A binary classifier with a single sigmoid output has a kernel [D, 1] or [D], and
logits [N, 1] or [N].
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data import tables
from experiments.data.source_rows import id_name
from experiments.data.source_rows import SourceRows
from experiments.distillation import head_check
from experiments.io import json_files

_SHAPES = {
  "embeddings": "[N, D]",
  "logits": "[N, C]",
  "head_kernel": "[D, C]",
  "head_bias": "[C]",
}
_OPTIONAL = ("head_bias",)
_ROWS_AT_ONCE = 4096
_MOST_NAMED = 5  # Rows that an error message lists.


@dataclasses.dataclass(frozen=True)
class Arrays:
  """The checked embeddings and head of a teacher.

  Attributes:
    folder: Folder of the arrays.
    embeddings: Float, ``[N, D]``, memory-mapped.
    kernel: The head's weights, float32, ``[D, C]``, with C at least 2.
    bias: The head's bias, float32, ``[C]``; zeros if it has none.
    ids: The id of each row, ``[N]``; None if the rows are those of the data, in
      the same order.
    labels: The label of each output; empty if there is no labels.json.
  """

  folder: pathlib.Path
  embeddings: np.ndarray
  kernel: np.ndarray
  bias: np.ndarray
  ids: np.ndarray | None
  labels: tuple[str, ...] = ()


def is_arrays(folder: pathlib.Path) -> bool:
  """Returns whether a folder holds at least one of a teacher's arrays."""
  names = [f"{name}.npy" for name in _SHAPES]
  return any((folder / name).is_file() for name in names)


def read_arrays(folder: pathlib.Path) -> Arrays:
  """Reads a teacher's arrays, and checks that they belong together.

  Args:
    folder: Folder of the arrays.

  Raises:
    FileNotFoundError: If a file is missing.
    ValueError: If an array has another shape or type, a row is not finite, or
      the head does not reproduce the logits; the message then names the likely
      mistake.
  """
  found = {name: _read(folder, name) for name in _SHAPES}
  arrays = {k: array for k, array in found.items() if array is not None}
  _check_shapes(folder, arrays)
  for name, array in arrays.items():
    _check_finite(folder / f"{name}.npy", array)
  embeddings, logits = arrays["embeddings"], arrays["logits"]
  kernel = np.asarray(arrays["head_kernel"], np.float32)
  bias = None
  if "head_bias" in arrays:
    bias = np.asarray(arrays["head_bias"], np.float32)
  if problem := head_check.problem(embeddings, logits, kernel, bias):
    raise ValueError(
      f"{folder}: embeddings @ head_kernel + head_bias is not logits: {problem}"
    )
  if bias is None:
    bias = np.zeros(kernel.shape[1], np.float32)
  if kernel.shape[1] == 1:
    two = lelp_jax.binary_head(jnp.asarray(kernel), jnp.asarray(bias))
    kernel, bias = map(np.asarray, two)
  return Arrays(
    folder, embeddings, kernel, bias, _ids(folder, len(logits)), _labels(folder)
  )


def _read(folder: pathlib.Path, name: str) -> np.ndarray | None:
  """Memory-maps an array; returns None if it is optional and missing."""
  path = folder / f"{name}.npy"
  if not path.is_file():
    if name in _OPTIONAL:
      return None
    raise FileNotFoundError(
      f"there is no {path}: a teacher given as arrays needs embeddings.npy, "
      "logits.npy and head_kernel.npy, written with numpy.save."
    )
  array = _load(path)
  if array.dtype.kind != "f":
    hint = ""
    if array.dtype.kind == "V":
      hint = ", such as bfloat16, which .npy files cannot hold"
    raise ValueError(
      f"{path} must hold floats {_SHAPES[name]}, got {array.dtype}{hint}: save "
      "it as float32."
    )
  # Arrays of a single output may lack the class axis.
  if name == "head_bias":
    return array.reshape(1) if array.size == 1 else array
  return array[:, None] if array.ndim == 1 else array


def _load(path: pathlib.Path) -> np.ndarray:
  """Memory-maps an .npy file."""
  with tables.reading(path):
    try:
      return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
      if "allow_pickle" in str(error) or "Python objects" in str(error):
        raise ValueError(
          f"{path} holds Python objects, not numbers: save a plain array."
        ) from None
      raise


def _check_shapes(
  folder: pathlib.Path, arrays: Mapping[str, np.ndarray]
) -> None:
  """Raises ValueError if the shapes of the arrays do not fit together."""

  def shape(name: str) -> str:
    return f"{name}.npy is {[*arrays[name].shape]}"

  for name, array in arrays.items():
    if array.ndim != _SHAPES[name].count(",") + 1 or not array.size:
      hint = ""
      if array.ndim == 3:
        hint = (
          ": save one vector per example, the one that the last linear layer "
          "reads, not the hidden states of all tokens"
        )
      raise ValueError(
        f"{folder / name}.npy must be {_SHAPES[name]}, got {[*array.shape]}"
        f"{hint}."
      )
  (rows, width), logits = arrays["embeddings"].shape, arrays["logits"]
  kernel = arrays["head_kernel"]
  if len(logits) != rows:
    raise ValueError(
      f"{folder}: {shape('embeddings')} and {shape('logits')}: they must have "
      "a row for each example."
    )
  expected = (width, logits.shape[1])
  if kernel.shape != expected:
    reason = (
      f"it must be [D, C] = {[*expected]}, since {shape('embeddings')} and "
      f"{shape('logits')}"
    )
    if kernel.shape == expected[::-1]:
      reason = (
        "it is transposed (torch.nn.Linear keeps weight [C, D]): save weight.T"
      )
    raise ValueError(f"{folder}: {shape('head_kernel')}: {reason}.")
  if "head_bias" in arrays and len(arrays["head_bias"]) != kernel.shape[1]:
    raise ValueError(
      f"{folder}: {shape('head_bias')}: it must be [{kernel.shape[1]}], as "
      "head_kernel.npy has that number of columns."
    )


def _check_finite(path: pathlib.Path, array: np.ndarray) -> None:
  """Raises ValueError if any row holds NaN or infinity, and lists such rows."""
  wrong: list[int] = []
  for start in range(0, len(array), _ROWS_AT_ONCE):
    rows = np.asarray(array[start : start + _ROWS_AT_ONCE])
    finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    wrong += (start + np.flatnonzero(~finite)).tolist()
  if wrong:
    named = ", ".join(map(str, wrong[:_MOST_NAMED]))
    more = ", ..." if len(wrong) > _MOST_NAMED else ""
    raise ValueError(
      f"{path} holds NaN or infinity in {len(wrong):,} of {len(array):,} rows "
      f"(from 0: {named}{more}): compute them again, in float32."
    )


def _ids(folder: pathlib.Path, num_rows: int) -> np.ndarray | None:
  """Reads the ids of the rows; returns None if there is no ids.npy."""
  path = folder / "ids.npy"
  if not path.is_file():
    return None
  ids = _load(path)
  if ids.shape != (num_rows,) or ids.dtype.kind not in "iufU":
    raise ValueError(
      f"{path} must hold a number or a string for each of the {num_rows:,} "
      f"rows of embeddings.npy, got {ids.dtype} {[*ids.shape]}."
    )
  if twice := _repeated(ids):
    raise ValueError(f"{path} holds the id {twice[0]} more than once.")
  return np.asarray(ids)


def _repeated(ids: np.ndarray | list[str]) -> list[Any]:
  """Returns the ids that occur more than once."""
  unique, counts = np.unique(ids, return_counts=True)
  return unique[counts > 1].tolist()


def _labels(folder: pathlib.Path) -> tuple[str, ...]:
  """Reads the label of each output; empty if there is no labels.json."""
  path = folder / "labels.json"
  if not path.is_file():
    return ()
  labels = json_files.read_json(path)
  if not isinstance(labels, list) or not all(
    isinstance(label, str | int | float) for label in labels
  ):
    raise ValueError(
      f"{path} must hold a list: the label of each output, in their order."
    )
  return tuple(map(str, labels))


# --- The rows of examples -----------------------------------------------------


def rows_of_examples(
  given: Arrays, source: SourceRows, id_column: str
) -> np.ndarray:
  """Returns the row of the arrays that belongs to each prepared example.

  Raises ValueError if the arrays have other rows than the data.
  """
  num_rows = len(given.embeddings)
  if given.ids is None:
    if id_column:
      raise ValueError(
        f"--id_column={id_column}, and {given.folder} has no ids.npy: write "
        "the values of that column there, in the order of the arrays."
      )
    if num_rows != source.num_rows:
      raise ValueError(
        f"{given.folder / 'embeddings.npy'} has {num_rows:,} rows, and the "
        f"data have {source.num_rows:,} ({source.describe()}): write a row for "
        "each of them in this order, those without a label too, or add ids.npy "
        "and set --id_column."
      )
    return source.rows
  if source.names is None:
    raise ValueError(
      f"{given.folder} has ids.npy: set --id_column to the column that holds "
      "these ids, or delete ids.npy if the rows are those of the data."
    )
  column = f"--id_column={id_column}" if id_column else "the paths of images"
  example_ids: list[str] = []
  for row in source.rows:
    name = source.names[row]
    if name is None:
      raise ValueError(
        f"{source.place(int(row))} has no value in {column}: name a column "
        "that has one in each row."
      )
    example_ids.append(name)
  if twice := _repeated(example_ids):
    raise ValueError(
      f"the id {twice[0]!r} occurs more than once in {column}, among all "
      "files: use a column of unique ids, or delete ids.npy and write the "
      "arrays in the order of the rows."
    )
  ids = given.ids.tolist()
  row_of_id = {id_name(value): row for row, value in enumerate(ids)}
  rows = np.array([row_of_id.get(name, -1) for name in example_ids])
  missing = np.flatnonzero(rows < 0)
  if len(missing):
    first = missing[0]
    raise ValueError(
      f"{given.folder / 'ids.npy'} lacks {len(missing):,} of the "
      f"{len(rows):,} examples, the first with the id {example_ids[first]!r} "
      f"({source.place(int(source.rows[first]))}): write the outputs of all of "
      "them."
    )
  return rows
