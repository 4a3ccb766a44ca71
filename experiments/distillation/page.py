"""The report of a distillation: one page, Markdown, and the terminal."""

import pathlib

from experiments.distillation import verdict
from experiments.distillation.teachers import TeacherArrays
from experiments.reporting import console
from experiments.reporting import render
from experiments.reporting import sections
from experiments.reporting import tables
from experiments.reporting.document import Document
from experiments.reporting.document import Section
from experiments.reporting.selection import SweepResults

_WIDTH = 100  # Of the terminal's tables.


def write(
  found: SweepResults, teacher: TeacherArrays, workdir: pathlib.Path
) -> str:
  """Writes the report to `report/` in the workdir.

  Args:
    found: Five trials of the chosen setting of each method.
    teacher: The teacher.
    workdir: Where they are.

  Returns:
    The summary for the terminal.
  """
  folder = workdir / "report"
  folder.mkdir(parents=True, exist_ok=True)
  said = verdict.recommendation(found, teacher.source.get("parameters"))
  document = sections.make_document(
    [sections.ReportedSweep(found, workdir, folder)]
  )
  first = Section("Recommendation", (said,))
  document = Document(document.title, (first, *document.sections))
  render.write(document, [found], folder, ["md", "csv", "html"])
  table = console.to_text(tables.accuracy_table(found), width=_WIDTH)
  return f"{table}\n{said}\n\nReport: {folder / 'report.html'}"
