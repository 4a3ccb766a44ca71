"""Formats plans as text."""

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Sequence

from experiments.planning import chips
from experiments.specs import CellSpec
from lelp_jax.models import MODELS

_PARTS = {
  "parameters": "parameters of the students",
  "optimizer": "optimizer state",
  "teacher": "teacher",
  "examples": "examples",
  "other": "other arguments",
  "activations": "activations (temporary)",
  "results": "results",
  "code": "code",
}
_MOST_OF_MEMORY = 0.9  # The runtime needs some memory for itself.


@dataclasses.dataclass(frozen=True)
class Plan:
  """Estimates of a stack on a topology, per chip and step.

  Attributes:
    cell: The first cell of the stack.
    topology: Name of the topology, such as "v4:2x2x1".
    mesh: Number of chips along each axis of the mesh.
    num_cells: Number of cells.
    num_subclasses: The largest S of the cells.
    example_shape: Shape of an example that a student reads.
    needed: Bytes that the program needs, if they are too many and the compiler
      refuses it. The fields below then keep their defaults.
    compile_seconds: Time of the compilation.
    memory: Bytes by purpose, see `_PARTS`.
    flops: See `hlo.Costs`, as for the next four.
    cycles: Cycles that the compiler's schedule estimates.
    counts: Number of collectives, by kind.
    sizes: Bytes of the results of collectives, by kind.
    unknown_loops: Number of loops with an unknown trip count.
  """

  cell: CellSpec
  topology: str
  mesh: Mapping[str, int]
  num_cells: int
  num_subclasses: int
  example_shape: tuple[int, ...]
  needed: int | None = None
  compile_seconds: float = 0.0
  memory: Mapping[str, int] = dataclasses.field(default_factory=dict)
  flops: float = 0.0
  cycles: float = 0.0
  counts: Mapping[str, float] = dataclasses.field(default_factory=dict)
  sizes: Mapping[str, float] = dataclasses.field(default_factory=dict)
  unknown_loops: int = 0

  @property
  def chip(self) -> chips.Chip:
    """The chip of the topology."""
    return chips.parse_topology(self.topology)[0]

  @property
  def total_memory(self) -> int:
    """Bytes that a chip needs."""
    if self.needed is not None:
      return self.needed
    return sum(self.memory.values())

  @property
  def fits(self) -> bool:
    """Whether the program fits in the memory of one chip."""
    return self.needed is None and self.total_memory <= self.chip.memory

  @property
  def step_seconds(self) -> float:
    """Seconds per step, without waiting for other chips.

    They follow from the compiler's schedule or, if it gives no estimate, from
    the chip's peak.
    """
    if self.cycles:
      return self.cycles / self.chip.clock
    return self.flops / self.chip.peak

  @property
  def examples_per_second(self) -> float:
    """Examples per second, counted once for each cell."""
    return self.num_cells * self.cell.student.batch_size / self.step_seconds


def text(plan: Plan) -> str:
  """Returns the text that describes a plan."""
  cell, shape = plan.cell, "x".join(map(str, plan.example_shape))
  reads_tokens = MODELS[cell.student.model].reads == "tokens"
  kind = f"{shape} tokens" if reads_tokens else shape
  _, num_chips = chips.parse_topology(plan.topology)
  idle = num_chips - math.prod(plan.mesh.values())
  mesh = " x ".join(f"{name}={size}" for name, size in plan.mesh.items())
  lines = [
    f"{cell.data.dataset}: {cell.teacher.model} to {cell.student.model}, "
    f"method {cell.method}, {cell.teacher.outputs} outputs of the teacher",
    f"{plan.num_cells} cells of up to {plan.num_subclasses} subclasses, "
    f"batches of {cell.student.batch_size} ({kind})",
    f"{plan.topology}: {num_chips} chips as {mesh}"
    + (f", {idle} chips idle" if idle else "")
    + f"; compiled in {plan.compile_seconds:.0f} s",
    "Estimates: nothing was run.",
  ]
  if plan.needed is None:
    lines.append(f"per chip ({_bytes(plan.chip.memory)}, {plan.chip.source}):")
    lines += [
      f"  {label:<28}{_bytes(plan.memory[part]):>12}"
      for part, label in _PARTS.items()
      if plan.memory[part]
    ]
    lines.append(f"  {'total':<28}{_bytes(plan.total_memory):>12}")
  lines.append(_verdict(plan))
  if plan.needed is None:
    lines += _time(plan)
    lines += [
      f"{kind}: {count:,.4g} per step, {_bytes(plan.sizes[kind])}"
      for kind, count in sorted(plan.counts.items())
    ] or ["no collectives: the chips exchange nothing"]
  if plan.unknown_loops:
    lines.append(
      f"{plan.unknown_loops} loops have an unknown length and count once."
    )
  return "\n".join(lines)


