"""Test examples by their ids, for reports that show them."""

import pathlib

from experiments.reporting import owner
from experiments.reporting.document import Example
from experiments.reporting.images import image
from experiments.reporting.selection import SweepResults


def test_examples(
  results: SweepResults, base: pathlib.Path
) -> owner.Reader | None:
  """Returns a function from ids to test examples, where the data are here."""
  # Reading data needs JAX, which other reports do without.
  from experiments.data import load
  from experiments.training import data

  cell, workdir = results.cells[0], base / results.folder
  if cell.test.predictions is None:
    return None
  try:
    if (spec := cell.spec(base)) is None:
      return None
    text_of = load.text_of(spec.data, workdir)
    if text_of is not None:
      return lambda number: Example((), text_of(number))
    splits = data.load_splits(spec, workdir)
  except (FileNotFoundError, ValueError) as error:
    print(f"Mistakes are shown by their numbers: {error}")
    return None
  if splits.task.image_shape is None or "ids" not in splits.test:
    return None
  rows = {int(number): row for row, number in enumerate(splits.test["ids"])}
  return lambda number: Example(
    (), image=image(splits.test["inputs"][rows[number]], splits.task.scale)
  )
