"""Measurements with their references: rows, the table, and the results file."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
  """One measurement, and a reference that was measured in the same run.

  Attributes:
    name: The name of the measured function or command. `name` and `size`
      identify the row.
    size: The size at which it is measured.
    ours: The measured value.
    unit: The unit of both values.
    reference: The name of the reference; empty without one.
    reference_value: The value of the reference.
    target: The bound on the ratio, or on the value if there is no reference.
    larger_is_better: Whether the target is a lower bound.
    note: The reason why the row misses its target, if it may miss it.
  """

  name: str
  size: str
  ours: float
  unit: str
  reference: str = ""
  reference_value: float | None = None
  target: float | None = None
  larger_is_better: bool = False
  note: str = ""

  @property
  def ratio(self) -> float | None:
    """Returns the value divided by the reference's; None without one."""
    if self.reference_value is None:
      return None
    return self.ours / self.reference_value

  @property
  def judged(self) -> float:
    """Returns the number that the target bounds."""
    return self.ours if self.ratio is None else self.ratio

  @property
  def verdict(self) -> str:
    """Returns "pass" or "short"; "" without a target.

    >>> Row("loss", "B = 8", 3.0, "ms", "torch", 4.0, target=0.7).verdict
    'short'
    """
    if self.target is None:
      return ""
    if self.larger_is_better:
      return "pass" if self.judged >= self.target else "short"
    return "pass" if self.judged <= self.target else "short"


def table(rows: Iterable[Row]) -> str:
  """Returns a Markdown table of rows, and the reason of each miss below it."""
  header = ("what", "size", "ours", "reference", "ratio", "target", "")
  lines: list[tuple[str, ...]] = [header]
  misses = []
  for row in rows:
    target = ""
    if row.target is not None:
      sign = ">=" if row.larger_is_better else "<="
      unit = f" {row.unit}" if row.ratio is None else ""
      target = f"{sign} {row.target:g}{unit}"
    reference = ""
    if row.reference_value is not None:
      reference = f"{_number(row.reference_value)} {row.unit}: {row.reference}"
    ratio = "" if row.ratio is None else _number(row.ratio)
    ours = f"{_number(row.ours)} {row.unit}"
    lines.append(
      (row.name, row.size, ours, reference, ratio, target, row.verdict)
    )
    if row.verdict == "short" and row.note:
      misses.append(f"- {row.name}, {row.size}: {row.note}")
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  lines.insert(1, tuple("-" * width for width in widths))
  text = [
    f"| {' | '.join(x.ljust(w) for x, w in zip(line, widths, strict=True))} |"
    for line in lines
  ]
  return "\n".join([*text, *([""] if misses else []), *misses])


def _number(value: float) -> str:
  """Returns three digits, without an exponent.

  >>> [_number(x) for x in (0.000412, 0.9999, 3.14159, 41.5, 12345.6)]
  ['0.00041', '0.9999', '3.14', '41.5', '12,346']
  """
  if 0.99 < value < 1 and value != round(value, 2):
    return f"{value:.6f}".rstrip("0")  # A share of nearly one.
  for bound, digits in ((1e-2, 5), (1, 3), (10, 2), (100, 1)):
    if abs(value) < bound:
      return f"{value:.{digits}f}"
  return f"{value:,.0f}"


@dataclasses.dataclass(frozen=True)
class Results:
  """The measurements of one machine.

  Attributes:
    machine: The name of the machine, and of the file.
    versions: The version of each library.
    modules: The rows of each module of `benchmarks`.
  """

  machine: str
  versions: Mapping[str, str]
  modules: Mapping[str, list[Row]]

  @property
  def rows(self) -> list[Row]:
    """Returns the rows of all modules."""
    return [row for rows in self.modules.values() for row in rows]


def read(path: pathlib.Path) -> Results:
  """Reads a file of results; raises ValueError if it is not one."""
  try:
    found: dict[str, Any] = json.loads(path.read_text())
    modules = {
      name: [Row(**row) for row in rows]
      for name, rows in found.pop("modules").items()
    }
    return Results(**found, modules=modules)
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f"{path} is not a file of results of these benchmarks ({error}): delete "
      "it, and measure again."
    ) from None


def write(path: pathlib.Path, results: Results) -> None:
  """Writes a file of results, and the page with their table beside it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  versions = ", ".join(f"{k} {v}" for k, v in results.versions.items())
  page = f"# {results.machine}\n\n{versions}.\n\n{table(results.rows)}\n"
  path.with_suffix(".md").write_text(page)
  temporary = path.with_suffix(".tmp")
  temporary.write_text(json.dumps(dataclasses.asdict(results), indent=2) + "\n")
  temporary.replace(path)
