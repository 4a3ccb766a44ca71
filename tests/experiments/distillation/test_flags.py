"""Tests of the flags for a user's own data and teacher."""

import types

import pytest

from experiments.distillation import flags


def own_flags(**values):
  """The flags, of which those for fields of `config.data` have values."""
  names = {"train": "data", "unlabelled_files": "unlabelled"}
  data = {
    field: types.SimpleNamespace(name=names.get(field, field), value=value)
    for field, value in values.items()
  }
  unset = types.SimpleNamespace(name="unset", value=None)
  return flags.OwnFlags(data, unset, unset, unset, unset)


@pytest.mark.parametrize(
  ("field", "flag"), [("train", "--data"), ("text_column", "--text_column")]
)
def test_a_field_that_is_set_twice_is_an_error(field, flag):
  given = {f"data.{field}": "other"}
  with pytest.raises(ValueError, match=rf"{flag} and --config.data.{field}"):
    own_flags(**{field: "value"}).with_data(given)


@pytest.mark.parametrize("field", ["method", "trial", "data.embeddings"])
def test_a_field_without_effect_is_an_error(field):
  with pytest.raises(ValueError, match=rf"--config\.{field} has no effect"):
    own_flags().with_data({field: "value"})


def test_usual_columns_complete_those_that_are_set(tmp_path, capsys):
  path = tmp_path / "reviews.csv"
  path.write_text("Review,stars,label\nfine,5,good\n")
  own = own_flags(train=str(path), text_column=None, label_column=None)
  given = {"data.label_column": "stars", "loss.temperature": 2.0}
  assert own.with_data(given) == {
    **given,
    "data.train": str(path),
    "data.text_column": "Review",
  }
  assert "--text_column=Review" in capsys.readouterr().err
