"""Tables 6 to 15 of the paper: its grids, its choices, and our choices."""

from experiments.paper import grids
from experiments.reporting import numbers
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.names import column_name
from experiments.reporting.names import paper_column
from experiments.reporting.selection import Summary
from experiments.reporting.selection import SweepResults
from experiments.results import Heading

_HEADER = ("grid, as printed", "the paper's choice", "ours")
_CAPTION = (
  "Ours: chosen in this workdir on {where} data, empty if nothing was run."
  " (edge): the least or the greatest value that was tried; a better one may"
  " lie beyond."
)
_BORROWED = (
  "A-31: the paper prints no choice for this column. This is its choice for the"
  " same pair of models on all data."
)
_PER_CLASS = " Subclasses and clusters are counted per class{ours} (A-17)."
_IN_TOTAL = (
  " The paper counts the clusters of both classes together, ours are counted"
  " per class{ours} (A-17)."
)
_TOTAL = " in total"
_OURS = ", except where the number is followed by “in total”"


def grid_tables(results: SweepResults) -> tuple[Table, ...]:
  """Builds one table for each method of a sweep that has a grid in the paper.

  A table has one row per column and hyperparameter.
  """
  grid_of = {grid.method: grid for grid in grids.grid_tables()}
  tables = (
    _grid_table(results, grid_of[method.id])
    for method in results.methods
    if method.id in grid_of
  )
  return tuple(table for table in tables if table.rows)


def _grid_table(results: SweepResults, grid: grids.GridTable) -> Table:
  rows: list[TableRow] = []
  for column in results.columns:
    place = paper_column(column.id)
    if place is None or place.num_merged:
      continue
    axes = grid.rows.get(place.dataset) or grid.rows.get("*", {})
    # Whether the column uses a part of the labels or of the data.
    is_part = place.num_labelled > 0 or place.transfer not in (0, 100)
    name = column_name(column)
    rows += [TableRow.heading(name, len(_HEADER))] if axes else []
    for field, axis in axes.items():
      choice = _choice(axis.choices.get(place.pair))
      borrowed = (_BORROWED,) if choice and is_part else ()
      summary = results.summaries.get((column.id, grid.method))
      ours = _ours(results, column, summary, field) if summary else ""
      cells = (
        TableCell(
          ", ".join(axis.printed), footnotes=(axis.note,) if axis.note else ()
        ),
        TableCell(choice, footnotes=borrowed),
        TableCell(
          ours, link=summary.cells[0].config if summary and ours else ""
        ),
      )
      rows.append(TableRow(grid.axes[field], cells, name, detail=True))
  has_totals = any(_TOTAL in cell.text for row in rows for cell in row.cells)
  counted = {"per_class": _PER_CLASS, "in_total": _IN_TOTAL}
  number = f"Table {grid.number} of the paper" if grid.number else "The paper"
  return Table(
    title=f"{number}: {grid.title}",
    header=_HEADER,
    rows=tuple(rows),
    caption=_CAPTION.format(where=results.chosen_by)
    + counted.get(grid.counted, "").format(ours=_OURS if has_totals else ""),
  )


def _choice(choice: grids.Choice | None) -> str:
  """Formats the paper's choice, and how legible it is (A-38)."""
  if choice is None or choice.status == "absent":
    return ""
  if choice.value is not None:
    return numbers.setting(choice.value)
  values = [numbers.setting(value) for value in choice.candidates]
  return {
    "ambiguous": f"probably {' or '.join(values)} (A-38)",
    "multiple": f"{' and '.join(values)} are marked (A-38)",
    "unmarked": "not marked (A-38)",
  }[choice.status]


def _ours(
  results: SweepResults, column: Heading, summary: Summary, field: str
) -> str:
  """Formats the value that we chose, and whether it is the last of its grid."""
  # If the last parts of two fields are equal, results have their whole names.
  last = field.rpartition(".")[2]
  name = field if field in summary.hyperparameters else last
  value = summary.hyperparameters.get(name)
  if not isinstance(value, int | float):
    return ""
  method = summary.cells[0].method
  tried = {
    cell.hyperparameters[name]
    for cell in results.cells
    if (cell.column, cell.method) == (column.id, method)
  }
  edge = len(tried) > 2 and value in (min(tried), max(tried))
  # The argument cluster_scope of the config sets this field.
  in_total = summary.hyperparameters.get("scope") == "global"
  text = numbers.setting(value)
  text += _TOTAL * (in_total and last == "num_clusters")
  return f"{text} (edge)" if edge else text
