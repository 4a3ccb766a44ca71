"""A teacher's outputs on its data set, computed once and kept on disk.

  <teacher>/outputs/embeddings/                    embeddings and logits
  <teacher>/outputs/coordinates-<null space>-<K>/  logits, and coordinates on K
                                                   directions per class

Rows are found by the id of an example. Any grid over temperatures, numbers of
subclasses (up to K), rotations and normalizations needs no other pass of the
teacher. The outputs belong to examples without augmentation: with it, the
teacher has to see what the student sees (A-12) and cannot be cached.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data import embeddings as embeddings_lib
from experiments.data.dataset import Arrays
from experiments.data.dataset import Splits
from experiments.distributed import processes
from experiments.io import array_files
from experiments.io import digests
from experiments.methods.statistics import TeacherStatistics
from lelp_jax.models import Outputs

_BATCHES_PER_PART = 16
# Packages that compute outputs from examples.
_CODE = ("lelp_jax", "experiments.data", "experiments.training")
_Rows = Mapping[str, np.ndarray]
_coordinates = jax.jit(lelp_jax.principal_coordinates)


class TeacherCache:
  """A teacher's outputs on all examples of its data set.

  All processes call its methods together.

  Attributes:
    mode: The value of `config.teacher.outputs`: "inline", "cached" or
      "coordinates".
  """

  def __init__(
    self,
    mode: str,
    folder: pathlib.Path,
    splits: Splits,
    outputs: Callable[[Arrays], Outputs],
    *,
    teacher: Any,
    widths: tuple[int, int],
    batch_size: int,
    label: str,
  ):
    """Reads and computes nothing yet.

    Args:
      mode: As in the attributes.
      folder: Folder of the outputs.
      splits: The examples.
      outputs: Computes the teacher's outputs on examples, NumPy arrays in
        their order.
      teacher: The teacher's parameters and state, a tree of arrays.
      widths: Widths of embeddings and of logits.
      batch_size: Batch size of the teacher. Outputs are computed and saved in
        parts of several batches.
      label: Label of the progress display.
    """
    self.mode = mode
    self._folder = folder
    self._splits = splits
    self._outputs = outputs
    self._teacher = teacher
    self._widths = widths
    self._batch_size = batch_size
    self._label = label
    self._loaded: dict[tuple[str, int, float], Any] = {}

  def on(self, part: Arrays) -> Outputs:
    """Returns the outputs on a split, from the cache or computed.

    Args:
      part: One of the splits.
    """
    if not self.has_embeddings():
      return self._outputs(part)
    rows = {name: self.rows(x, part) for name, x in self.whole.items()}
    return Outputs(**rows)

  def has_embeddings(self) -> bool:
    """Tells whether embeddings come from the cache."""
    if self.mode == "coordinates":
      return self._is_finished("embeddings")
    return self.mode == "cached"

  def rows(self, values: np.ndarray, part: Arrays) -> Any:
    """Returns the rows of a split, memory-mapped if they are contiguous.

    Args:
      values: One of the arrays of all examples.
      part: One of the splits.
    """
    everything = embeddings_lib.Embeddings(self._folder, {}, values, self._ids)
    return embeddings_lib.aligned(everything, part["ids"])

  @functools.cached_property
  def whole(self) -> dict[str, np.ndarray]:
    """Embeddings ``[N, D]`` and logits ``[N, C]`` of all examples."""
    widths = {"embeddings": self._widths[0]}
    return self._load("embeddings", {}, widths, self._computed)[0]

  def coordinates(
    self,
    statistics: TeacherStatistics,
    null_space: str,
    size: int,
    rtol: float,
  ) -> tuple[lelp_jax.PrincipalDirections, dict[str, np.ndarray]]:
    """Returns coordinates on principal directions, in place of embeddings.

    They are computed from cached embeddings if there are any.

    Args:
      statistics: Statistics of the teacher, from which the directions are
        computed the first time.
      null_space: Space that the directions are orthogonal to.
      size: Number K of directions per class.
      rtol: Relative tolerance of the head's rank (A-2).

    Returns:
      The directions, and of all examples "coordinates" ``[N, C * K]`` and
      "logits".
    """
    key = null_space, size, rtol
    if key not in self._loaded:
      self._loaded[key] = self._load_coordinates(statistics, *key)
    return self._loaded[key]

  def _load_coordinates(
    self,
    statistics: TeacherStatistics,
    null_space: str,
    size: int,
    rtol: float,
  ) -> tuple[lelp_jax.PrincipalDirections, dict[str, np.ndarray]]:
    """Reads coordinates, computing them if they are not there."""
    name = f"coordinates-{null_space}-{size}"
    compute_outputs, directions = self._computed, {}
    # Other processes take part in what follows, so all have to go the same way.
    if not self._is_finished(name):
      if self._is_finished("embeddings"):
        compute_outputs = functools.partial(_rows_between, self.whole)
      principal = statistics.principal(
        num_directions=size, null_space=null_space, rtol=rtol
      )
      directions = {k: np.asarray(v) for k, v in vars(principal).items()}

    def compute(start: int, stop: int, fixed: _Rows) -> dict[str, Any]:
      outputs = compute_outputs(start, stop, fixed)
      values = _coordinates(outputs["embeddings"], _principal(fixed))
      return {"coordinates": values, "logits": outputs["logits"]}

    arrays, fixed = self._load(
      name,
      {"null_space": null_space, "num_coordinates": size, "rtol": rtol},
      {"coordinates": self._splits.task.num_classes * size},
      compute,
      lambda: directions,
    )
    return _principal(fixed), arrays

  def _is_finished(self, name: str) -> bool:
    folder = self._folder / name
    return processes.from_main(lambda: array_files.is_finished(folder))

  def _load(
    self,
    name: str,
    origin: dict[str, Any],
    widths: Mapping[str, int],
    compute: Callable[[int, int, _Rows], Mapping[str, Any]],
    fixed: Callable[[], _Rows] = dict,
  ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Reads arrays of all examples, computing them if they are not there."""
    widths = {**widths, "logits": self._widths[1]}
    arrays = {
      k: jax.ShapeDtypeStruct((len(self._ids), n), np.float32)
      for k, n in widths.items()
    }
    # A part lies within one segment.
    bounds = [0]
    for segment in self._segments:
      stop, step = bounds[-1] + len(segment.rows), self._batch_size
      bounds += range(bounds[-1], stop, _BATCHES_PER_PART * step)[1:]
      bounds.append(stop)
    content = array_files.Content(
      self._origin | origin, arrays, tuple(bounds), ("code", "jax", "lelp_jax")
    )
    return array_files.load_or_compute(
      self._folder / name, content, compute, fixed=fixed, label=self._label
    )

  def _computed(self, start: int, stop: int, fixed: _Rows) -> dict[str, Any]:
    """Runs the teacher on some rows of one segment."""
    del fixed  # Belongs to coordinates.
    ends = (s for s in self._segments if start < s.first + len(s.rows))
    segment = next(ends)
    rows = segment.rows[start - segment.first : stop - segment.first]
    arrays = {name: array[rows] for name, array in segment.arrays.items()}
    return self._outputs(arrays)._asdict()

  @functools.cached_property
  def _segments(self) -> list["_Segment"]:
    return _segments(self._splits)

  @functools.cached_property
  def _ids(self) -> np.ndarray:
    return np.concatenate([s.arrays["ids"][s.rows] for s in self._segments])

  @functools.cached_property
  def _origin(self) -> dict[str, Any]:
    """Tells the outputs from those of other teachers, data and code."""
    return {
      "teacher_parameters": digests.of_arrays(self._teacher),
      "data": self._splits.digest,
      "example_ids": hashlib.sha256(self._ids.tobytes()).hexdigest(),
      "tokenizer": self._splits.tokenizer,
      "lelp_jax": lelp_jax.__version__,
      "jax": jax.__version__,
      # A checkout may be edited without changing the version. Edits of configs,
      # methods and reports leave the cache valid.
      "code": {name: digests.of_sources(name) for name in _CODE},
    }


