"""Cache of a teacher's outputs, computed once and kept on disk.

  <teacher>/outputs/<examples>/embeddings/   embeddings and logits
  <teacher>/outputs/<examples>/coordinates-<null space>-<K>/
                                             logits, and coordinates on K
                                             directions per class

<examples> is a digest of the examples' ids, so sweeps on different examples
have separate caches. Rows are found by the id of an example. Grids over
temperatures, numbers of subclasses (up to K), rotations and normalizations
share one pass of the teacher. The cache holds outputs on examples without
augmentation. With augmentation the teacher has to see the student's view of an
example (A-12), so its outputs cannot be cached.
"""

import dataclasses
import functools
import hashlib
import pathlib
import types
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data import embeddings as embeddings_lib
from experiments.data.dataset import Arrays
from experiments.data.dataset import NO_LABEL
from experiments.data.dataset import Splits
from experiments.distributed import processes
from experiments.io import array_files
from experiments.io import digests
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import SubspaceSpec
from experiments.training.models import Weights
from lelp_jax.models import Outputs

_BATCHES_PER_PART = 16
# Packages that compute the outputs. A change of their code makes a cache stale.
_CODE = ("lelp_jax", "experiments.data", "experiments.training")
_Rows = Mapping[str, np.ndarray]
_coordinates = jax.jit(lelp_jax.principal_coordinates)


