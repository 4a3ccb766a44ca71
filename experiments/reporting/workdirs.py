"""Which workdirs a report is of, and where it goes."""

import os
import pathlib
from collections.abc import Sequence

from experiments.reporting.document import anchor


def parse_paths(text: str) -> list[pathlib.Path]:
  """Returns the folders that a flag names, with commas between them.

  Args:
    text: The flag's; a folder may have commas in its own name.

  Examples:
    >>> [path.name for path in parse_paths("runs/table1,runs/table3")]
    ['table1', 'table3']
  """
  whole = pathlib.Path(text).expanduser()
  if whole.is_dir():
    return [whole]
  names = [name for name in text.split(",") if name]
  return [pathlib.Path(name).expanduser() for name in names]


def find_sweeps(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Returns the workdirs of sweeps that some folders are or hold.

  Args:
    paths: Workdirs, and folders with workdirs in them.

  Returns:
    Each workdir once, those of a folder by name; finished cells or not.

  Raises:
    FileNotFoundError: If one is no folder, or neither.
  """
  found: dict[pathlib.Path, pathlib.Path] = {}
  for path in paths:
    if not path.is_dir():
      raise FileNotFoundError(
        f"workdir {path} is no folder: pass the --workdir of experiments.sweep,"
        " a folder of such, or several with commas between them."
      )
    inside = [path] if _is_workdir(path) else []
    inside = inside or sorted(filter(_is_workdir, path.iterdir()))
    if not inside:
      raise FileNotFoundError(
        f"workdir {path} holds no sweep, nor does a folder in it: run"
        " experiments.sweep or experiments.main with this --workdir first."
      )
    found |= {folder.resolve(): folder for folder in inside}
  return list(found.values())


def _is_workdir(path: pathlib.Path) -> bool:
  return (path / "sweep.json").is_file() or (path / "cells").is_dir()


def has_results(workdir: pathlib.Path) -> bool:
  """Whether a run in a workdir has finished."""
  return any(workdir.glob("cells/*/*/*/trial*/result.json"))


def default_output(paths: Sequence[pathlib.Path]) -> pathlib.Path:
  """Returns where the report of some folders goes.

  Args:
    paths: What the report is of: one folder, or several in one.

  Raises:
    ValueError: If several have no folder in common.

  Examples:
    >>> runs = pathlib.Path("runs")
    >>> default_output([runs / "table1", runs / "table3"]).as_posix()
    'runs/report'
  """
  if len(paths) == 1:
    return paths[0] / "report"
  parents = {os.path.dirname(os.path.abspath(p)): p.parent for p in paths}
  if len(parents) > 1:
    raise ValueError(
      "--output must say where the report goes: the workdirs lie in"
      f" {', '.join(map(str, parents.values()))}."
    )
  return paths[0].parent / "report"


def seen_from(workdir: pathlib.Path, base: pathlib.Path) -> str:
  """Returns the way from a folder to a workdir; empty where it is that one."""
  way = pathlib.Path(os.path.relpath(workdir, base)).as_posix()
  return "" if way == "." else way


def prefixes(folders: Sequence[str]) -> list[str]:
  """Returns what the names of each sweep's pictures begin with.

  Args:
    folders: Of the sweeps, from `seen_from`.

  Returns:
    One for each, all different; of a single sweep nothing.

  Examples:
    >>> prefixes(["table1", "table3/a b", "table3-a-b"])
    ['table1-', 'table3-a-b-', 'table3-a-b-3-']
    >>> prefixes(["table1"])
    ['']
  """
  if len(folders) == 1:
    return [""]
  found: list[str] = []
  for number, folder in enumerate(folders, start=1):
    name = f"{anchor(folder) or 'sweep'}-"
    found.append(name if name not in found else f"{name}{number}-")
  return found
