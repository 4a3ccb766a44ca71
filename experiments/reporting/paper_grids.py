"""Tables 6 to 15 of the paper: its grids, what it chose, and what we chose."""

from experiments.paper import grids
from experiments.paper.columns import Column
from experiments.reporting.formats import short
from experiments.reporting.layout import heading
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.names import column_name
from experiments.reporting.names import paper_place
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import summarize
from experiments.reporting.statistics import Summary

HEADER = ("grid, as printed", "the paper's choice", "ours")
_CAPTION = (
  "Ours: chosen in this workdir on {where} data, empty where nothing was run;"
  " (edge): the least or the greatest value that was tried, so that a better"
  " one may lie beyond."
)
_BORROWED = "A-31: of the same pair on all data; here the paper lists none."
_COUNTED = {
  "per_class": " Counted in each class{ours} (A-17).",
  "in_total": (
    " The paper counts the clusters of both classes together, ours are those of"
    " each class{ours} (A-17)."
  ),
}
_IN_TOTAL = " in total"
_OURS = ", where it says in total of both together"


def grid_tables(results: Results) -> tuple[Table, ...]:
  """Builds one table for each method of a sweep that the paper has a grid of.

  Args:
    results: What `results.load` returns.

  Returns:
    Rows: each hyperparameter in each column that is one of the paper's.
  """
  summaries = summarize(results)
  found = []
  for method in results.methods:
    for grid in grids.grid_tables():
      if grid.method == method.id:
        table = _grid_table(results, summaries, method, grid)
        found += [table] if table.rows else []
  return tuple(found)


def _grid_table(
  results: Results, summaries: Summaries, method: Named, grid: grids.GridTable
) -> Table:
  rows: list[Row] = []
  footnotes: list[str] = []
  for column in results.columns:
    place = paper_place(column)
    axes = {}
    if place is not None:
      axes = grid.rows.get(place.dataset) or grid.rows.get("*", {})
    name = column_name(column)
    rows += [heading(name, len(HEADER))] if axes else []
    for field, axis in axes.items():
      assert place is not None
      choice = _choice(axis.choices.get(place.pair))
      # Of fewer labels or examples than the pair's own column.
      borrowed = _BORROWED if choice and _is_part(column, place) else ""
      summary = summaries.get((column.id, method.id))
      ours = _ours(results, column.id, method.id, summary, field)
      cells = (
        TableCell(", ".join(axis.printed), "", _note(footnotes, axis.note)),
        TableCell(choice, "", _note(footnotes, borrowed)),
        TableCell(
          ours, link=summary.cells[0].config if summary and ours else ""
        ),
      )
      rows.append(Row(grid.axes[field], cells, name, detail=True))
  said = any(_IN_TOTAL in cell.text for row in rows for cell in row.cells)
  counted = _COUNTED.get(grid.counted, "").format(ours=_OURS if said else "")
  where = {"heldout": "held-out", "test": "TEST"}[results.selection]
  number = f"Table {grid.number} of the paper" if grid.number else "The paper"
  return Table(
    title=f"{number}: {grid.title}",
    header=HEADER,
    rows=tuple(rows),
    caption=_CAPTION.format(where=where) + counted,
    footnotes=tuple(footnotes),
  )


def _is_part(column: Named, place: Column) -> bool:
  """Whether a column has fewer labels or examples than the paper's pair."""
  whole = (place.id, f"{place.id}-transfer100")
  return place.num_labelled > 0 or column.id not in whole


def _note(footnotes: list[str], text: str) -> tuple[int, ...]:
  """The number of a footnote, which is added where it is new."""
  if not text:
    return ()
  if text not in footnotes:
    footnotes.append(text)
  return (footnotes.index(text) + 1,)


def _choice(choice: grids.Choice | None) -> str:
  """What is legible of the paper's choice, and how certain that is (A-38)."""
  if choice is None or choice.status == "absent":
    return ""
  if choice.value is not None:
    return short(choice.value)
  values = [short(value) for value in choice.candidates]
  return {
    "ambiguous": f"probably {' or '.join(values)} (A-38)",
    "multiple": f"{' and '.join(values)} are marked (A-38)",
    "unmarked": "not marked (A-38)",
  }[choice.status]


def _ours(
  results: Results,
  column: str,
  method: str,
  summary: Summary | None,
  field: str,
) -> str:
  """The chosen value, and whether it lies at the edge of those tried."""
  if summary is None:
    return ""
  # Two fields of one last name are told apart by their whole names.
  last = field.rpartition(".")[2]
  name = field if field in summary.hyperparameters else last
  value = summary.hyperparameters.get(name)
  if not isinstance(value, int | float):
    return ""
  tried = {
    cell.hyperparameters[name]
    for cell in results.cells
    if (cell.column, cell.method) == (column, method)
  }
  edge = len(tried) > 2 and value in (min(tried), max(tried))
  # Of the config's argument cluster_scope.
  in_total = summary.hyperparameters.get("scope") == "global"
  text = short(value) + _IN_TOTAL * (in_total and last == "num_clusters")
  return f"{text} (edge)" if edge else text