@dataclasses.dataclass(frozen=True)
class _Segment:
  """The examples of a split that no split before it has.

  Attributes:
    arrays: The split.
    rows: Positions of the examples in it, int.
    first: Position of the first one among all examples.
  """

  arrays: Arrays
  rows: np.ndarray
  first: int


def _segments(splits: Splits) -> list[_Segment]:
  """Returns all examples of a data set, each once."""
  # The larger split comes first, so that its rows are contiguous and can be
  # memory-mapped.
  both = sorted(
    (splits.train, splits.transfer), key=lambda part: -len(part["ids"])
  )
  segments: list[_Segment] = []
  seen, first = np.empty(0, np.int32), 0
  for part in (*both, splits.validation, splits.test):
    rows = np.flatnonzero(~np.isin(part["ids"], seen))
    if rows.size:
      segments.append(_Segment(part, rows, first))
      seen = np.concatenate([seen, part["ids"][rows]])
      first += rows.size
  return segments


def _principal(arrays: _Rows) -> lelp_jax.PrincipalDirections:
  fields = {name: jnp.asarray(array) for name, array in arrays.items()}
  return lelp_jax.PrincipalDirections(**fields)


def _rows_between(
  arrays: _Rows, start: int, stop: int, fixed: _Rows
) -> dict[str, Any]:
  """Returns rows of arrays that are already there."""
  del fixed  # Belongs to coordinates.
  return {name: array[start:stop] for name, array in arrays.items()}
