"""Inference: runs a frozen model over examples, without augmentation.

All outputs of teachers and finished students on many examples come from
`FrozenModel`.
"""

import dataclasses
import functools
import operator
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax.core import FrozenDict

from experiments.data import batches
from experiments.data.dataset import Arrays
from experiments.distributed import mesh as mesh_lib
from experiments.specs import ModelSpec
from experiments.training.models import model_fns
from experiments.training.models import model_inputs
from experiments.training.models import Weights
from experiments.training.types import model_fields
from lelp_jax.models import Outputs

_MOST_TIMED = 64  # Examples in the batch whose time is measured.
# Seconds per example that were measured in this process.
_SECONDS: dict[tuple[str, FrozenDict[str, Any], int], float] = {}


def evaluation_batches(
  arrays: Arrays, batch_size: int, mesh: jax.sharding.Mesh
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
  """Yields all examples once, batch by batch, on the host and on the devices.

  A batch is divided over the "data" axis of the mesh if its size is a multiple
  of the axis. Otherwise it is replicated.
  """
  kept = model_fields(arrays)
  size = min(batch_size, len(next(iter(kept.values()))))
  fits = size % mesh.shape["data"] == 0
  sharding = (
    mesh_lib.batch_sharding(mesh) if fits else mesh_lib.replicated(mesh)
  )
  for batch in batches.eval_batches(kept, size):
    yield batch, mesh_lib.place(batch, sharding)


@dataclasses.dataclass(frozen=True)
class FrozenModel:
  """A model that is not trained any more, and its outputs.

  Attributes:
    spec: The model.
    weights: Its weights; their head determines the number of outputs.
    scale: Divisor of stored images.
    devices: Devices that the model runs on; all that JAX sees if None.
    is_split: Whether each of its arrays is divided over the devices.
  """

  spec: ModelSpec
  weights: Weights
  scale: float
  devices: tuple[jax.Device, ...] | None = None
  is_split: bool = False

  @functools.cached_property
  def mesh(self) -> jax.sharding.Mesh:
    """Mesh of the devices, laid out as for training this one model."""
    return mesh_lib.make_mesh(1, self.spec.batch_size, self.devices)

  def batches(
    self, arrays: Arrays
  ) -> Iterator[tuple[dict[str, Any], dict[str, Any], Outputs]]:
    """Yields each batch, on the host and on the devices, with its outputs.

    The outputs are meaningless where "mask" is False.
    """
    num_outputs = (
      model_fns(self.spec, 1).head(self.weights.params).kernel.shape[-1]
    )
    apply = _compiled(self.spec, num_outputs, self.scale)
    size = self.spec.eval_batch_size
    for batch, placed in evaluation_batches(arrays, size, self.mesh):
      yield batch, placed, apply(self._placed, placed)

  def outputs(self, arrays: Arrays) -> Outputs:
    """Returns the outputs on examples, in their order, as NumPy arrays."""
    parts, rows = [], []
    for batch, _, outputs in self.batches(arrays):
      outputs = mesh_lib.fetch(outputs, self.mesh)
      real = operator.itemgetter(batch["mask"])
      parts.append(jax.tree.map(real, outputs))
      rows.append(real(batch["rows"]))
    # Batches of texts are sorted by length: restore the order.
    order = np.argsort(np.concatenate(rows))
    return jax.tree.map(lambda *x: np.concatenate(x)[order], *parts)

  def seconds_per_example(self, arrays: Arrays) -> float:
    """Measures the forward pass, once per process and architecture."""
    size = len(arrays["labels"])
    count = min(_MOST_TIMED, self.spec.eval_batch_size, size)
    key = self.spec.model, self.spec.options, count
    if key not in _SECONDS:
      rows = np.linspace(0, size - 1, count).astype(int)
      chosen = {k: v[rows] for k, v in model_fields(arrays).items()}
      times = []
      for _ in range(6):
        start = time.monotonic()
        for _, _, outputs in self.batches(chosen):
          jax.block_until_ready(outputs)
        times.append(time.monotonic() - start)
      # The first run compiles; others may be slowed down by other programs.
      _SECONDS[key] = min(times[1:]) / count
    return _SECONDS[key]

  @functools.cached_property
  def _placed(self) -> Weights:
    if self.is_split:
      return mesh_lib.place_split(self.weights, self.mesh)
    return mesh_lib.place(self.weights, mesh_lib.replicated(self.mesh))


@functools.lru_cache(maxsize=64)
def _compiled(
  spec: ModelSpec, num_outputs: int, scale: float
) -> Callable[[Weights, dict[str, Any]], Outputs]:
  """Returns the compiled model, which takes its weights as an argument."""
  model = model_fns(spec, num_outputs)

  @jax.jit
  def apply(weights, batch):
    inputs = model_inputs(spec, batch, scale)
    return model.apply(*weights, inputs, train=False)[0]

  return apply
