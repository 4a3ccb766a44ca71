r"""Writes a report on the finished cells of one or more workdirs.

  python -m experiments.report --workdir=runs/quickstart
  python -m experiments.report --workdir=runs

The command prints the main table and writes the report to `report/` in the
workdir: `report.html`, which needs no other file; `table.md`, `table.tex` and
`table.csv` with the same tables; and the pictures as PNG and SVG. Tables of the
paper show its numbers beside ours. Missing cells are left empty and counted.

`--workdir` may also be a file of `experiments.pack`. The command then needs
`--output`, and unpacks the file to `workdirs/` in that folder.

For a folder of workdirs, or several workdirs separated by commas, there is one
report with a chapter per workdir, in `report/` beside them or in `--output`.
"""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
from absl import flags

from experiments import cli
from experiments.io import packed
from experiments.reporting import console
from experiments.reporting import render
from experiments.reporting import sections
from experiments.reporting import tables
from experiments.reporting import workdirs
from experiments.reporting.document import Picture
from experiments.reporting.names import column_name
from experiments.reporting.paper_tables import in_paper_order
from experiments.reporting.selection import SweepResults

_WORKDIR = cli.workdir_flag(
  "A workdir or a packed one, a folder of them, or several separated by commas."
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Folder of the report; by default `report` in the workdir, or beside several "
  "workdirs.",
)
_FORMATS = flags.DEFINE_list(
  "formats", list(render.FORMATS), "Formats of the report to write."
)
flags.adopt_module_key_flags(cli)  # So that --help shows them.
# Methods whose students are drawn, as in Figure 4 of the paper.
_MAPPED = ("vanilla", "lelp", "oracle")
# The largest number of test examples in a map. The time of t-SNE grows with its
# square.
_MOST_MAPPED = 2000


def main() -> None:
  """Reports the workdirs that the flags name."""
  with cli.reported():
    paths = workdirs.parse_paths(str(_WORKDIR.value))
    output = cli.folder(_OUTPUT.value)
    report(paths, _FORMATS.value, output)


def report(
  paths: Sequence[pathlib.Path],
  formats: Sequence[str],
  output: pathlib.Path | None = None,
) -> None:
  """Prints and writes the report of some workdirs.

  Args:
    paths: Workdirs, packed workdirs, or folders of these.
    formats: Formats to write, of `render.FORMATS`.
    output: Folder of the report; None for the default.
  """
  render.check_formats(formats)
  found_workdirs = _unpacked(workdirs.find_workdirs(paths), output)
  if output is None:
    folder = workdirs.default_output(paths)
  else:  # Links are relative to its parent, so "." and ".." are resolved.
    folder = pathlib.Path(os.path.abspath(output))
  loaded, unfinished = _load(found_workdirs, folder.parent)
  folder.mkdir(parents=True, exist_ok=True)
  prefixes = workdirs.picture_prefixes([results.folder for results in loaded])
  width = shutil.get_terminal_size((120, 24)).columns
  sweeps = []
  for results, prefix in zip(loaded, prefixes, strict=True):
    print(console.to_text(tables.accuracy_table(results), width))
    print(f"\n{sections.conclusion(results)}\n", flush=True)
    # Pictures of an earlier report may show other results.
    for name in sections.PICTURES:
      for kind in ("png", "svg"):
        (folder / f"{prefix}{name}.{kind}").unlink(missing_ok=True)
    sweep = sections.ReportedSweep(results, folder, prefix)
    sweeps.append(dataclasses.replace(sweep, maps=tuple(_maps(sweep))))
  document = sections.make_document(sweeps, unfinished)
  written = render.write(document, loaded, folder, formats)
  if unfinished:
    print(sections.unfinished_note(unfinished))
  print(f"Report in {folder}: {', '.join(written)}")


def _unpacked(
  paths: Sequence[pathlib.Path], output: pathlib.Path | None
) -> list[pathlib.Path]:
  """Returns the workdirs, after unpacking packed ones to `output`."""
  folders: list[pathlib.Path] = []
  for path in paths:
    if path.is_file():
      if output is None:
        raise ValueError(
          f"--output is required: --workdir={path} is a file, but the report "
          "needs a folder."
        )
      folder = output / "workdirs" / path.stem
      if folder in folders:
        raise ValueError(
          f"--workdir names two files {path.name}: rename one of them."
        )
      path = packed.unpack(path, folder)
    folders.append(path)
  return folders


def _load(
  found_workdirs: Sequence[pathlib.Path], base: pathlib.Path
) -> tuple[list[SweepResults], list[str]]:
  """Reads the workdirs; also returns names of those without a finished cell."""
  loaded, unfinished = [], []
  for workdir in found_workdirs:
    name = workdirs.relative(workdir, base) or str(workdir)
    if not workdirs.has_results(workdir):
      unfinished.append(name)
      continue
    results = in_paper_order(workdirs.load(workdir, base))
    if results.cells:
      loaded.append(results)
    else:
      unfinished.append(f"{name} ({' '.join(results.notes)})")
  if not loaded:
    raise FileNotFoundError(
      f"no cell of a sweep is finished in {', '.join(unfinished)}: run"
      " experiments.sweep."
    )
  return loaded, unfinished


def _maps(sweep: sections.ReportedSweep) -> list[Picture]:
  """Draws maps of embeddings if the sweep wants them.

  If they cannot be drawn, the reason is printed.
  """
  if not sweep.results.maps:
    return []
  try:
    return _draw_maps(sweep)
  except (FileNotFoundError, ValueError) as error:
    print(f"No embeddings are drawn: {error}")
    return []


def _draw_maps(sweep: sections.ReportedSweep) -> list[Picture]:
  """Draws the students' embeddings of test examples in the first column."""
  # Imported here because only maps need models and scikit-learn.
  from experiments.reporting import embeddings
  from experiments.training import data
  from experiments.training import inspection

  results = sweep.results
  column = results.columns[0]
  workdir = results.base / results.folder
  panels, task = [], None
  for method in _MAPPED:
    if (column.id, method) not in results.summaries:
      continue
    spec = results.summaries[column.id, method].cells[0].spec(results.base)
    splits = data.load_splits(spec, workdir)
    labels, task = splits.test["labels"], splits.task
    size = len(labels)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(size, min(size, _MOST_MAPPED), replace=False))
    panels.append(
      embeddings.EmbeddingPanel(
        results.method_title(method),
        inspection.student_embeddings(spec, workdir, splits, rows),
        labels[rows],
        splits.test["fine_labels"][rows] if task.fine_names else None,
      )
    )
  if task is None:
    return []
  classes, fine = task.class_names, task.fine_names
  caption = (
    "Embeddings of test examples by the students, as in Figure 4 of the paper"
    f" ({column_name(column)}, first trial)"
    f"{': by class above, by fine class below' if fine else ''}."
  )
  return sweep.draw(
    "embeddings",
    caption,
    lambda _, path: embeddings.embedding_maps(panels, path, classes, fine),
  )


if __name__ == "__main__":
  cli.run(main)
