"""Digests of the settings of cells and teachers, and the folders of cells.

A digest covers the settings that results depend on. It ignores the location of
the data, the stacking of cells, and settings that change results only by
rounding.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

from experiments import specs
from experiments.data import load
from experiments.io import json_files

# Fields that a cell's digest leaves out: the trial, which names a folder of its
# own, and fields that do not affect results.
_NOT_IN_CELL = ("row", "trial", "stack", "split_teacher", "loggers", "profile")
_NOT_IN_CELL += ("varied", "name", "title")
_NOT_IN_DATA = ("data_dir", "placement")
# `data.contents` identifies a user's own files and how they are read, so these
# fields are left out.
_OF_FILES = ("train", "validation", "test", *load.FILE_OPTIONS)
_OF_FILES += ("max_bad_rows", "unlabelled", "unlabelled_files", "tokenizer")
# Fields of a teacher that do not affect results. Cached outputs are, up to
# rounding, those of the teacher run inline.
_NOT_IN_TEACHER = ("outputs", "num_coordinates", "allow_chance")
# Fields of the data that only affect students. The teacher has its own order of
# batches and sees all training examples.
_OF_STUDENTS = ("shared_batch_order", "transfer", "transfer_fraction")


def digest(data: Any) -> str:
  """Returns a digest of JSON-compatible data, twelve hexadecimal digits."""
  text = json.dumps(data, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=2**17)
def cell_digest(cell: specs.CellSpec) -> str:
  """Returns the digest of a cell's settings, which its trials share."""
  return digest(cell_fields(cell))


def cell_fields(cell: specs.CellSpec) -> dict[str, Any]:
  """Returns the fields that a cell's results depend on, as plain data.

  The trial is left out. The sections are shared between calls: do not modify
  them.
  """
  fields: dict[str, Any] = {}
  for field in dataclasses.fields(cell):
    value = getattr(cell, field.name)
    if field.name not in _NOT_IN_CELL:
      is_section = dataclasses.is_dataclass(value)
      fields[field.name] = _section(value) if is_section else value
  return fields


def teacher_digest(cell: specs.CellSpec) -> str:
  """Returns the digest of a teacher's settings and data."""
  return digest(teacher_fields(cell))


def teacher_fields(cell: specs.CellSpec) -> dict[str, Any]:
  """Returns the fields that a teacher depends on, as plain data."""
  dropped = _OF_STUDENTS
  if cell.teacher.input_field != "embeddings":
    dropped = (*dropped, "embeddings")
  data = {k: v for k, v in _section(cell.data).items() if k not in dropped}
  return {
    "data": data,
    "teacher": _section(cell.teacher),
    "selection": cell.selection,
  }


# The thousands of cells of a sweep share a few sections.
@functools.lru_cache(maxsize=4096)
def _section(section: specs.ConfigSection) -> dict[str, Any]:
  """Returns a section as plain data, without fields that do not matter."""
  fields = json_files.plain(section)
  dropped: tuple[str, ...] = ()
  if isinstance(section, specs.DataSpec):
    named = section.contents or not section.source
    dropped = _NOT_IN_DATA + _OF_FILES * bool(named)
  if isinstance(section, specs.TeacherSpec):
    dropped = _NOT_IN_TEACHER
  return {name: fields[name] for name in fields if name not in dropped}


def cell_directory(workdir: pathlib.Path, cell: specs.CellSpec) -> pathlib.Path:
  """Returns the folder of the results of a cell, that is, of one trial."""
  settings = pathlib.Path(cell.column or "cell", cell.row, cell_digest(cell))
  return workdir / "cells" / settings / f"trial{cell.trial}"
