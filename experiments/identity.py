"""Names of cells, teachers and stacks: digests of their settings, and folders.

A digest covers what the numbers depend on. It leaves out where data lie, how
cells are stacked, and which results are the same up to rounding.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

from experiments import specs
from experiments.data import load

# Fields of a cell that describe the machine or the table, not its numbers.
_NOT_IN_CELL = ("row", "trial", "stack", "split_teacher", "loggers", "profile")
_NOT_IN_CELL += ("varied", "name", "title")
_NOT_IN_DATA = ("data_dir", "placement")
# A user's own files are named by their contents, which cover how they are read.
_OF_FILES = ("train", "validation", "test", *load.FILE_OPTIONS)
_OF_FILES += ("max_bad_rows", "unlabelled", "unlabelled_files", "tokenizer")
# Cached outputs are, up to rounding, those of the teacher run inline.
_NOT_IN_TEACHER = ("outputs", "num_coordinates", "allow_chance")
# Fields of the data that do not concern a teacher, which has its own order of
# batches and sees all training examples.
_OF_STUDENTS = ("shared_batch_order", "transfer", "transfer_fraction")


def digest(data: Any) -> str:
  """Returns twelve hexadecimal digits that name JSON-compatible data."""
  text = json.dumps(data, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=2**17)
def cell_digest(cell: specs.CellSpec) -> str:
  """Returns the name of a cell's settings, which its trials share."""
  return digest(cell_fields(cell))


def cell_fields(cell: specs.CellSpec) -> dict[str, Any]:
  """Returns the plain fields that a cell's numbers depend on, except its trial.

  The sections in it are shared: do not change them.
  """
  fields: dict[str, Any] = {}
  for field in dataclasses.fields(cell):
    value = getattr(cell, field.name)
    if field.name not in _NOT_IN_CELL:
      is_section = dataclasses.is_dataclass(value)
      fields[field.name] = _section(value) if is_section else value
  return fields


def teacher_digest(cell: specs.CellSpec) -> str:
  """Returns the name of a teacher, after its settings and its data."""
  return digest(teacher_fields(cell))


def teacher_fields(cell: specs.CellSpec) -> dict[str, Any]:
  """Returns the plain fields that a teacher depends on."""
  dropped = _OF_STUDENTS
  if cell.teacher.input_field != "embeddings":
    dropped = (*dropped, "embeddings")
  data = {k: v for k, v in _section(cell.data).items() if k not in dropped}
  return {
    "data": data,
    "teacher": _section(cell.teacher),
    "selection": cell.selection,
  }


# Thousands of cells of a sweep have a few different sections.
@functools.lru_cache(maxsize=4096)
def _section(section: specs.ConfigSection) -> dict[str, Any]:
  """Returns a section as plain data, without the fields of `_NOT_IN_...`."""
  fields = specs.plain(section)
  dropped: tuple[str, ...] = ()
  if isinstance(section, specs.DataSpec):
    named = section.contents or not section.source
    dropped = _NOT_IN_DATA + _OF_FILES * bool(named)
  if isinstance(section, specs.TeacherSpec):
    dropped = _NOT_IN_TEACHER
  return {name: fields[name] for name in fields if name not in dropped}


def cell_directory(workdir: pathlib.Path, cell: specs.CellSpec) -> pathlib.Path:
  """Returns the folder of one trial of one cell."""
  settings = pathlib.Path(cell.column or "cell", cell.row, cell_digest(cell))
  return workdir / "cells" / settings / f"trial{cell.trial}"
