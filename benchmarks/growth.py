"""Measures how run times grow with sizes, and plots them.

Each curve varies one size and keeps the others. Its exponent is the slope of a
line through the logarithms of sizes and times, over the larger half of the
sizes, where fixed costs matter least. The theoretical exponent is that of the
arithmetic. The target allows 0.1 more, for the noise of the fit and for arrays
that outgrow a cache.

The last curve divides a stack of cells over virtual devices, in a process of
its own. The devices share the same cores, so that more devices should not take
longer.
"""

import functools
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from benchmarks import apart
from benchmarks import runner
from benchmarks import timing
from benchmarks.row import Row
from experiments.distributed import mesh as mesh_lib
from lelp_jax import Subspaces

_ALLOWED = 0.1
_DEVICES = (1, 2, 4, 8)
_CELLS = (2, 4, 8, 16, 32, 64)


class Curve(NamedTuple):
  """Times of one function at several sizes.

  Attributes:
    name: The name of the function.
    variable: The size that varies.
    others: The sizes that do not.
    theory: The exponent of the number of operations.
    milliseconds: The time at each size.
  """

  name: str
  variable: str
  others: str
  theory: int
  milliseconds: Mapping[int, float]

  @property
  def exponent(self) -> float:
    """Returns the slope over the larger half of the sizes."""
    sizes = sorted(self.milliseconds)
    sizes = sizes[len(sizes) // 2 - 1 :]
    times = [self.milliseconds[size] for size in sizes]
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])

  @property
  def row(self) -> Row:
    """Returns the exponent and the theoretical one as a row."""
    sizes = list(self.milliseconds)
    times = ", ".join(f"{ms:.3g}" for ms in self.milliseconds.values())
    return Row(
      f"exponent of {self.name} by {self.variable}, theory {self.theory}",
      f"{self.variable} = {sizes[0]:,} to {sizes[-1]:,}, {self.others}",
      self.exponent,
      "",
      target=self.theory + _ALLOWED,
      note=f"{', '.join(map(str, sizes))}: {times} ms.",
    )


def rows(full: bool) -> Iterator[Row]:
  """Yields the exponent of each curve, and draws all curves."""
  curves = []
  for curve in _curves():
    curves.append(curve)
    yield curve.row
  _draw(curves, runner.RESULTS)


def _curves() -> Iterator[Curve]:
  """Yields the curves."""
  normal = functools.partial(
    np.random.default_rng(0).standard_normal, dtype=np.float32
  )

  def moments(size: int) -> Callable[[], Any]:
    h = jnp.asarray(normal((8192, size)))
    labels = jnp.arange(len(h)) % 2
    run = jax.jit(functools.partial(lelp_jax.class_moments, num_classes=2))
    return lambda: run(h, labels)

  def distill(
    *, batch: int = 256, width: int = 256, classes: int = 4, size: int = 32
  ) -> Callable[[], Any]:
    """Computes LELP's targets, loss and gradient."""
    h, logits = normal((batch, width)), normal((batch, classes))
    student = jnp.asarray(normal((batch, classes * size)))
    subspaces = Subspaces(
      jnp.asarray(normal((classes, size, width))),
      jnp.asarray(normal((classes, width))),
    )

    @jax.jit
    def run(student: Any, h: Any, logits: Any, subspaces: Subspaces) -> Any:
      targets = lelp_jax.log_subsplit(
        h, logits, subspaces, temperature=2.0, subclass_temperature=1.0
      )
      return jax.value_and_grad(
        lambda x: jnp.mean(lelp_jax.lelp_loss(x, targets, temperature=2.0))
      )(student)

    given = jax.device_put((student, h, logits, subspaces))
    return lambda: run(*given)

  name = "targets and loss"
  yield _curve(
    "class_moments", "D", "N = 8,192, C = 2", 2, moments, (128, 256, 512, 1024)
  )
  for variable, argument, sizes in (
    ("B", "batch", (128, 256, 512, 1024, 2048, 4096)),
    ("D", "width", (128, 256, 512, 1024, 2048, 4096)),
    ("C", "classes", (2, 4, 8, 16, 32, 64)),
    ("S", "size", (8, 16, 32, 64, 128, 256)),
  ):
    others = {"B": "256", "D": "256", "C": "4", "S": "32"}
    del others[variable]
    yield _curve(
      name,
      variable,
      ", ".join(f"{k} = {v}" for k, v in others.items()),
      1,
      lambda n, argument=argument: distill(**{argument: n}),
      sizes,
    )
  yield _curve(
    "step of a stack", "cells", "width 128, batch 64", 1, stack, _CELLS
  )
  yield Curve(
    "step of a stack",
    "devices",
    "16 cells, width 128, batch 64",
    0,
    apart.call(_on_devices),
  )


