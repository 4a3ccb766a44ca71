"""What each method costs beside the student's own training.

The paper's argument for LELP is that it needs no teacher of its own, where
Subclass Distillation retrains one for every setting that it tries.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.io import json_files
from experiments.io import metrics
from experiments.reporting import comparisons
from experiments.reporting.layout import heading
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.names import column_name
from experiments.reporting.records import Cell
from experiments.reporting.records import Results
from experiments.reporting.statistics import estimate

HEADER = (
  "settings tried",
  "teachers of its own",
  "their parameters",
  "examples they saw",
  "seconds to train them",
  "extra parameters",
  "examples of pre-training",
  "preparation (s)",
  "step (ms)",
)
_OF_STACK = ("stack.num_cells", "stack.seconds", "seconds.step")
_CAPTION = (
  "Settings: of one column. Teachers of its own: those that were trained for"
  " this method's settings alone; the first row has those that the other"
  " methods share. Examples: steps x batch size, summed over the teachers."
  " Extra parameters: what a student is trained with and does not keep."
  " Pre-training: of projections, once for all settings (A-24). Preparation:"
  " what a stack of cells took before its first step (projections, clusters,"
  " subspaces), mean over stacks. Step: its time divided by the number of cells"
  " that were trained together, mean over stacks; comparable on one machine"
  " and between equal stacks only. Empty: not recorded."
)


# What a pre-training has of its own, and what is of no account to it.
_OF_PRETRAINING = (
  *("optimizer", "schedule", "num_steps", "num_epochs", "steps_per_chunk"),
  "learning_rate",
)
_OF_READING = ("data_dir", "placement", "length_window", "shared_batch_order")


@dataclasses.dataclass(frozen=True)
class _Training:
  """How long something was trained beforehand.

  Attributes:
    examples: Steps times batch size.
    seconds: What it took, None where that is not known.
    about: What names a pre-training: method, teacher, student and data.
  """

  examples: int
  seconds: float | None = None
  about: Any = None


def cost_table(results: Results, workdir: pathlib.Path) -> Table:
  """Builds the table of costs, over all settings that were tried.

  Args:
    results: What `results.load` returns.
    workdir: What its paths are relative to; teachers and pre-trained
      projections are looked for there.

  Returns:
    A row for each method, over all columns where they are replicates, else for
    each method of each column; and one for the teacher that they share.
  """
  groups = [("", {column.id for column in results.columns})]
  if results.columns_are == "settings" and len(results.columns) > 1:
    groups = [(column_name(c), {c.id}) for c in results.columns]
  teachers = _read_teachers(results.cells, workdir)
  pretrainings = _read_pretrainings(workdir / results.folder)
  rows = []
  for name, columns in groups:
    cells = [cell for cell in results.cells if cell.column in columns]
    rows += [heading(name, len(HEADER))] if name and cells else []
    shared = [c for c in cells if c.method != comparisons.SUBCLASS]
    if any(cell.teacher for cell in shared):
      texts = ["", *_teacher_texts(shared, teachers), "", "", "", ""]
      rows.append(_row("Teacher", texts, name))
    for method in results.methods:
      mine = [cell for cell in cells if cell.method == method.id]
      if mine:
        texts = _method_texts(mine, workdir, teachers, pretrainings)
        rows.append(_row(method.title, texts, name))
  return Table(
    title=f"{results.title}: what each method costs",
    header=HEADER,
    rows=tuple(rows),
    caption=_CAPTION,
  )


def _row(label: str, texts: Iterable[str], group: str) -> Row:
  cells = tuple(TableCell(text) for text in texts)
  return Row(label, cells, group, detail=bool(group))


def _method_texts(
  cells: Sequence[Cell],
  workdir: pathlib.Path,
  teachers: Mapping[str, _Training],
  pretrainings: Sequence[_Training],
) -> list[str]:
  own = cells if cells[0].method == comparisons.SUBCLASS else ()
  wanted = _wanted_pretrainings(cells, workdir) if pretrainings else []
  trained = [training for training in pretrainings if training.about in wanted]
  settings = collections.Counter(
    column for column, _ in {(cell.column, cell.digest) for cell in cells}
  )
  # Cells of one stack share its numbers: each stack counts once.
  stacks = {
    tuple(map(cell.numbers.get, _OF_STACK)): cell for cell in cells
  }.values()
  preparations = (c.numbers.get("seconds.preparation") for c in stacks)
  return [
    str(max(settings.values())),
    *_teacher_texts(own, teachers),
    _range(cell.numbers.get("num_extra_parameters") for cell in cells),
    f"{sum(t.examples for t in trained):,}" if trained else "",
    _mean(preparations, "{:.1f}"),
    _mean(map(_step_milliseconds, stacks), "{:.2f}"),
  ]


def _teacher_texts(
  cells: Iterable[Cell], teachers: Mapping[str, _Training]
) -> list[str]:
  """How many teachers the cells had, and what they took."""
  found = {c.teacher.digest: c.teacher for c in cells if c.teacher}
  if not found:
    return ["0", "", "", ""]
  known = [teachers[digest] for digest in found if digest in teachers]
  seconds = [t.seconds for t in known if t.seconds is not None]
  # A sum over some of them would be too small.
  examples = sum(t.examples for t in known)
  return [
    str(len(found)),
    _range(teacher.num_parameters for teacher in found.values()),
    f"{examples:,}" if len(known) == len(found) else "",
    f"{sum(seconds):,.0f}" if len(seconds) == len(found) else "",
  ]


def _step_milliseconds(cell: Cell) -> float | None:
  seconds = cell.numbers.get("seconds.step")
  size = cell.numbers.get("stack.num_cells")
  return 1000 * seconds / size if seconds and size else None


def _mean(values: Iterable[float | None], form: str) -> str:
  known = [value for value in values if value is not None]
  return form.format(estimate(known).mean) if known else ""


def _range(values: Iterable[float | None]) -> str:
  known = sorted({value for value in values if value is not None})
  ends = [f"{int(value):,}" for value in dict.fromkeys(known[:1] + known[-1:])]
  return " to ".join(ends)


def _read_teachers(
  cells: Iterable[Cell], workdir: pathlib.Path
) -> dict[str, _Training]:
  """Trainings of teachers by digest, of those that are in the workdir."""
  found = {}
  for folder in {c.teacher.folder for c in cells if c.teacher} - {""}:
    path = workdir / folder / "result.json"
    if path.is_file():
      result = json_files.read_json(path)
      config = json_files.read_json(path.with_name("config.json"))
      found[path.parent.name] = _Training(
        result["num_steps"] * config["teacher"]["batch_size"],
        result.get("seconds", {}).get("training"),
      )
  return found


def _read_pretrainings(workdir: pathlib.Path) -> list[_Training]:
  """The projections that were trained beforehand."""
  found = []
  for path in sorted(workdir.glob("pretraining/*/config.json")):
    config = json_files.read_json(path)
    steps = metrics.read_metrics(path.with_name("metrics.jsonl"))
    examples = steps[-1]["step"] * config["student"]["batch_size"]
    about = _about(config, config["method"], config["teacher"][0])
    found.append(_Training(examples, about=about))
  return found


def _wanted_pretrainings(
  cells: Sequence[Cell], workdir: pathlib.Path
) -> list[Any]:
  """What the pre-trainings of a method's cells would be named by."""
  # All settings of a method in a column share student and data.
  firsts = {
    (cell.column, cell.teacher.digest): cell for cell in cells if cell.teacher
  }
  found = []
  for (_, digest), cell in firsts.items():
    path = workdir / cell.config
    if cell.config and path.is_file():
      config = json_files.read_json(path)
      found.append(_about(config, f"{config['method']}_pretraining", digest))
  return found


def _about(config: Mapping[str, Any], method: str, teacher: str) -> Any:
  student, data = config["student"], config.get("data", {})
  return (
    method,
    teacher,
    {k: v for k, v in student.items() if k not in _OF_PRETRAINING},
    {k: v for k, v in data.items() if k not in _OF_READING},
  )
