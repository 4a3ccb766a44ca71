"""Runs all benchmarks, and prints one table of results and references.

  python -m benchmarks [--full] [--only=moments,subsplit]

Each module runs in a process of its own. After each module its rows replace
those in benchmarks/results/MACHINE.json, or MACHINE-full.json with --full, so
that an interrupted run keeps the modules that it finished. MACHINE.md beside it
has the table.
"""

import argparse
import importlib.util
import pathlib
import sys

from benchmarks import runner


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--full",
    action="store_true",
    help="full sizes: 35 minutes and 13 GB of disk",
  )
  parser.add_argument(
    "--only",
    default=",".join(runner.MODULES),
    help=f"some of {', '.join(runner.MODULES)}",
  )
  parser.add_argument("--results", type=pathlib.Path, default=runner.RESULTS)
  given = parser.parse_args(argv)
  names = given.only.split(",")
  if unknown := sorted(set(names) - set(runner.MODULES)):
    sys.exit(
      f"error: --only names {unknown}; there are {', '.join(runner.MODULES)}."
    )
  for library in ("torch", "transformers"):
    if importlib.util.find_spec(library) is None:
      sys.exit(
        f"error: {library} is missing: pip install '.[bench]', or make bench."
      )
  try:
    finished = runner.run(names, given.full, given.results)
  except ValueError as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    sys.exit("stopped; the modules that finished are kept.")
  if not finished:
    sys.exit(1)


if __name__ == "__main__":
  main()
