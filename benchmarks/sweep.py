"""Compares a stack of 24 cells with 24 runs of one cell.

"Compiled steps" are the training steps alone, in which stacking does not reduce
the arithmetic. "Runs" also include targets, initial states, evaluation, metrics
and checkpoints, in one process in which everything is already compiled.
"Commands" are timed from start to end: one `experiments.sweep`, which compiles,
and `experiments.main` for every cell, of which the first compiles and the
others load its programs. The teacher is trained beforehand. Unless `full`, four
of the single commands are timed, and their time is scaled to 24. The students
have a width of 128 and learn scikit-learn's digits.
"""

import contextlib
import functools
import io
import pathlib
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from benchmarks import apart
from benchmarks import timing
from benchmarks.row import Row
from experiments import cells
from experiments.configs import base
from experiments.configs import quickstart
from experiments.distributed import signals
from experiments.specs import CellSpec
from experiments.training import loop
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from experiments.training.data import load_splits
from experiments.training.types import Run

_STEPS = 1000


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the sweep of 24 cells, or with ``cell=`` one of them."""
  given = base.parse_arg(arg, cell=-1)
  config = quickstart.get_config()
  config.student.options.features = (128,)
  config.student.num_steps, config.student.steps_per_chunk = _STEPS, 250
  config.sweep.num_trials = 2
  config.sweep.columns = ConfigDict({"split0": {}})
  config.sweep.methods = ConfigDict(
    {
      "lelp": {
        "loss": {"temperature": (1.0, 2.0), "subclass_temperature": (1.0, 4.0)},
        "subspace": {"num_subclasses": (2, 5, 10)},
      }
    }
  )
  if given.cell < 0:
    return config
  cell = cells.expand(config)[given.cell]
  config.trial = cell.trial
  config.loss.temperature = cell.loss.temperature
  config.loss.subclass_temperature = cell.loss.subclass_temperature
  config.subspace.num_subclasses = cell.subspace.num_subclasses
  return config


def commands(count: int) -> dict[str, float]:
  """Returns the seconds of the sweep, and of its cells one by one."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    cell = cells.expand(get_config())[0]
    teacher_lib.load_or_train(cell, load_splits(cell), folder / "teachers")
    stacked = apart.command("sweep", __file__, folder, "sweep")
    alone = sum(
      apart.command(
        "main", f"{__file__}:cell={i * 24 // count}", folder, "main"
      )
      for i in range(count)
    )
    found = len(list(folder.glob("main/cells/**/result.json")))
    assert found == count, found
    assert len(list(folder.glob("sweep/cells/**/result.json"))) == 24
  return {"stack": stacked, "alone": alone * 24 / count}


def chunk(run: Run, length: int) -> Callable[[], Any]:
  """Returns a function that takes the first steps of a run."""
  states = run.program.init(run.trials, sizes=run.sizes)
  data = run.data()
  # Copy the states, since they are donated.
  return lambda: run.program.train_chunk(
    jax.tree.map(jnp.copy, states),
    run.inputs,
    data,
    jnp.int32(0),
    length=length,
  )


def steps(make_run: Callable[[], Run], some: Sequence[CellSpec]) -> Any:
  """Returns a function that takes the compiled steps of some cells."""
  return chunk(make_run(), _STEPS)


def warm(make_run: Callable[[], Run], some: Sequence[CellSpec]) -> Any:
  """Returns a function that makes whole runs of some cells."""

  def train() -> Any:
    with (
      tempfile.TemporaryDirectory() as name,
      signals.deferred(),
      contextlib.redirect_stderr(io.StringIO()),  # Hides lines of progress.
    ):
      folder = pathlib.Path(name)
      paths = [folder / f"{i}.jsonl" for i, _ in enumerate(some)]
      trained = loop.train(
        make_run(),
        checkpoint_directory=folder / "checkpoints",
        metric_paths=paths,
        label="",
      )
    return trained.states

  return train


def seconds(work: Callable[..., Callable[[], Any]]) -> dict[str, float]:
  """Returns the seconds of the stack, and of its cells one by one.

  Args:
    work: Takes a function that builds a run, and its cells. The function that
      it returns is timed, after this process has compiled what it calls.
  """
  expanded = cells.expand(get_config())
  splits = load_splits(expanded[0])
  with tempfile.TemporaryDirectory() as name:
    teacher = teacher_lib.load_or_train(
      expanded[0], splits, pathlib.Path(name) / "teachers"
    )
  build = functools.partial(build_run, splits=splits, teacher=teacher, names=[])
  stack, *singles = (
    work(functools.partial(build, some), some)
    for some in (expanded, *([cell] for cell in expanded))
  )
  times = timing.milliseconds(
    {
      "stack": stack,
      "alone": lambda: [jax.block_until_ready(one()) for one in singles],
    },
    repeats=2,
  )
  return {name: value / 1e3 for name, value in times.items()}


def rows(full: bool) -> Iterator[Row]:
  """Yields the times of the stack, with its cells one by one as reference."""
  count = 24 if full else 4
  for name, measure, target in (
    ("compiled steps of a stack", functools.partial(seconds, steps), None),
    ("runs of a stack", functools.partial(seconds, warm), 0.5),
    ("one sweep command", functools.partial(commands, count), 0.25),
  ):
    took = measure()
    yield Row(
      name,
      f"24 cells of {_STEPS} steps, width 128",
      took["stack"],
      "s",
      "its cells one by one",
      took["alone"],
      target=target,
    )
