"""Tables in the docs folder are what the code counts."""

import pathlib

import pytest

from benchmarks import model_table

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", model_table.NAMES)
def test_the_models_page_has_the_row_of_a_model(name):
  assert model_table.row(name) in (DOCS / "models.md").read_text()