def _curve(
  name: str,
  variable: str,
  others: str,
  theory: int,
  make: Callable[[int], Callable[[], Any]],
  sizes: tuple[int, ...],
) -> Curve:
  functions = {str(size): make(size) for size in sizes}
  times = timing.milliseconds(functions, repeats=15)
  found = {size: times[str(size)] for size in sizes}
  return Curve(name, variable, others, theory, found)


def stack(num_cells: int, devices: int = 1) -> Callable[[], Any]:
  """Returns one step of gradient descent for several MLPs on one batch."""
  mesh = mesh_lib.make_mesh(num_cells, 64, jax.devices()[:devices])
  rng, width = np.random.default_rng(0), 128
  weights = rng.normal(size=(2, num_cells, width, width)) / width**0.5
  batch = jnp.asarray(rng.normal(size=(64, width)), jnp.float32)
  cells = mesh_lib.place(
    tuple(weights.astype(np.float32)), mesh_lib.cell_sharding(mesh)
  )
  batch = mesh_lib.place(batch, mesh_lib.replicated(mesh))

  def one_cell(x: jax.Array, first: jax.Array, second: jax.Array) -> Any:
    def loss(both: tuple[jax.Array, jax.Array]) -> jax.Array:
      return jnp.mean((jax.nn.relu(x @ both[0]) @ both[1]) ** 2)

    both = first, second
    return jax.tree.map(lambda w, g: w - g, both, jax.grad(loss)(both))

  run = jax.jit(
    lambda x, *both: mesh_lib.over_cells(mesh, False, one_cell, x, *both)
  )
  return lambda: run(batch, *cells)


def _on_devices() -> dict[int, float]:
  jax.config.update("jax_num_cpu_devices", max(_DEVICES))
  functions = {str(n): stack(16, n) for n in _DEVICES}
  times = timing.milliseconds(functions, repeats=15)
  return {n: times[str(n)] for n in _DEVICES}


def _draw(curves: list[Curve], folder: pathlib.Path) -> None:
  """Plots times over sizes, both as multiples of the first."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(9, 5.5), layout="constrained")
  axes = figure.add_subplot()
  for curve, marker in zip(curves, "osD^vP*", strict=True):
    sizes, times = (
      np.array(list(values))
      for values in (curve.milliseconds, curve.milliseconds.values())
    )
    axes.plot(
      sizes / sizes[0],
      times / times[0],
      marker=marker,
      label=f"{curve.name}, {curve.variable} from {sizes[0]:,}: exponent "
      f"{curve.exponent:.2f}, theory {curve.theory}",
    )
  axes.set_xscale("log", base=2)
  axes.set_yscale("log", base=2)
  ends = np.array(axes.get_xlim())
  for power in (1, 2):
    axes.plot(ends, ends**power, color="0.7", zorder=0, linestyle=":")
  axes.set_xlabel("size, as a multiple of the smallest")
  axes.set_ylabel("time, as a multiple of that at the smallest size")
  axes.set_title(f"Growth of times on {timing.machine()}; dotted: theory 1, 2")
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8, loc="upper left")
  figure.savefig(
    folder / f"{timing.machine()}-growth.svg", metadata={"Date": None}
  )
