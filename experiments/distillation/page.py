"""The report of a distillation: one page, Markdown, and the terminal."""

import pathlib
import shutil

from experiments.distillation.teachers import TeacherArrays
from experiments.reporting import console
from experiments.reporting import render
from experiments.reporting import sections
from experiments.reporting import tables
from experiments.reporting.workdirs import SweepResults


def write(
  found: SweepResults, teacher: TeacherArrays, workdir: pathlib.Path
) -> None:
  """Prints the results, and writes them to `report/` in the workdir."""
  del teacher
  folder = workdir / "report"
  folder.mkdir(parents=True, exist_ok=True)
  width = shutil.get_terminal_size((120, 24)).columns
  print(console.to_text(tables.accuracy_table(found), width=width))
  print(f"\n{sections.conclusion(found)}\n", flush=True)
  document = sections.make_document(
    [sections.ReportedSweep(found, workdir, folder)]
  )
  render.write(document, [found], folder, ["md", "html"])
