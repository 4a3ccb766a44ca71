"""What a plan says, for people to read."""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.planning import chips
from lelp_jax.models import MODELS

Plan = Mapping[str, Any]

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
_ROOM = 0.9  # Of the memory: the runtime needs some of its own.


def fits(plan: Plan) -> bool:
  """Whether the memory of a chip suffices."""
  if "needed" in plan:
    return False
  return plan["memory"]["total"] <= chips.CHIPS[plan["chip"]].memory


def step_seconds(plan: Plan) -> float:
  """Estimates the time of a step, without waiting for other chips.

  By the compiler's own schedule, or by the roofline where it gives none.

  Args:
    plan: What `compiling.compiled` returned.

  Returns:
    Seconds.
  """
  if plan["cycles"]:
    return plan["cycles"] / chips.CHIPS[plan["chip"]].clock
  return roofline_seconds(plan)


def roofline_seconds(plan: Plan) -> float:
  """The time that arithmetic at its peak, or memory, needs for a step."""
  chip = chips.CHIPS[plan["chip"]]
  return max(plan["flops"] / chip.peak, plan["bytes"] / chip.bandwidth)


def examples_per_second(plan: Plan) -> float:
  """Cells times batch over the estimated time of a step."""
  return plan["num_cells"] * plan["batch_size"] / step_seconds(plan)


def text(plan: Plan) -> str:
  """Returns everything about one topology."""
  chip = chips.CHIPS[plan["chip"]]
  lines = [title(plan), _layout(plan)]
  if "needed" in plan:
    return "\n".join([*lines, _verdict(plan)])
  memory = plan["memory"]
  lines.append(f"per chip ({_bytes(chip.memory)}, {chip.source}):")
  lines += [
    f"  {label:<28}{_bytes(memory[part]):>12}"
    for part, label in _PARTS.items()
    if memory[part]
  ]
  lines.append(f"  {'total':<28}{_bytes(memory['total']):>12}")
  lines += [_verdict(plan), *_time(plan), *_exchange(plan)]
  if plan["unknown_loops"]:
    lines.append(
      f"{plan['unknown_loops']} loops of unknown length are counted once."
    )
  return "\n".join(lines)


def title(plan: Plan) -> str:
  """Returns what is planned, in two lines."""
  shape = "x".join(map(str, plan["example_shape"]))
  kind = f"{shape} tokens" if len(plan["example_shape"]) == 1 else shape
  return (
    f"{plan['dataset']}: {plan['teacher']} to {plan['student']}, method "
    f"{plan['method']}\n{plan['num_cells']} cells of up to "
    f"{plan['num_subclasses']} subclasses, batches of {plan['batch_size']} "
    f"({kind})"
  )


