"""What is said and written when a loss or a state stops being finite."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data import batches
from experiments.data.batches import Feed
from experiments.distributed import processes
from experiments.io import json_files
from experiments.training.initial import data_keys

NAME = "nonfinite.json"
_MOST_PRINTED = 64


def clear(metric_paths: Sequence[pathlib.Path | None]) -> None:
  """Deletes what an earlier attempt left.

  Args:
    metric_paths: One file of metrics a cell, or None.
  """
  for path in filter(None, metric_paths):
    path.with_name(NAME).unlink(missing_ok=True)


def error(
  job: Any,
  first: np.ndarray,
  *,
  label: str,
  saved: pathlib.PurePath | None,
  metric_paths: Sequence[pathlib.Path | None],
) -> FloatingPointError:
  """Writes which examples it happened on, and makes the error that says so.

  Beside the metrics of each cell that is concerned, `nonfinite.json` holds
  the step, all rows of its batch and the checkpoint to go back to.

  Args:
    job: The stack, a `loop.Job`.
    first: The step of each cell whose loss, gradient or new state was the
      first that is not finite, counted from 1; 0 where all are. Int, [cells].
    label: What the stack is called.
    saved: The last checkpoint, or None.
    metric_paths: One file of metrics a cell, or None.

  Returns:
    The error.
  """
  names = job.fingerprint["names"]
  concerned = np.flatnonzero(first)
  reports = {
    int(cell): _report(job, int(first[cell]), names[cell], saved)
    for cell in concerned
  }

  def write() -> None:
    for cell, report in reports.items():
      path = metric_paths[cell]
      if path is not None:
        json_files.write_json(path.with_name(NAME), report)

  processes.from_main(write)
  worst = min(reports.values(), key=lambda report: report["step"])
  known = worst["ids"] is not None  # Else a row is all that names an example.
  examples = worst["ids"] if known else worst["rows"]
  listed = ", ".join(map(str, examples[:_MOST_PRINTED]))
  more = len(examples) - _MOST_PRINTED
  return FloatingPointError(
    f"{label}: loss, gradient or state is not finite at step {worst['step']} "
    f"({_named([names[cell] for cell in concerned], len(names))}). Its batch "
    f"has the {'ids' if known else 'rows'} {listed}"
    f"{f' and {more} more' if more > 0 else ''} of the training set, all in "
    f"{NAME} beside the metrics. "
    + (
      f"The last good checkpoint is step {saved.name}, {saved}."
      if saved
      else "No checkpoint was saved before."
    )
    + " Look at these examples, or try a smaller learning rate."
  )


def _report(
  job: Any, step: int, name: str, saved: pathlib.PurePath | None
) -> dict[str, Any]:
  """What the file of one cell says."""
  rows = batch_rows(job, step - 1)
  ids = job.example_ids
  return {
    "cell": name,
    "step": step,
    "rows": rows,
    # Of the prepared data, where rows were taken out for validation.
    "ids": None if ids is None else np.asarray(ids[rows]),
    "checkpoint": saved,
  }


def batch_rows(job: Any, step: int) -> np.ndarray:
  """Returns the rows of the training set in the batch of a step.

  Args:
    job: The stack, a `loop.Job`.
    step: Number of steps taken before.

  Returns:
    Positions, int ``[B]``.
  """
  key = data_keys(job.spec, job.data_seed)[0]
  if isinstance(job.train, Feed):
    return job.train.rows(key, step)
  return np.asarray(
    batches.batch_indices(
      key,
      step,
      num_examples=job.spec.num_examples,
      batch_size=job.spec.recipe["batch_size"],
    )
  )


def _named(names: Sequence[str], total: int) -> str:
  """Which cells, the first few of them by name."""
  shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
  return f"in {len(names)} of {total} cells: {shown}"