def table(plans: Sequence[Plan | tuple[str, str]]) -> str:
  """Returns a table with one row per plan.

  An item of `plans` may be the name of a plan that failed and its error.
  """
  header = "plan,topology,cell x data,memory,FLOP,step,examples/s,exchanged,"
  rows: list[tuple[str, ...]] = [tuple(header.split(","))]
  for plan in plans:
    if isinstance(plan, tuple):
      rows.append((plan[0], *[""] * 7, plan[1]))
      continue
    estimates = ("", "", "", "")
    if plan.needed is None:
      estimates = (
        _count(plan.flops),
        _seconds(plan.step_seconds),
        f"{plan.examples_per_second:,.0f}",
        _bytes(sum(plan.sizes.values())),
      )
    rows.append(
      (
        f"{plan.cell.column} {plan.cell.method} x{plan.num_cells}",
        plan.topology,
        " x ".join(map(str, plan.mesh.values())),
        _bytes(plan.total_memory),
        *estimates,
        "fits" if plan.fits else "does not fit",
      )
    )
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return "\n".join(
    "  ".join(
      cell.ljust(width) if i in (0, 1, 8) else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  )


def _verdict(plan: Plan) -> str:
  memory = plan.chip.memory
  if not plan.fits:
    return (
      f"does not fit: {_bytes(plan.total_memory)} of {_bytes(memory)}; try "
      f"{', '.join(_advice(plan))}."
    )
  share = plan.total_memory / memory
  close = " (the runtime may need more)" if share > _MOST_OF_MEMORY else ""
  return f"fits: {share:.0%} of the memory{close}."


def _advice(plan: Plan) -> list[str]:
  """Returns changes that save memory, the most promising first."""
  student, advice = plan.cell.student, []
  if plan.num_cells > plan.mesh["cell"]:
    advice.append(
      f"fewer cells per stack (config.stack.max_cells below {plan.num_cells})"
    )
    advice.append('config.stack.cells="map"')
  if student.batch_size > plan.mesh["data"]:
    advice.append("more chips along data, or a smaller student.batch_size")
  if plan.memory.get("teacher", 0) > 2**30:
    advice.append('config.mesh.teacher="fsdp"')
  if MODELS[student.model].reads == "tokens":
    advice.append("options.remat=True of the student, shorter texts (--length)")
  return advice


def _time(plan: Plan) -> list[str]:
  seconds, clock = plan.step_seconds, plan.chip.clock
  batch_size = plan.cell.student.batch_size
  source = "at the chip's peak, as the compiler gives no cycles"
  if plan.cycles:
    source = (
      f"by the compiler's schedule (estimated_cycles at {clock / 1e9:.2f} GHz)"
    )
  peak = plan.flops / plan.chip.peak / seconds if seconds else 0.0
  return [
    f"a step, per chip: {_count(plan.flops)}FLOP in matrix products and "
    "convolutions",
    "time of a step, without waiting for other chips:",
    f"  {_seconds(seconds)} {source}, {peak:.0%} of the chip's peak",
    "examples/s = cells x batch / time of a step = "
    f"{plan.num_cells} x {batch_size} / {_seconds(seconds)} = "
    f"{plan.examples_per_second:,.0f}",
  ]


def _scaled(
  number: float, base: int, units: Sequence[str]
) -> tuple[float, str]:
  """Returns a number in the first unit in which it is less than `base`."""
  power = 0
  while abs(number) >= base and power < len(units) - 1:
    number, power = number / base, power + 1
  return number, units[power]


def _bytes(size: float) -> str:
  number, unit = _scaled(size, 1024, ("B", "KiB", "MiB", "GiB"))
  return f"{number:,.0f} B" if unit == "B" else f"{number:,.2f} {unit}"


def _count(count: float) -> str:
  number, unit = _scaled(count, 1000, ("", "K", "M", "G", "T"))
  return f"{number:,.1f} {unit}"


def _seconds(seconds: float) -> str:
  if seconds < 1e-3:
    return f"{1e6 * seconds:,.0f} us"
  return f"{1e3 * seconds:,.1f} ms"