def table(plans: Sequence[Plan | tuple[str, str]]) -> str:
  """Returns a row for each plan.

  Args:
    plans: Plans, or for one that could not be made its name and why.
  """
  header = (
    "plan", "topology", "cell x data", "memory", "FLOP", "step", "examples/s",
    "exchanged", "",
  )  # fmt: skip
  rows: list[tuple[str, ...]] = [header]
  for plan in plans:
    if isinstance(plan, tuple):
      rows.append((plan[0], *[""] * 7, plan[1]))
      continue
    name = f"{plan['column']} {plan['method']} x{plan['num_cells']}"
    mesh = " x ".join(str(n) for n in plan["mesh"].values())
    if "needed" in plan:
      given = (_bytes(plan["needed"]), "", "", "", "")
    else:
      given = (
        _bytes(plan["memory"]["total"]),
        _count(plan["flops"]),
        _seconds(step_seconds(plan)),
        f"{examples_per_second(plan):,.0f}",
        _bytes(sum(c["bytes"] for c in plan["collectives"])),
      )
    verdict = "fits" if fits(plan) else "does not fit"
    rows.append((name, plan["topology"], mesh, *given, verdict))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return "\n".join(
    "  ".join(
      cell.ljust(width) if i in (0, 1, 8) else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  )


def _layout(plan: Plan) -> str:
  mesh = " x ".join(f"{name}={size}" for name, size in plan["mesh"].items())
  idle = plan["num_devices"] - math.prod(plan["mesh"].values())
  without = f", {idle} chips idle" if idle else ""
  seconds = plan.get("compile_seconds")
  compiled = f"; compiled in {seconds:.0f} s" if seconds else ""
  return (
    f"{plan['topology']}: {plan['num_devices']} chips as {mesh}{without}"
    f"{compiled}\nEstimates: nothing was run."
  )


def _verdict(plan: Plan) -> str:
  chip = chips.CHIPS[plan["chip"]]
  if not fits(plan):
    total = plan.get("needed") or plan["memory"]["total"]
    return (
      f"does not fit: {_bytes(total)} of {_bytes(chip.memory)}; try "
      f"{', '.join(_advice(plan))}."
    )
  share = plan["memory"]["total"] / chip.memory
  close = " (little is left for the runtime)" if share > _ROOM else ""
  return f"fits: {100 * share:.0f} % of the memory{close}."


def _advice(plan: Plan) -> list[str]:
  """What to change, the likeliest first."""
  advice = []
  on_chip = plan["num_cells"] // plan["mesh"]["cell"]
  if on_chip > 1:
    advice.append(
      f"fewer cells a stack (config.stack.max_cells below {plan['num_cells']})"
    )
    advice.append('config.stack.cells="map"')
  if plan["batch_size"] > plan["mesh"]["data"]:
    advice.append("more chips along data, or a smaller student.batch_size")
  if plan.get("memory", {}).get("teacher", 0) > 2**30:
    advice.append('config.mesh.teacher="fsdp"')
  student = MODELS[plan["student"]]
  if "remat" in student.attributes():
    advice.append("options.remat=True of the student")
  if student.reads == "tokens":
    advice.append("shorter texts (--length)")
  return advice


def _time(plan: Plan) -> list[str]:
  chip = chips.CHIPS[plan["chip"]]
  seconds, roofline = step_seconds(plan), roofline_seconds(plan)
  by = (
    "by the compiler's schedule (estimated_cycles at "
    f"{chip.clock / 1e9:.2f} GHz)"
    if plan["cycles"]
    else "by the chip's peaks, as the compiler gives no cycles"
  )
  optimal = plan["optimal_seconds"]
  return [
    f"a step, per chip: {_count(plan['flops'])}FLOP in matrix products, "
    f"{_bytes(plan['bytes'])} to and from memory",
    f"  {plan['flops'] / max(1, plan['bytes']):.0f} FLOP/byte; the chip's "
    f"peaks meet at {chip.peak / chip.bandwidth:.0f}",
    "time of a step, without waiting for other chips:",
    f"  {_seconds(seconds)} {by}",
    f"  {_seconds(roofline)} at least, by the chip's peaks",
    "  the compiler's optimal_seconds: "
    + (
      f"{_seconds(optimal)}, loops counted once"
      if optimal
      else "missing or negative"
    ),
    f"examples/s = cells x batch / time of a step = {plan['num_cells']} x "
    f"{plan['batch_size']} / {_seconds(seconds)} = "
    f"{examples_per_second(plan):,.0f}",
  ]


def _exchange(plan: Plan) -> list[str]:
  if not plan["collectives"]:
    return ["no collectives: chips exchange nothing"]
  return [
    f"{c['kind']} along {' and '.join(c['axes']) or 'no axis'}: "
    f"{c['count']:,.4g} a step, {_bytes(c['bytes'])}"
    for c in plan["collectives"]
  ]


def _scaled(
  number: float, step: int, units: Sequence[str]
) -> tuple[float, str]:
  """A number in the first unit in which it is less than a step."""
  power = 0
  while abs(number) >= step and power < len(units) - 1:
    number, power = number / step, power + 1
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
