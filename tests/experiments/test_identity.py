"""Digests and folders of cells and teachers."""

import pathlib

import pytest

from experiments import identity
from experiments import specs
from tests.experiments import tiny


def digests(changes):
  cell = specs.replace(tiny.cell(), changes)
  return identity.cell_digest(cell), identity.teacher_digest(cell)


@pytest.mark.parametrize(
  "changes",
  [
    {"trial": 7, "row": "other", "varied": ("loss.temperature",)},
    {"split_teacher": True, "stack.max_cells": 3, "loggers": ("wandb",)},
    {"data.data_dir": "elsewhere", "data.placement": "host"},
    {"teacher.outputs": "coordinates", "teacher.num_coordinates": 4},
  ],
)
def test_fields_of_the_machine_and_the_table_do_not_matter(changes):
  assert digests(changes) == digests({})


@pytest.mark.parametrize(
  "changes",
  [
    {"loss.temperature": 3.0},
    {"student.num_steps": 13},
    {"data.transfer": "labelled"},
    {"data.transfer_fraction": 0.5},
    {"data.shared_batch_order": False},
    {"data.embeddings": "vectors"},
    {"column": "other"},
  ],
)
def test_a_teacher_does_not_depend_on_its_students(changes):
  cell, teacher = digests(changes)
  assert cell != digests({})[0]
  assert teacher == digests({})[1]


@pytest.mark.parametrize(
  "changes",
  [
    {"teacher.seed": 1},
    {"teacher.subclass.num_subclasses": 2},
    {"data.merge_classes": 5},
    {"selection": "test"},
  ],
)
def test_a_teacher_depends_on_its_settings_and_data(changes):
  assert digests(changes)[1] != digests({})[1]


def test_a_teacher_of_embeddings_depends_on_them():
  reads = {"teacher.input_field": "embeddings"}
  first, second = (
    digests(reads | {"data.embeddings": name}) for name in ("a", "b")
  )
  assert first[1] != second[1]


def test_a_cell_has_a_folder_per_trial():
  cell = tiny.cell(trial=3)
  folder = identity.cell_directory(pathlib.Path("w"), cell)
  digest = identity.cell_digest(cell)
  assert folder == pathlib.Path("w/cells/split0/lelp", digest, "trial3")
  cell = specs.replace(cell, {"column": ""})
  folder = identity.cell_directory(pathlib.Path("w"), cell)
  assert folder.parts[:4] == ("w", "cells", "cell", "lelp")
