"""A report as one HTML file that needs no other: styles and pictures in it.

Accuracies of runs and what was chosen for them are links to their configs,
relative to the file. Gains, means over columns, costs and diagnostics, which
are of several runs, have none.
"""

import base64
import html
import itertools
import pathlib
import urllib.parse
from collections.abc import Iterable
from collections.abc import Sequence

from experiments.reporting.document import anchor
from experiments.reporting.document import Document
from experiments.reporting.document import Picture
from experiments.reporting.document import Section
from experiments.reporting.layout import header_lines
from experiments.reporting.layout import reference
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell

_STYLE = """
:root { color-scheme: light dark;
  --text: #1f2328; --faint: #59636e; --page: #fff; --line: #d1d9e0;
  --shade: #f3f5f7; --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root {
  --text: #e6edf3; --faint: #9da7b1; --page: #14181d; --line: #3d444d;
  --shade: #1e242b; --link: #79c0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem;
  background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; }
h1[id] { margin-top: 4rem; padding-top: 1rem;
  border-top: 3px solid var(--faint); }
h2 { font-size: 1.25rem; margin-top: 2.5rem; padding-top: .5rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
a { color: var(--link); }
nav { background: var(--shade); border-radius: 6px; padding: .75rem 1rem; }
nav ul { margin: 0; padding-left: 1.25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; vertical-align: top;
  white-space: nowrap; }
th[scope=row] { text-align: left; font-weight: 500; white-space: normal;
  min-width: 8rem; max-width: 16rem; position: sticky; left: 0;
  background: var(--page); }
th[scope=rowgroup] { text-align: left; font-weight: 500; }
thead th { text-align: center; font-weight: 600; }
thead tr:only-child th { white-space: normal; vertical-align: bottom; }
thead th:first-child { text-align: left; position: sticky; left: 0;
  background: var(--page); }
tbody { border-top: 1px solid var(--line); }
tbody:last-child, thead { border-bottom: 1px solid var(--line); }
tbody:first-of-type { border-top: 2px solid var(--faint); }
tr.detail td, tr.detail th[scope=row] { color: var(--faint);
  font-weight: 400; font-size: .8125rem; }
tr.detail th[scope=row] { padding-left: 1.6rem; }
td a { color: inherit; text-decoration: none; }
td a:hover, td a:focus { color: var(--link); text-decoration: underline; }
sup { line-height: 0; }
td .second { text-decoration: underline; text-underline-offset: .2em; }
.caption, figcaption, .notes { color: var(--faint); font-size: .875rem;
  max-width: 60rem; }
.notes { padding-left: 1.25rem; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; background: #fff; padding: .5rem;
  border: 1px solid var(--line); border-radius: 6px; }
"""


def to_html(
  document: Document, pictures: pathlib.Path, *, to_workdir: str = "../"
) -> str:
  """Writes a report as one HTML file.

  Args:
    document: The report.
    pictures: Folder of its pictures, which become part of the file.
    to_workdir: The way from the file to what links are relative to: a workdir,
      or a folder of several.
  """
  contents, body = [], []
  for chapter, sections in itertools.groupby(
    document.sections, lambda section: section.chapter
  ):
    if chapter:
      body.append(f'<h1 id="{anchor(chapter)}">{html.escape(chapter)}</h1>\n')
    sections = list(sections)
    contents.append(_contents(chapter, sections))
    body += [_section(section, pictures, to_workdir) for section in sections]
  title = html.escape(document.title)
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{title}</title>\n<link rel="icon" href="data:,">\n'
    f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    f'<nav aria-label="Contents"><ul>\n{"".join(contents)}</ul></nav>\n'
    f"<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
  )


def _contents(chapter: str, sections: Iterable[Section]) -> str:
  lines = "".join(_item(section.title, section.anchor) for section in sections)
  if not chapter:
    return lines
  return _item(chapter, anchor(chapter), f"\n<ul>\n{lines}</ul>")


def _item(title: str, target: str, more: str = "") -> str:
  return f'<li><a href="#{target}">{html.escape(title)}</a>{more}</li>\n'


