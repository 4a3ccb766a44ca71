"""Writes reports as HTML, Markdown and LaTeX from templates, and as CSV."""

import base64
import functools
import pathlib
import re
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import jinja2

from experiments.reporting import csv_table
from experiments.reporting.document import anchor
from experiments.reporting.document import Document
from experiments.reporting.document import Gallery
from experiments.reporting.document import Picture
from experiments.reporting.document import Table
from experiments.reporting.selection import selections
from experiments.reporting.selection import SweepResults

FORMATS = {
  "md": "table.md",
  "tex": "table.tex",
  "csv": "table.csv",
  "html": "report.html",
}
_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_LATEX = {
  "\\": r"\textbackslash{}",
  **{sign: f"\\{sign}" for sign in "&%$#_{}"},
  # Without braces, a bracket after the end of a line would start an argument.
  "[": "{[}",
  "|": r"\textbar{}",
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  "“": "``",
  "”": "''",
  "±": r"$\pm$",
  "×": r"$\times$",
  "<": r"$<$",
  ">": r"$>$",
  "τ": r"$\tau$",
  "β": r"$\beta$",
  "λ": r"$\lambda$",
}


def check_formats(formats: Sequence[str]) -> None:
  """Raises ValueError for a format that is not a key of `FORMATS`."""
  unknown = [name for name in formats if name not in FORMATS]
  if unknown:
    raise ValueError(
      f"--formats must be among {','.join(FORMATS)}, got {','.join(unknown)}."
    )


def write(
  document: Document,
  results: Iterable[SweepResults],
  folder: pathlib.Path,
  formats: Sequence[str],
) -> list[str]:
  """Writes the files of a report; its pictures exist already.

  Returns the names of all files of the report, including the pictures.
  """
  writers = {
    "md": lambda: to_markdown(document),
    "tex": lambda: to_latex(document.tables),
    "csv": lambda: csv_table.to_csv(
      part for one in results for part in selections(one)
    ),
    "html": lambda: to_html(document, folder),
  }
  for name in formats:
    path = folder / FORMATS[name]
    path.write_text(writers[name](), encoding="utf-8")
  return [
    *(FORMATS[name] for name in formats),
    *(f"{p.name}.{kind}" for p in document.pictures for kind in ("png", "svg")),
  ]


def to_html(document: Document, folder: pathlib.Path) -> str:
  """Formats a report as one HTML file, which contains its pictures.

  Its links lead to configs, relative to the parent of the report's folder.
  """

  def picture_data(picture: Picture) -> str:
    data = (folder / f"{picture.name}.svg").read_bytes()
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"

  return render("report.html.j2", document=document, picture_data=picture_data)


def to_markdown(document: Document) -> str:
  """Formats a report as Markdown, with links to the pictures beside it."""
  return render("report.md.j2", document=document)


def to_latex(tables: Iterable[Table]) -> str:
  r"""Formats tables as a LaTeX file for ``\input``."""
  return render("tables.tex.j2", tables=list(tables))


def render(template: str, **context: Any) -> str:
  """Fills in a template of `templates/`."""
  environment = _environment(template.split(".")[-2])
  return environment.get_template(template).render(**context)


@functools.cache
def _environment(kind: str) -> jinja2.Environment:
  """Returns the environment of templates for "html", "md" or "tex"."""
  environment = jinja2.Environment(
    # LaTeX itself uses braces and percent signs.
    block_start_string="<%" if kind == "tex" else "{%",
    block_end_string="%>" if kind == "tex" else "%}",
    variable_start_string="<<" if kind == "tex" else "{{",
    variable_end_string=">>" if kind == "tex" else "}}",
    comment_start_string="<#" if kind == "tex" else "{#",
    comment_end_string="#>" if kind == "tex" else "#}",
    loader=jinja2.FileSystemLoader(_TEMPLATES),
    autoescape=kind == "html",
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  for part in (Table, Picture, Gallery):
    environment.tests[part.__name__.lower()] = functools.partial(_is, part)
  environment.filters["anchor"] = anchor
  environment.filters["shaded"] = _shaded
  environment.filters["latex"] = escape_latex
  environment.filters["markdown"] = _escape_markdown
  return environment


def _is(kind: type, part: object) -> bool:
  return isinstance(part, kind)


def _shaded(share: float) -> str:
  """Returns the CSS of a cell's background for a share from 0 to 1."""
  percent = round(55 * share)  # The text has to stay readable.
  return f"background:color-mix(in srgb,var(--accent) {percent}%,transparent)"


def _escape_markdown(text: str) -> str:
  return text.replace("|", "\\|").replace("\n", "<br>")


def escape_latex(text: str) -> str:
  r"""Escapes text for LaTeX; a hyphen before a digit becomes a minus sign.

  Examples:
    >>> print(escape_latex("50 % of x_1: -0.5 ± 1"))
    50 \% of x\_1: $-$0.5 $\pm$ 1
  """
  text = "".join(_LATEX.get(sign, sign) for sign in text)
  return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)
