"""Compares two files of results.

  python -m benchmarks.compare old.json new.json [--percent=10]

A row is judged by its ratio to its reference, because both were measured in the
same run. A row without a reference is judged by its own value.
"""

import argparse
import pathlib
import sys

from benchmarks import row as row_lib
from benchmarks.row import Results
from benchmarks.row import Row


def change(old: Row, new: Row) -> float:
  """Returns the factor by which a row became worse; below 1 it is better."""
  ratio = new.judged / old.judged
  return 1 / ratio if new.larger_is_better else ratio


def comparison(old: Results, new: Results, percent: float) -> str:
  """Returns a line per row: old, new, new / old, and whether it is worse."""
  before = {(row.name, row.size): row for row in old.rows}
  after = {(row.name, row.size): row for row in new.rows}
  lines = []
  for key, row in after.items():
    label = ", ".join(key)
    if key not in before:
      lines.append(f"{label}: new, {row.judged:.3g}")
      continue
    old_row = before[key]
    worse = change(old_row, row) > 1 + percent / 100
    lines.append(
      f"{label}: {old_row.judged:.3g} -> {row.judged:.3g}, "
      f"{row.judged / old_row.judged:.2f} times" + (", worse" if worse else "")
    )
  lines += [f"{', '.join(key)}: gone" for key in before if key not in after]
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.compare",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("old", type=pathlib.Path)
  parser.add_argument("new", type=pathlib.Path)
  parser.add_argument(
    "--percent",
    type=float,
    default=10,
    help="change, in percent, beyond which a row counts as worse",
  )
  given = parser.parse_args(argv)
  try:
    old, new = row_lib.read(given.old), row_lib.read(given.new)
  except (OSError, ValueError) as error:
    sys.exit(f"error: {error}")
  if old.machine != new.machine:
    print(f"note: measured on {old.machine} and on {new.machine}.")
  print(comparison(old, new, given.percent))


if __name__ == "__main__":
  main()
