"""Properties of TPU chips, and the names of their topologies."""

import dataclasses
import math
import re

_MATRIX_UNIT = 128 * 128  # Multiply-adds per cycle.
_DOCS = "https://cloud.google.com/tpu/docs/"


@dataclasses.dataclass(frozen=True)
class Chip:
  """Properties of a TPU chip.

  Attributes:
    memory: High-bandwidth memory in bytes.
    peak: Operations per second in bfloat16; a multiply-add counts as two.
    matrix_units: Number of matrix units.
    sides: Number of sides in the name of a topology.
    source: Address of the document with these numbers.
    config: Name of the compiler's configuration in which a chip is one device,
      as in JAX; None for the default configuration.
  """

  memory: int
  peak: float
  matrix_units: int
  sides: int
  source: str
  config: str | None = None

  @property
  def clock(self) -> float:
    """Cycles per second at which the matrix units reach the peak."""
    return self.peak / (2 * self.matrix_units * _MATRIX_UNIT)


CHIPS = {
  "v4": Chip(32 * 2**30, 275e12, 8, 3, _DOCS + "v4", "megacore"),
  "v5e": Chip(16 * 2**30, 197e12, 4, 2, _DOCS + "v5e"),
  "v5p": Chip(95 * 2**30, 459e12, 8, 3, _DOCS + "v5p", "megacore"),
  "v6e": Chip(32 * 2**30, 918e12, 16, 2, _DOCS + "v6e"),
}


def parse_topology(name: str) -> tuple[Chip, int]:
  """Parses the name of a topology.

  >>> chip, count = parse_topology("v4:2x2x1")
  >>> chip.memory // 2**30, count
  (32, 4)

  Args:
    name: Chip and sides, such as ``"v4:2x2x1"`` or ``"v5e:4x4"``.

  Returns:
    The chip, and the number of chips.

  Raises:
    ValueError: If the chip is unknown or has another number of sides.
  """
  kind, _, sides = name.partition(":")
  if kind not in CHIPS:
    raise ValueError(
      f"the topology {name!r} must name one of {sorted(CHIPS)} and its sides, "
      'for example "v4:2x2x1".'
    )
  chip = CHIPS[kind]
  if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sides) or (
    sides.count("x") != chip.sides - 1
  ):
    example = {2: "2x2", 3: "2x2x1"}[chip.sides]
    raise ValueError(
      f"the topology {name!r} must have {chip.sides} sides, for example "
      f'"{kind}:{example}".'
    )
  return chip, math.prod(map(int, sides.split("x")))
