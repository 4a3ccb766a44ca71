"""The report of a distillation: one page, Markdown, and the terminal."""

import dataclasses
import pathlib

import numpy as np

from experiments.data.dataset import Splits
from experiments.distillation import verdict
from experiments.distillation.artifacts import Card
from experiments.distillation.diagnosis import Diagnosis
from experiments.distillation.teachers import TeacherArrays
from experiments.reporting import console
from experiments.reporting import owner
from experiments.reporting import render
from experiments.reporting import sections
from experiments.reporting.document import Document
from experiments.reporting.document import Section
from experiments.reporting.document import Table
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import SweepResults

_WIDTH = 120  # Of tables on the terminal.
_NUM_TABLES = 2  # Tables on the terminal: scores, and sizes and speeds.
_FORMATS = ("md", "csv", "html")


def write(
  found: SweepResults,
  exported: owner.Exported,
  teacher: TeacherArrays,
  findings: Diagnosis,
  workdir: pathlib.Path,
) -> str:
  """Writes the report to `report/` in the workdir.

  Args:
    found: The finished trials of the chosen setting of each method.
    exported: The exported student and its test scores.
    teacher: The teacher.
    findings: The diagnosis of the teacher.
    workdir: Folder of the run.

  Returns:
    The summary for the terminal.
  """
  folder = workdir / "report"
  folder.mkdir(parents=True, exist_ok=True)
  advice = verdict.recommendation(found, teacher.source.get("parameters"))
  known = [field.name for field in dataclasses.fields(owner.TeacherSize)]
  size = owner.TeacherSize(**{name: teacher.source.get(name) for name in known})
  sweep = sections.ReportedSweep(found, folder, teacher=size, exported=exported)
  document = sections.make_document([sweep])
  warnings = (f"Warning: {warning}" for warning in findings.warnings)
  remark = verdict.remark_on_export(found, exported.cell)
  said = (advice, remark) if remark else (advice,)
  first = Section("Recommendation", (*said, findings.verdict, *warnings))
  document = Document(document.title, (first, *document.sections))
  render.write(document, [found], folder, _FORMATS)
  parts = owner.score_parts(found, teacher=size, exported=exported)
  tables = [part for part in parts if isinstance(part, Table)]
  texts = [console.to_text(t, _WIDTH) for t in tables[:_NUM_TABLES]]
  cell = exported.cell
  setting = ", ".join(
    f"{name} {value}" for name, value in cell.hyperparameters.items()
  )
  reason = (
    "the best of its method on held-out data"
    if remark
    else "which held-out data chose"
  )
  return "\n".join(
    [
      *texts,
      *said,
      "",
      f"Exported: {found.method_title(cell.method)}"
      f"{f' ({setting})' if setting else ''}, trial {cell.trial}, {reason}.",
      f"Report:   {folder / 'report.html'}",
      f"Student:  {workdir / 'student'}",
    ]
  )


def card(
  found: SweepResults,
  cell: FinishedCell,
  teacher: TeacherArrays,
  splits: Splits,
) -> Card:
  """Returns the facts for the model card of the exported student.

  Args:
    found: The finished trials of the chosen setting of each method.
    cell: The trial whose student is exported.
    teacher: The teacher.
    splits: The data.
  """
  test, size = cell.test, cell.test.num_examples or 1
  low, high = owner.accuracy_interval(test.accuracy, size)
  numbers = {
    f"Accuracy on {size:,} test rows": f"{100 * test.accuracy:.2f} % "
    f"({100 * low:.2f} to {100 * high:.2f})",
    "Accuracy of the teacher": f"{100 * cell.teacher.test.accuracy:.2f} %",
    "Macro F1": _number(test.macro_f1),
    "Matthews correlation": _number(test.matthews_correlation),
    "Agreement with the teacher": f"{100 * (test.agreement or 0):.1f} %",
    "Parameters": f"{cell.num_parameters:,}",
  }
  if cell.seconds.example:
    numbers["Examples per second, before the export"] = (
      f"{1 / cell.seconds.example:,.0f} on {cell.versions.get('device', '')}"
    )
  labelled = int(np.count_nonzero(splits.transfer["labels"] >= 0))
  data = {
    "Training rows": f"{labelled:,}",
    "Training rows without a label": f"{cell.num_unlabelled_examples:,}",
    "Held-out rows, which chose settings": f"{len(splits.validation['ids']):,}",
    "Test rows": f"{size:,}",
  }
  facts = {k: str(v) for k, v in teacher.source.items() if v is not None}
  facts |= {"method": found.method_title(cell.method)}
  facts |= {str(k): str(v) for k, v in cell.hyperparameters.items()}
  advice = verdict.recommendation(found, teacher.source.get("parameters"))
  # The recommendation is about the student that held-out data choose.
  first = verdict.remark_on_export(found, cell) or advice
  notes = [first, *cell.data_notes]
  return Card(data, facts, numbers, notes)


def _number(value: float | None) -> str:
  return "not recorded" if value is None else f"{value:.3f}"
