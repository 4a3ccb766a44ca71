"""The files of a report: one document in each of its formats."""

import pathlib
from collections.abc import Iterable
from collections.abc import Sequence

from experiments.reporting import document as document_lib
from experiments.reporting import html
from experiments.reporting import latex
from experiments.reporting import spreadsheet
from experiments.reporting import statistics
from experiments.reporting.document import Document
from experiments.reporting.records import Results

FORMATS = {
  "md": "table.md",
  "tex": "table.tex",
  "csv": "table.csv",
  "html": "report.html",
}


def check_formats(formats: Sequence[str]) -> None:
  """Raises ValueError for what is no key of `FORMATS`."""
  unknown = [name for name in formats if name not in FORMATS]
  if unknown:
    raise ValueError(
      f"--formats must be among {','.join(FORMATS)}, got {','.join(unknown)}."
    )


def write(
  document: Document,
  results: Iterable[Results],
  folder: pathlib.Path,
  formats: Sequence[str],
) -> list[str]:
  """Writes a report.

  Args:
    document: The report.
    results: Its numbers: what `results.load` returns, of each sweep.
    folder: Where its pictures are and it goes.
    formats: Keys of `FORMATS`.

  Returns:
    The names of the files, pictures included.

  Raises:
    ValueError: If there is no such format.
  """
  check_formats(formats)
  writers = {
    "md": lambda: document_lib.to_markdown(document),
    "tex": lambda: latex.to_latex(document.tables),
    "csv": lambda: spreadsheet.to_csv(
      part for one in results for part in statistics.selections(one)
    ),
    "html": lambda: html.to_html(document, folder),
  }
  for name in formats:
    path = folder / FORMATS[name]
    path.write_text(writers[name](), encoding="utf-8")
  return [
    *(FORMATS[name] for name in formats),
    *(f"{p.name}.{kind}" for p in document.pictures for kind in ("png", "svg")),
  ]