def _section(section: Section, pictures: pathlib.Path, way: str) -> str:
  title = html.escape(section.title)
  parts = [f'<section>\n<h2 id="{section.anchor}">{title}</h2>\n']
  for part in section.parts:
    if isinstance(part, Table):
      # Another chapter may have a table of this title.
      name = anchor(f"{section.chapter} {part.title}")
      parts.append(_table(part, name, way))
    elif isinstance(part, Picture):
      parts.append(_picture(part, pictures))
    else:
      parts.append(f"<p>{html.escape(part)}</p>\n")
  return "".join([*parts, "</section>\n"])


def _picture(picture: Picture, folder: pathlib.Path) -> str:
  data = base64.b64encode((folder / f"{picture.name}.svg").read_bytes())
  caption = html.escape(picture.caption)
  return (
    f'<figure><img alt="{caption}"'
    f' src="data:image/svg+xml;base64,{data.decode()}">\n'
    f"<figcaption>{caption}</figcaption></figure>\n"
  )


def _table(table: Table, name: str, way: str) -> str:
  caption = table.caption
  if table.is_marked:
    caption += " Bold: the best student; underlined: the second."
  if any(cell.link for row in table.rows for cell in row.cells):
    caption += " A number leads to the config of its run."
  bodies = [
    f"<tbody>\n{''.join(_row(row, name, way) for row in rows)}</tbody>\n"
    for _, rows in itertools.groupby(table.rows, lambda row: row.group)
  ]
  return (
    f'<h3 id="{name}">{html.escape(table.title)}</h3>\n'
    f'<div class="scroll"><table aria-labelledby="{name}">\n'
    f"<thead>\n{_header(table)}</thead>\n{''.join(bodies)}</table></div>\n"
    f'<p class="caption">{html.escape(caption)}</p>\n{_notes(table, name)}'
  )


def _header(table: Table) -> str:
  lines = []
  *above, last = header_lines(table)
  for first, *texts in above:
    parts = [f"<th>{html.escape(first)}</th>"]
    for text, group in itertools.groupby(texts):
      width = len(list(group))
      parts.append(f'<th colspan="{width}">{html.escape(text)}</th>')
    lines.append(parts)
  first, *texts = last
  columns = [f'<th scope="col">{html.escape(text)}</th>' for text in texts]
  lines.append([f"<th>{html.escape(first)}</th>", *columns])
  return "".join(f"<tr>{''.join(parts)}</tr>\n" for parts in lines)


def _row(row: Row, name: str, way: str) -> str:
  kind = ' class="detail"' if row.detail else ""
  if row.is_heading:
    width = len(row.cells) + 1
    label = html.escape(row.label)
    return f'<tr><th scope="rowgroup" colspan="{width}">{label}</th></tr>\n'
  cells = "".join(f"<td>{_cell(cell, name, way)}</td>" for cell in row.cells)
  label = html.escape(row.label)
  return f'<tr{kind}><th scope="row">{label}</th>{cells}</tr>\n'


def _cell(cell: TableCell, name: str, way: str) -> str:
  text = html.escape(cell.text).replace("\n", "<br>")
  if cell.link:
    address = html.escape(way + urllib.parse.quote(cell.link))
    text = f'<a href="{address}">{text}</a>'
  if cell.mark:
    tag = {"best": "strong", "second": 'span class="second"'}[cell.mark]
    text = f"<{tag}>{text}</{tag.split(' ')[0]}>"
  if not cell.footnotes:
    return text
  target = f"{name}-note-{cell.footnotes[0]}"
  return f'{text} <sup><a href="#{target}">{reference(cell)}</a></sup>'


def _notes(table: Table, name: str) -> str:
  items = [f"<li>{html.escape(note)}</li>" for note in table.notes]
  items += [
    f'<li id="{name}-note-{i}">[{i}] {html.escape(note)}</li>'
    for i, note in enumerate(table.footnotes, start=1)
  ]
  return f'<ul class="notes">{_lines(items)}</ul>\n' if items else ""


def _lines(items: Sequence[str]) -> str:
  return "\n".join(items)
