"""A teacher's outputs on clean examples, computed once and kept beside it.

  <teacher>/outputs/embeddings/                    embeddings and logits
  <teacher>/outputs/coordinates-<null space>-<K>/  coordinates on K directions
                                                   a class, and logits

Rows are found by the id of an example. Any grid over temperatures, numbers of
subclasses (up to K), rotations and normalizations needs no other pass of the
teacher. With augmentation the teacher has to see what the student sees (A-12):
this is for clean examples only.
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
from experiments.distributed.signals import Interrupts
from experiments.io import array_files
from experiments.io import digests
from experiments.training import fitting
from lelp_jax.models import Outputs

MODES = ("inline", "cached", "coordinates")
_BATCHES_A_PART = 16
# What examples go through on their way to the outputs.
_CODE = (
  "experiments.data",
  "experiments.training.cached_outputs",
  "experiments.training.loop",
  "experiments.training.program",
  "experiments.training.recipe",
  "experiments.training.teacher",
)
_Rows = Mapping[str, np.ndarray]
_coordinates = jax.jit(lelp_jax.principal_coordinates)


class CachedOutputs:
  """A teacher's outputs on all examples of its data set.

  What computes them is called by all processes together.

  Attributes:
    mode: One of `MODES`: what the config asks for.
    batch_size: Of a pass of the teacher.
  """

  def __init__(
    self,
    mode: str,
    folder: pathlib.Path,
    splits: Splits,
    outputs: Callable[[Arrays], Outputs],
    *,
    teacher: Any,
    sizes: tuple[int, ...],
    batch_size: int,
    label: str,
    signals: Interrupts | None = None,
  ):
    """Reads and computes nothing yet.

    Args:
      mode: As in the attributes.
      folder: Where the outputs are and go.
      splits: The examples.
      outputs: The teacher on clean examples, NumPy arrays in their order.
      teacher: What the outputs are of: a tree of arrays.
      sizes: Width of embeddings and of logits.
      batch_size: As in the attributes; parts are so many batches.
      label: Of the progress display.
      signals: What was asked of the process.
    """
    self.mode = mode
    self.batch_size = batch_size
    self._folder = folder
    self._splits = splits
    self._outputs = outputs
    self._teacher = teacher
    self._sizes = sizes
    self._label = label
    self._signals = signals

  def on(self, part: Arrays) -> Outputs:
    """Returns the outputs on a split: from the cache, or computed.

    Args:
      part: One of the splits.
    """
    if not self.has_embeddings():
      return self._outputs(part)
    rows: Any = (self.of(self.whole[name], part) for name in Outputs._fields)
    return Outputs(*rows)

  def has_embeddings(self) -> bool:
    """Whether the embeddings are to come from the cache."""
    if self.mode == "coordinates":
      return self._is_finished("embeddings")
    return self.mode == "cached"

  def of(self, values: np.ndarray, part: Arrays) -> np.ndarray:
    """Returns the rows of a split, memory-mapped if they lie in a row.

    Args:
      values: One of the arrays of all examples.
      part: One of the splits.
    """
    everything = embeddings_lib.Embeddings(self._folder, {}, values, self._ids)
    return embeddings_lib.aligned(everything, part["ids"])

  @functools.cached_property
  def whole(self) -> dict[str, np.ndarray]:
    """Embeddings ``[N, D]`` and logits ``[N, C]`` of all examples."""
    widths = {"embeddings": self._sizes[0]}
    return self._load("embeddings", {}, widths, self._computed)[0]

  def coordinates(
    self,
    statistics: fitting.TeacherStatistics,
    null_space: str,
    size: int,
    rtol: float,
  ) -> tuple[lelp_jax.PrincipalDirections, dict[str, np.ndarray]]:
    """Returns coordinates on principal directions, to stand for embeddings.

    They are computed from cached embeddings where those are there.

    Args:
      statistics: What the directions follow from, the first time.
      null_space: What the directions are kept off.
      size: Number of directions a class, K.
      rtol: What counts as no direction of the head (A-2).

    Returns:
      The directions, and of all examples "coordinates" ``[N, C * K]`` and
      "logits".
    """
    name = f"coordinates-{null_space}-{size}"
    return statistics.once(
      (name, rtol),
      lambda: self._load_coordinates(name, statistics, null_space, size, rtol),
    )

  def _load_coordinates(
    self,
    name: str,
    statistics: fitting.TeacherStatistics,
    null_space: str,
    size: int,
    rtol: float,
  ) -> tuple[lelp_jax.PrincipalDirections, dict[str, np.ndarray]]:
    rows, made = self._computed, {}
    # Other processes take part in what follows: all go the same way.
    if not self._is_finished(name):
      if self._is_finished("embeddings"):
        rows = functools.partial(_rows_of, self.whole)
      principal = statistics.principal(null_space, size, rtol)
      made = {k: np.asarray(v) for k, v in vars(principal).items()}

    def compute(start: int, stop: int, fixed: _Rows) -> dict[str, Any]:
      found = rows(start, stop, fixed)
      values = _coordinates(found["embeddings"], _principal(fixed))
      return {"coordinates": values, "logits": found["logits"]}

    origin = {
      "null_space": null_space,
      "num_coordinates": size,
      "rtol": rtol,
    }
    widths = {"coordinates": self._splits.task.num_classes * size}
    arrays, fixed = self._load(name, origin, widths, compute, lambda: made)
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
  ) -> Any:
    widths = {**widths, "logits": self._sizes[1]}
    arrays = {
      k: jax.ShapeDtypeStruct((len(self._ids), n), np.float32)
      for k, n in widths.items()
    }
    bounds = [0]
    for segment in self._segments:
      stop, step = bounds[-1] + len(segment.rows), self.batch_size
      bounds += range(bounds[-1], stop, _BATCHES_A_PART * step)[1:]
      bounds.append(stop)
    content = array_files.Content(self._origin | origin, arrays, tuple(bounds))
    return array_files.load_or_compute(
      self._folder / name,
      content,
      compute,
      fixed=fixed,
      label=self._label,
      signals=self._signals,
    )

  def _computed(self, start: int, stop: int, fixed: _Rows) -> dict[str, Any]:
    """The teacher's outputs on some rows, all of one segment."""
    del fixed
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
    """What another teacher, other data or another program do not share."""
    return {
      "teacher_parameters": digests.of_arrays(self._teacher),
      "data": self._splits.digest,
      "example_ids": hashlib.sha256(self._ids.tobytes()).hexdigest(),
      "tokenizer": self._splits.tokenizer,
      "lelp_jax": lelp_jax.__version__,
      "jax": jax.__version__,
      # The version says nothing of a checkout that was edited.
      "code": {
        "lelp_jax": digests.of_sources("lelp_jax"),
        "experiments": digests.of_sources(*_CODE),
      },
    }


@dataclasses.dataclass(frozen=True)
class _Segment:
  """The examples of a split that no split before it has.

  Attributes:
    arrays: The split.
    rows: Which of it, int.
    first: Where they start among all examples.
  """

  arrays: Arrays
  rows: np.ndarray
  first: int


def _segments(splits: Splits) -> list[_Segment]:
  """All examples of a data set, each once."""
  # The larger first: it lies in a row then, and its memory map serves as it is.
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


def _rows_of(
  arrays: _Rows, start: int, stop: int, fixed: _Rows
) -> dict[str, Any]:
  """Some rows of arrays that are there."""
  del fixed
  return {name: array[start:stop] for name, array in arrays.items()}
