"""Costs of a compiled program, with loops counted by their trip counts.

`jax.stages.Compiled.cost_analysis` counts the body of a loop once. It reports
neither collectives nor the cycles that the compiler's schedule estimates. This
module parses them from the HLO text of the program.
"""

import collections
import dataclasses
import math
import re

import numpy as np

COLLECTIVES = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "ragged-all-to-all",
  "collective-permute",
  "collective-broadcast",
)
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) .*\{$")
# "  ROOT %name = f32[2,3]{1,0} opcode(%operand, ...), attribute=..."
_INSTRUCTION = re.compile(
  r"\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z0-9_-]*)\((.*)"
)
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
# Attributes of a convolution's window, and their defaults.
_WINDOW = {"stride": 1, "pad": 0, "lhs_dilate": 1, "rhs_dilate": 1}

Shape = tuple[int, ...]


@dataclasses.dataclass
class Costs:
  """Costs of a program, or of a part of it, on one device.

  Attributes:
    flops: Multiplications and additions in matrix products and convolutions.
    cycles: Cycles that the compiler's schedule estimates; 0 if it gives none.
    counts: Number of collectives, by kind.
    sizes: Bytes of the results of collectives, by kind.
    unknown_loops: Number of loops with an unknown trip count, which count once.
  """

  flops: int = 0
  cycles: int = 0
  counts: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  sizes: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  unknown_loops: int = 0

  def add(self, part: "Costs", times: int) -> None:
    """Adds a part that runs several times."""
    self.flops += times * part.flops
    self.cycles += times * part.cycles
    for kind, count in part.counts.items():
      self.counts[kind] += times * count
      self.sizes[kind] += times * part.sizes[kind]
    self.unknown_loops += part.unknown_loops


def costs(text: str) -> Costs:
  """Returns the costs of a program from the text of `Compiled.as_text`."""
  # In this text a computation precedes those that call it, and an instruction
  # precedes those that use its result.
  totals: dict[str, Costs] = {}
  constants: dict[str, list[str]] = {}
  shapes: dict[str, Shape] = {}
  name, entry = "", None
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      name = header[2]
      totals[name], constants[name], shapes = Costs(), [], {}
      entry = totals[name] if header[1] else entry
    elif instruction := _INSTRUCTION.match(line):
      result, shape, opcode, rest = instruction.groups()
      total, arrays = totals[name], _arrays(shape)
      shapes[result] = arrays[0][0] if arrays else ()
      if opcode == "constant":
        constants[name].append(rest.split(")")[0])
      if estimate := re.search(r'"estimated_cycles":"(\d+)"', rest):
        total.cycles += int(estimate[1])
      operands = re.findall(r"%([\w.-]+)", rest.split(")")[0])
      if opcode in ("dot", "convolution"):
        left, right = (shapes[operand] for operand in operands)
        if opcode == "dot":
          total.flops += _dot_flops(left, shapes[result], rest)
        else:
          total.flops += _convolution_flops(left, right, shapes[result], rest)
      kind = opcode.removesuffix("-start")
      if kind in COLLECTIVES:
        if opcode != kind and kind != "all-reduce":
          # An asynchronous start returns (operands, results, ...).
          arrays = arrays[len(operands) : 2 * len(operands)]
        total.counts[kind] += 1
        total.sizes[kind] += sum(size for _, size in arrays)
      times = 1
      if opcode == "while":
        (condition,) = re.findall(r"condition=%?([\w.-]+)", rest)
        times = _trip_count(rest, constants[condition])
        total.unknown_loops += not times
      for called in _called(opcode, rest):
        total.add(totals[called], times or 1)
  assert entry is not None, "the text has no ENTRY"
  return entry


def _arrays(shape: str) -> list[tuple[Shape, int]]:
  """Returns the dimensions and bytes of each array in the text of a shape."""
  arrays = []
  for dtype, dims in _ARRAY.findall(shape):
    sides = tuple(int(n) for n in dims.split(",") if n)
    digits = re.search(r"\d+", dtype)
    bits = 8 if dtype == "pred" else int(digits[0]) if digits else 0
    arrays.append((sides, math.ceil(math.prod(sides) * bits / 8)))
  return arrays


def _called(opcode: str, rest: str) -> list[str]:
  """Returns the computations that an instruction runs, except reductions."""
  if opcode in ("fusion", "while", "call") or opcode.endswith("-start"):
    return _CALLED.findall(rest)
  branches = _BRANCHES.search(rest)
  return re.findall(r"[\w.-]+", branches[1]) if branches else []


def _trip_count(rest: str, constants: list[str]) -> int:
  """Returns the trip count of a loop, or 0 if it is unknown."""
  if known := re.search(r'known_trip_count\D*"?(\d+)', rest):
    return int(known[1])
  # JAX's loops count from zero to a constant in their condition.
  limits = [int(text) for text in constants if text.isdecimal()]
  return limits[0] if len(limits) == 1 else 0


def _dot_flops(left: Shape, out: Shape, rest: str) -> int:
  (axes,) = re.findall(r"lhs_contracting_dims=\{([\d,]*)\}", rest)
  contracted = [left[int(axis)] for axis in re.findall(r"\d+", axes)]
  return 2 * math.prod(out) * math.prod(contracted)


def _convolution_flops(left: Shape, right: Shape, out: Shape, rest: str) -> int:
  (labels,) = re.findall(r"dim_labels=(\w+->\w+)", rest)
  inputs, kernel, results = (
    dict(zip(names, sides, strict=True))
    for names, sides in zip(
      re.split("_|->", labels), (left, right, out), strict=True
    )
  )
  groups, batches = (
    int((re.findall(rf"{name}_group_count=(\d+)", rest) or [1])[0])
    for name in ("feature", "batch")
  )
  channels = inputs["f"] // groups * results["f"]
  total = 2 * channels * (inputs["b"] // batches)
  window = re.findall(r"window=\{([^}]*)\}", rest)
  for axis in filter(str.isdigit, inputs):
    stride, pad, gap, kernel_gap = (
      _window_field("".join(window), name, int(axis)) for name in _WINDOW
    )
    # The compiler expresses batched products and gradients as convolutions with
    # dilated inputs. Count only the products of a real input and a weight,
    # neither padding nor the gaps of the dilation.
    place = np.arange(results[axis])[:, None] * stride - pad
    place = place + np.arange(kernel[axis]) * kernel_gap
    inside = (place >= 0) & (place <= (inputs[axis] - 1) * gap)
    total *= int(np.sum(inside & (place % gap == 0)))
  return total


def _window_field(window: str, name: str, axis: int) -> int:
  """Returns an attribute of a window along an axis, or its default.

  Of "pad" it returns the padding before the array.
  """
  match = re.search(rf"{name}=(\S+)", window)
  return (
    int(match[1].split("x")[axis].split("_")[0]) if match else _WINDOW[name]
  )
