"""Cells: what a config expands to, how they are named and stacked.

A cell is one student: a column of the table, a method with its
hyperparameters, a trial. Cells that differ only in numbers the compiled
program takes as arguments form a stack and are trained together. Which cells
stand in a stack follows from the configs alone, never from what is left to
do, so that a resumed sweep computes the same bits.
"""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

# Hyperparameters that the compiled program takes as arrays.
_STACKED = (
  "clustering.num_clusters",
  "loss.feature_weight",
  "loss.nontarget_weight",
  "loss.temperature",
  "loss.subclass_temperature",
  "loss.hard_label_weight",
  "loss.prediction_temperature",
  "loss.subclass_weight",
  "subspace.num_subclasses",
  "subspace.null_space",
  "subspace.rotation",
  "subspace.normalization",
  "subspace.seed",
)
# Fields of the data that do not concern a teacher: it has its own order, and
# what students are trained on is no part of it.
_NOT_A_TEACHERS = ("shared_batch_order", "transfer", "transfer_fraction")
# Fields that describe the table or the machine, not the numbers of a cell.
_NOT_IN_DIGEST = (
  "name",
  "loggers",
  "profile",
  "title",
  "row",
  "trial",
  "stack",
  "sweep",
  "mesh",
)


@dataclasses.dataclass(frozen=True)
class Stack:
  """Cells that are trained as one program.

  Attributes:
    configs: One config a cell.
    names: Digest and trial of each cell.
    digest: Names the stack: a digest of its cells.
  """

  configs: tuple[ConfigDict, ...]
  names: tuple[str, ...]
  digest: str


def expand(
  config: ConfigDict, given: Container[str] = ()
) -> Iterator[ConfigDict]:
  """Yields the config of every cell of `config.sweep`.

  Args:
    config: A config whose `sweep` names columns, methods and trials.
    given: Fields by dotted name that keep the config's own value, whatever
      columns, rows and grids say.

  Yields:
    One config for each column, method, grid point and trial, in that order.
    Sections that are alike are shared: copy a config before changing it.

  Raises:
    ValueError: If the sweep is empty or names a field that does not exist.
  """
  sweep = config.sweep
  if not sweep.columns or not sweep.methods or sweep.num_trials < 1:
    raise ValueError(
      f"config {config.name!r} has no sweep: set config.sweep.columns, "
      "config.sweep.methods and a positive config.sweep.num_trials, or run a "
      "single cell with experiments.main."
    )
  _check_grids(sweep)
  columns = sorted(sweep.columns, key=_natural)
  for column, row in itertools.product(columns, sweep.methods):
    first = _first_cell(config, column, row, given)
    axes = _without(flatten(first.sweep.methods[row]), given)
    axes["trial"] = tuple(range(sweep.num_trials))
    grid = {k: v if isinstance(v, tuple) else (v,) for k, v in axes.items()}
    for values in itertools.product(*grid.values()):
      yield _varied(first, dict(zip(grid, values, strict=True)))


def _without(values: dict[str, Any], names: Container[str]) -> dict[str, Any]:
  return {k: v for k, v in values.items() if k not in names}


def _first_cell(
  config: ConfigDict, column: str, row: str, given: Container[str]
) -> ConfigDict:
  """What the cells of a column and a row have in common.

  Of the sweep they keep their own row, with the column's grid for it.
  """
  axes = config.sweep.methods[row].copy_and_resolve_references().unlock()
  with axes.ignore_type():
    axes.update(config.sweep.grids.get(column, {}).get(row, {}))
  own = {"columns": {}, "grids": {}, "methods": {row: axes}}
  sweep = ConfigDict(dict(config.sweep.items()) | own)
  first = ConfigDict(dict(config.items()) | {"sweep": sweep})
  first = first.copy_and_resolve_references().unlock()
  names = {"column": column, "row": row, "method": row}
  own = _without(flatten(config.sweep.columns[column]), given)
  override(first, names | own)
  return first


def _varied(first: ConfigDict, values: dict[str, Any]) -> ConfigDict:
  """Another cell, which shares the sections in which it does not differ."""
  cell = ConfigDict(dict(first.items()))
  for section in {name.split(".")[0] for name in values if "." in name}:
    if isinstance(first.get(section), ConfigDict):
      cell[section] = first[section].copy_and_resolve_references()
  override(cell, values)
  return cell


def _check_grids(sweep: ConfigDict) -> None:
  """Raises ValueError for a grid of no column or no row of the sweep."""
  for column, grids in sweep.grids.items():
    for row in grids:
      if column not in sweep.columns or row not in sweep.methods:
        raise ValueError(
          f"config.sweep.grids has {row!r} in {column!r}: the sweep has no "
          "such row or column."
        )


