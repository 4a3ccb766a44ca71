"""The TPUs that programs are planned for: memory, peaks, topologies."""

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Chip:
  """One chip as its vendor describes it, and as JAX shows it.

  Attributes:
    name: As in a topology's name.
    memory: High-bandwidth memory, bytes.
    bandwidth: Of that memory, bytes a second.
    peak: Bfloat16 multiply-adds, two operations each, a second.
    width: Multiply-adds of all matrix units a cycle, from which the clock.
    axes: Number of sides of a topology.
    source: Where these numbers are from.
    config: Of the compiler, so that a chip is one device, as real ones show
      themselves; None where nothing needs to be said.
  """

  name: str
  memory: int
  bandwidth: float
  peak: float
  width: int
  axes: int
  source: str
  config: str | None = None

  @property
  def clock(self) -> float:
    """Cycles a second at which the matrix units reach the peak."""
    return self.peak / (2 * self.width)


_MATRIX_UNIT = 128 * 128
_GIB = 2**30
_DOCS = "https://cloud.google.com/tpu/docs/"
CHIPS = {
  chip.name: chip
  for chip in (
    Chip(
      "v4",
      32 * _GIB,
      1.2e12,
      275e12,
      8 * _MATRIX_UNIT,
      3,
      _DOCS + "v4",
      "megacore",
    ),
    Chip("v5e", 16 * _GIB, 8.19e11, 197e12, 4 * _MATRIX_UNIT, 2, _DOCS + "v5e"),
    Chip(
      "v5p",
      95 * _GIB,
      2.765e12,
      459e12,
      8 * _MATRIX_UNIT,
      3,
      _DOCS + "v5p",
      "megacore",
    ),
    Chip(
      "v6e", 32 * _GIB, 1.64e12, 918e12, 16 * _MATRIX_UNIT, 2, _DOCS + "v6e"
    ),
  )
}


def parse_topology(name: str) -> tuple[Chip, int]:
  """Reads a topology's name.

  >>> chip, count = parse_topology("v4:2x2x1")
  >>> chip.name, chip.memory // 2**30, count
  ('v4', 32, 4)

  Args:
    name: Chip and sides, such as ``"v4:2x2x1"`` or ``"v5e:4x4"``.

  Returns:
    The chip, and how many there are.

  Raises:
    ValueError: If there is no such chip, or it has another number of sides.
  """
  kind, _, sides = name.partition(":")
  if kind not in CHIPS:
    raise ValueError(
      f"unknown topology {name!r}: it names one of {sorted(CHIPS)} and its "
      'sides, for example "v4:2x2x1".'
    )
  chip = CHIPS[kind]
  if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sides) or (
    sides.count("x") != chip.axes - 1
  ):
    example = {2: "2x2", 3: "2x2x1"}[chip.axes]
    raise ValueError(
      f"topology {name!r} must give {chip.axes} sides of {kind}, for example "
      f'"{kind}:{example}".'
    )
  return chip, math.prod(map(int, sides.split("x")))
