"""A teacher's outputs on its data set, computed once and kept on disk.

  <teacher>/outputs/<examples>/embeddings/   embeddings and logits
  <teacher>/outputs/<examples>/coordinates-<null space>-<K>/
                                             logits, and coordinates on K
                                             directions per class

<examples> is a digest of the examples' ids: sweeps with other examples keep
outputs of their own. Rows are found by the id of an example. Any grid over
temperatures, numbers of subclasses (up to K), rotations and normalizations
needs no other pass of the teacher. The outputs belong to examples without
augmentation: with it, the teacher has to see what the student sees (A-12) and
cannot be cached.
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
from experiments.training.models import Weights
from lelp_jax.models import Outputs

_BATCHES_PER_PART = 16
# Packages that compute outputs from examples.
_CODE = ("lelp_jax", "experiments.data", "experiments.training")
_Rows = Mapping[str, np.ndarray]
_coordinates = jax.jit(lelp_jax.principal_coordinates)


class _Segment(NamedTuple):
  """The examples of a split that no split before it has.

  Attributes:
    arrays: The split.
    rows: Positions of the examples in it, int.
    first: Position of the first one among all examples.
  """

  arrays: Arrays
  rows: np.ndarray
  first: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TeacherCache:
  """A teacher's outputs on all examples of its data set.

  All processes call its methods together. They compute what is asked for.

  Attributes:
    mode: "inline", "cached" or "coordinates": `config.teacher.outputs`.
    outputs: Folder of the outputs on all sets of examples.
    splits: The examples.
    compute: Computes the outputs on examples, NumPy arrays in their order.
    weights: The teacher.
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
    """Folder of the outputs on these examples."""
    return self.outputs / _digest(self._ids)

  def on(self, part: Arrays) -> Outputs:
    """Returns the outputs on a split, from the cache or computed."""
    if not self.has_embeddings():
      return self.compute(part)
    return Outputs(**{k: self.rows(x, part) for k, x in self.whole.items()})

  def has_embeddings(self) -> bool:
    """Tells whether embeddings come from the cache."""
    if self.mode == "coordinates":
      return self._is_finished("embeddings")
    return self.mode == "cached"

  def rows(self, values: np.ndarray, part: Arrays) -> Any:
    """Returns a split's rows of an array of all examples.

    They are memory-mapped if they are contiguous.
    """
    everything = embeddings_lib.Embeddings(self.folder, {}, values, self._ids)
    return embeddings_lib.aligned(everything, part["ids"])

  @functools.cached_property
  def whole(self) -> _Rows:
    """Embeddings ``[N, D]`` and logits ``[N, C]`` of all examples."""
    arrays, _ = self._load(
      "embeddings",
      {},
      {"embeddings": self.widths[0]},
      lambda start, stop, _: self._computed(start, stop),
    )
    return arrays

  def coordinates(
    self,
    statistics: TeacherStatistics,
    null_space: str,
    size: int,
    rtol: float,
    membership: str,
  ) -> tuple[lelp_jax.PrincipalDirections, _Rows]:
    """Returns `size` directions per class, and coordinates on these.

    All examples have "coordinates" ``[N, C * size]``, which take the place of
    embeddings, and "logits". They are computed from cached embeddings if there
    are any. `membership` says how the classes of `statistics` are found (A-11).
    """
    suffix = ""
    if membership == "teacher":  # Directions of the students' examples.
      suffix = f"-teacher-{_digest(self.splits.transfer['ids'])}"
    name = f"coordinates-{null_space}-{size}{suffix}"
    if (name, rtol) in self._loaded:
      return self._loaded[name, rtol]
    outputs_between, directions = self._computed, {}
    # Other processes take part in what follows, so all have to go the same way.
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
    """Reads arrays of all examples, computing them if they are not there."""
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
    """All examples of the data set, each once."""
    # The larger split comes first, so that its rows are contiguous and can be
    # memory-mapped. Which unlabelled examples students see does not matter.
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
    """Tells the outputs from those of other teachers, data and code."""
    return {
      "teacher_parameters": digests.of_arrays(self.weights),
      "data": self.splits.digest,
      "tokenizer": self.splits.tokenizer,
      "lelp_jax": lelp_jax.__version__,
      "jax": jax.__version__,
      # A checkout may be edited without changing the version. Edits of configs,
      # methods and reports leave the cache valid.
      "code": {name: digests.of_sources(name) for name in _CODE},
    }


def _digest(ids: np.ndarray) -> str:
  """Returns a digest of the ids of examples, twelve hex digits."""
  return hashlib.sha256(ids.tobytes()).hexdigest()[:12]


def _principal(arrays: _Rows) -> lelp_jax.PrincipalDirections:
  fields = {name: jnp.asarray(array) for name, array in arrays.items()}
  return lelp_jax.PrincipalDirections(**fields)