class _Segment(NamedTuple):
  """The examples of a split that are not in an earlier segment.

  Attributes:
    arrays: The arrays of the split.
    rows: Positions of the examples in the split, int.
    first: Position of the first of these examples in the cache.
  """

  arrays: Arrays
  rows: np.ndarray
  first: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TeacherCache:
  """A teacher's outputs on all examples of its data set.

  Outputs are computed when they are first needed. All processes have to call
  its methods together.

  Attributes:
    mode: "inline", "cached" or "coordinates": `config.teacher.outputs`.
    outputs: Folder of the caches of all sets of examples.
    splits: The examples.
    compute: Returns the outputs on examples, in order, as NumPy arrays.
    weights: Weights of the teacher.
    widths: Widths of embeddings and of logits.
    batch_size: Outputs are saved in parts of several batches of this size.
    label: Label of the progress display.
  """

  mode: str
  outputs: pathlib.Path
  splits: Splits
  compute: Callable[[Arrays], Outputs]
  weights: Weights
  widths: tuple[int, int]
  batch_size: int
  label: str
  _loaded: dict[
    tuple[str, float], tuple[lelp_jax.PrincipalDirections, _Rows]
  ] = dataclasses.field(default_factory=dict, init=False)

  @functools.cached_property
  def folder(self) -> pathlib.Path:
    """Folder of the cache for these examples."""
    return self.outputs / _digest(self._ids)

  def on(self, part: Arrays) -> Outputs:
    """Returns the outputs on a split, read from the cache or computed."""
    if not self.has_embeddings():
      return self.compute(part)
    return Outputs(**{k: self.rows(x, part) for k, x in self.whole.items()})

  def has_embeddings(self) -> bool:
    """Returns whether embeddings are read from the cache."""
    if self.mode == "coordinates":
      return self._is_finished("embeddings")
    return self.mode == "cached"

  def rows(self, values: np.ndarray, part: Arrays) -> Any:
    """Returns the rows of a split from a cached array of all examples.

    They stay memory-mapped if they are contiguous.
    """
    everything = embeddings_lib.Embeddings(self.folder, {}, values, self._ids)
    return embeddings_lib.aligned(everything, part["ids"])

  @functools.cached_property
  def whole(self) -> _Rows:
    """Embeddings ``[N, D]`` and logits of all examples."""
    arrays, _ = self._load(
      "embeddings",
      {},
      {"embeddings": self.widths[0]},
      lambda start, stop, _: self._computed(start, stop),
    )
    return arrays

  def coordinates(
    self, statistics: TeacherStatistics, subspace: SubspaceSpec, size: int
  ) -> tuple[lelp_jax.PrincipalDirections, _Rows]:
    """Returns principal directions, and the coordinates of all examples.

    The coordinates are computed from cached embeddings if there are any.

    Args:
      statistics: Statistics that the directions are computed from.
      subspace: Null space, tolerance and membership of the directions.
      size: Number of directions per class.

    Returns:
      The directions, and arrays "coordinates" ``[N, C * size]``, which take the
      place of embeddings, and "logits".
    """
    null_space, rtol, suffix = subspace.used_null_space, subspace.rtol, ""
    if subspace.membership == "teacher":
      # The directions depend on the students' examples.
      suffix = f"-teacher-{_digest(self.splits.transfer['ids'])}"
    name = f"coordinates-{null_space}-{size}{suffix}"
    if (name, rtol) in self._loaded:
      return self._loaded[name, rtol]
    outputs_between, directions = self._computed, {}
    # `_is_finished` returns the same in all processes, which compute together.
    if not self._is_finished(name):
      if self._is_finished("embeddings"):
        outputs_between = self._cached
      principal = statistics.principal(
        num_directions=size, null_space=null_space, rtol=rtol
      )
      directions = {k: np.asarray(v) for k, v in vars(principal).items()}

    def compute(start: int, stop: int, directions: _Rows) -> dict[str, Any]:
      outputs = outputs_between(start, stop)
      values = _coordinates(outputs["embeddings"], _principal(directions))
      return {"coordinates": values, "logits": outputs["logits"]}

    arrays, kept = self._load(
      name,
      {"null_space": null_space, "num_coordinates": size, "rtol": rtol},
      {"coordinates": self.splits.task.num_classes * size},
      compute,
      directions,
    )
    self._loaded[name, rtol] = _principal(kept), arrays
    return self._loaded[name, rtol]

  def _is_finished(self, name: str) -> bool:
    folder = self.folder / name
    return processes.from_main(lambda: array_files.is_finished(folder))

  def _load(
    self,
    name: str,
    origin: dict[str, Any],
    widths: Mapping[str, int],
    compute: Callable[[int, int, _Rows], Mapping[str, Any]],
    fixed: _Rows = types.MappingProxyType({}),
  ) -> tuple[_Rows, _Rows]:
    """Reads arrays of all examples, or computes them if they do not exist."""
    arrays = {
      k: jax.ShapeDtypeStruct((len(self._ids), n), np.float32)
      for k, n in {**widths, "logits": self.widths[1]}.items()
    }
    # A part lies within one segment.
    bounds = [0]
    for segment in self._segments:
      stop = bounds[-1] + len(segment.rows)
      step = _BATCHES_PER_PART * self.batch_size
      bounds += [*range(bounds[-1], stop, step)[1:], stop]
    content = array_files.Content(
      self._origin | origin, arrays, tuple(bounds), ("code", "jax", "lelp_jax")
    )
    return array_files.load_or_compute(
      self.folder / name, content, compute, fixed=fixed, label=self.label
    )

  def _computed(self, start: int, stop: int) -> dict[str, Any]:
    """Runs the teacher on some rows of one segment."""
    ends = (s for s in self._segments if start < s.first + len(s.rows))
    segment = next(ends)
    rows = segment.rows[start - segment.first : stop - segment.first]
    arrays = {name: array[rows] for name, array in segment.arrays.items()}
    return self.compute(arrays)._asdict()

  def _cached(self, start: int, stop: int) -> dict[str, Any]:
    return {name: array[start:stop] for name, array in self.whole.items()}

  @functools.cached_property
  def _segments(self) -> list[_Segment]:
    """All examples of the data set, each once, in the order of the cache."""
    # The larger split comes first, so that its rows are contiguous and can be
    # memory-mapped. All unlabelled examples are in the cache, so that it does
    # not depend on those that students see.
    splits = self.splits
    labelled = splits.transfer
    is_labelled = labelled["labels"] != NO_LABEL
    if not is_labelled.all():
      labelled = {name: x[is_labelled] for name, x in labelled.items()}
    largest = sorted(
      (splits.train, labelled), key=lambda part: -len(part["ids"])
    )
    unlabelled = () if splits.unlabelled is None else (splits.unlabelled,)
    segments: list[_Segment] = []
    seen, first = np.empty(0, np.int32), 0
    for part in (*largest, *unlabelled, splits.validation, splits.test):
      rows = np.flatnonzero(~np.isin(part["ids"], seen))
      if rows.size:
        segments.append(_Segment(part, rows, first))
        seen = np.concatenate([seen, part["ids"][rows]])
        first += rows.size
    return segments

  @functools.cached_property
  def _ids(self) -> np.ndarray:
    return np.concatenate([s.arrays["ids"][s.rows] for s in self._segments])

  @functools.cached_property
  def _origin(self) -> dict[str, Any]:
    """Everything that the outputs depend on."""
    return {
      "teacher_parameters": digests.of_arrays(self.weights),
      "data": self.splits.digest,
      "tokenizer": self.splits.tokenizer,
      "lelp_jax": lelp_jax.__version__,
      "jax": jax.__version__,
      # The code may change without a new version. Changes to configs, methods
      # and reports leave the cache valid.
      "code": {name: digests.of_sources(name) for name in _CODE},
    }


def _digest(ids: np.ndarray) -> str:
  """Returns a digest of the ids of examples, twelve hex digits."""
  return hashlib.sha256(ids.tobytes()).hexdigest()[:12]


def _principal(arrays: _Rows) -> lelp_jax.PrincipalDirections:
  fields = {name: jnp.asarray(array) for name, array in arrays.items()}
  return lelp_jax.PrincipalDirections(**fields)