def _natural(name: str) -> list[Any]:
  """Sorts split2 before split10."""
  return [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", name)]


def flatten(tree: ConfigDict, prefix: str = "") -> dict[str, Any]:
  """Nested overrides as {"loss.temperature": value}."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, ConfigDict):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = value
  return flat


def override(config: ConfigDict, values: Mapping[str, Any]) -> None:
  """Sets fields of a config by dotted name.

  Args:
    config: The config to change.
    values: By name, such as "loss.temperature".

  Raises:
    ValueError: If there is no such field, unless it is one of `options`, or
      the value is of another type.
  """
  for name, value in values.items():
    *path, field = name.split(".")
    section = config
    for part in path:
      section = section.get(part) if isinstance(section, ConfigDict) else None
    if not isinstance(section, ConfigDict) or (
      field not in section and "options" not in path
    ):
      raise ValueError(f"config.sweep sets config.{name}: no such field.")
    try:
      section[field] = value
    except TypeError as error:
      raise ValueError(f"config.sweep sets config.{name}: {error}") from error


def row_name(config: ConfigDict) -> str:
  """Names a cell's row of the table, and its folder."""
  if config.row:
    return config.row
  if config.method == "lelp" and config.subspace.kind != "lelp":
    return f"lelp_{config.subspace.kind}"
  return config.method


def plain(config: ConfigDict) -> dict[str, Any]:
  """Returns a config as plain, JSON-compatible data."""
  return json.loads(json.dumps(config.to_dict()))


def digest(data: Any) -> str:
  """Returns twelve hex digits that name JSON-compatible data."""
  text = json.dumps(data, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def static_loss(config: ConfigDict) -> dict[str, Any]:
  """Returns the part of `config.loss` that a program is compiled for."""
  fields = config.loss.to_dict()
  return {k: v for k, v in fields.items() if f"loss.{k}" not in _STACKED}


def cell_digest(config: ConfigDict) -> str:
  """Names the settings of a cell: the same for its trials."""
  return digest(cell_fields(config))


def cell_fields(config: ConfigDict) -> dict[str, Any]:
  """The part of a config that a cell's numbers depend on, but its trial."""
  fields = _identity(config)
  return {k: v for k, v in fields.items() if k not in _NOT_IN_DIGEST}


def teacher_digest(config: ConfigDict) -> str:
  """Names a teacher by what it is and what it was trained on."""
  return digest(teacher_fields(config))


def teacher_fields(config: ConfigDict) -> dict[str, Any]:
  """The part of a config that a teacher depends on, plain data."""
  fields = _identity(config)
  names = _NOT_A_TEACHERS
  if config.teacher.reads != "embeddings":
    names = (*names, "embeddings")
  for name in names:
    fields["data"].pop(name)
  return {k: fields[k] for k in ("data", "teacher", "selection")}


def _identity(config: ConfigDict) -> dict[str, Any]:
  """A config without the fields that only say where things come from."""
  fields = _tree(config)
  del fields["sweep"]
  for name in ("data_dir", "placement"):
    fields["data"].pop(name, None)
  # Outputs from a cache are, up to rounding, those of the teacher run inline.
  for name in ("outputs", "num_coordinates"):
    fields["teacher"].pop(name, None)
  return fields


def _tree(config: ConfigDict) -> dict[str, Any]:
  """`ConfigDict.to_dict`, which takes three times as long."""
  return {
    name: _tree(value) if isinstance(value, ConfigDict) else value
    for name, value in config.items()
  }


def cell_directory(workdir: pathlib.Path, config: ConfigDict) -> pathlib.Path:
  """The folder of one trial of one cell."""
  return (
    workdir
    / "cells"
    / (config.column or "cell")
    / row_name(config)
    / cell_digest(config)
    / f"trial{config.trial}"
  )


def stacks(configs: Iterable[ConfigDict]) -> list[Stack]:
  """Groups cells that one compiled program can train together.

  Args:
    configs: Configs of single cells.

  Returns:
    The stacks, in the order of their first cells; no more than
    `config.stack.max_cells` cells each.
  """
  groups: dict[str, list[ConfigDict]] = {}
  for config in configs:
    groups.setdefault(_stack_key(config), []).append(config)
  result = []
  for group in groups.values():
    most = group[0].stack.max_cells
    if most < 1:
      raise ValueError(f"config.stack.max_cells must be positive, got {most}.")
    for start in range(0, len(group), most):
      part = tuple(group[start : start + most])
      names = tuple(f"{cell_digest(cell)}/trial{cell.trial}" for cell in part)
      result.append(Stack(part, names, digest(names)))
  return result


def _stack_key(config: ConfigDict) -> str:
  """The same for cells with equal programs, batches and teacher."""
  fields = _tree(config)
  del fields["sweep"]
  for name in _STACKED:
    section, field = name.split(".")
    del fields[section][field]
  if config.data.shared_batch_order:
    del fields["trial"]
  if config.teacher.outputs == "coordinates":  # They are of one null space.
    fields["null_space"] = config.subspace.null_space
  return json.dumps(fields, sort_keys=True)
