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
from collections.abc import Sequence

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
  arrays = _in_two_dimensions(folder, arrays)
  _check_shapes(folder, arrays)
  for name, array in arrays.items():
    _check_finite(folder / f"{name}.npy", array)
  embeddings, logits = arrays["embeddings"], arrays["logits"]
  kernel = np.asarray(arrays["head_kernel"], np.float32)
  bias = np.zeros(kernel.shape[1], np.float32)
  if "head_bias" in arrays:
    bias = np.asarray(arrays["head_bias"], np.float32)
  problem = head_check.problem(
    embeddings, logits, kernel, bias if "head_bias" in arrays else None
  )
  if problem:
    raise ValueError(
      f"{folder}: embeddings @ head_kernel + head_bias is not logits: {problem}"
    )
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
  return array


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


def _in_two_dimensions(
  folder: pathlib.Path, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Adds the class axis that the arrays of a single output may lack."""
  two = dict(arrays)
  embeddings, kernel = arrays["embeddings"], arrays["head_kernel"]
  if embeddings.ndim == 3:
    raise ValueError(
      f"{folder / 'embeddings.npy'} must be [N, D], got "
      f"{[*embeddings.shape]}: save one vector per example, the one that the "
      "last linear layer reads, not the hidden states of all tokens."
    )
  if kernel.ndim == 1 and kernel.size == embeddings.shape[-1]:
    two["head_kernel"] = kernel[:, None]
  if arrays["logits"].ndim == 1:
    two["logits"] = arrays["logits"][:, None]
  if "head_bias" in arrays and arrays["head_bias"].size == 1:
    two["head_bias"] = arrays["head_bias"].reshape(1)
  return two


def _check_shapes(
  folder: pathlib.Path, arrays: Mapping[str, np.ndarray]
) -> None:
  """Raises ValueError if the shapes of the arrays do not fit together."""

  def shape(name: str) -> str:
    return f"{name}.npy is {[*arrays[name].shape]}"

  for name, array in arrays.items():
    if array.ndim != _SHAPES[name].count(",") + 1 or not array.size:
      raise ValueError(
        f"{folder / name}.npy must be {_SHAPES[name]}, got {[*array.shape]}."
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
    reason = f"it must be [D, C] = {[*expected]}"
    if kernel.shape == expected[::-1]:
      reason = (
        "it is transposed (torch.nn.Linear keeps weight [C, D]): save weight.T"
      )
    elif kernel.shape[0] == width:
      reason = f"{shape('logits')}, with another number of classes"
    elif kernel.shape[1] == logits.shape[1]:
      reason = f"{shape('embeddings')}, with another width"
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
  unique, counts = np.unique(ids, return_counts=True)
  if len(unique) < len(ids):
    twice = unique[np.argmax(counts > 1)]
    raise ValueError(f"{path} holds the id {twice} more than once.")
  return np.asarray(ids)


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
  return _rows_by_id(given.folder, given.ids, source, source.names, id_column)


def _rows_by_id(
  folder: pathlib.Path,
  ids: np.ndarray,
  source: SourceRows,
  names: Sequence[str | None],
  id_column: str,
) -> np.ndarray:
  """Finds the row of each example in the arrays by its id."""
  column = f"--id_column={id_column}" if id_column else "the paths of images"
  example_ids: list[str] = []
  for row in source.rows:
    name = names[row]
    if name is None:
      raise ValueError(
        f"{source.place(int(row))} has no value in {column}: name a column "
        "that has one in each row."
      )
    example_ids.append(name)
  unique, counts = np.unique(example_ids, return_counts=True)
  if len(unique) < len(example_ids):
    twice = unique[np.argmax(counts > 1)]
    raise ValueError(
      f"the id {str(twice)!r} occurs more than once in {column}, among all "
      "files: use a column of unique ids, or delete ids.npy and write the "
      "arrays in the order of the rows."
    )
  row_of_id = {id_name(value): row for row, value in enumerate(ids.tolist())}
  rows = np.array([row_of_id.get(name, -1) for name in example_ids])
  missing = np.flatnonzero(rows < 0)
  if len(missing):
    first = missing[0]
    raise ValueError(
      f"{folder / 'ids.npy'} lacks {len(missing):,} of the {len(rows):,} "
      f"examples, the first with the id {example_ids[first]!r} "
      f"({source.place(int(source.rows[first]))}): write the outputs of all of "
      "them."
    )
  return rows
