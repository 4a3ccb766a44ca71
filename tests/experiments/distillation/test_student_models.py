"""Tests of what `--student` names."""

import pathlib

import jax
import numpy as np
import pytest
import tokenizers
from flax.core import FrozenDict

from experiments.data import tokenizer as tokenizer_lib
from experiments.distillation import student_models
from experiments.distillation.teachers import TeacherArrays
from experiments.training import pretrained
from tests.experiments.distillation import tiny_transformers

TEXTS = ["a fine film", "a dull film", "superb acting"] * 20


def teacher(**fields):
  """A teacher of two classes, with an embedding for each of 50 tokens."""
  return TeacherArrays(
    pathlib.Path("teacher"),
    ("bad", "good"),
    np.zeros([6, 2]),
    np.zeros(2),
    source={},
    **{"tokenizer": ""} | fields,
  )


def prepared(text, tmp_path, given=(), **fields):
  """The fields of the student that a value of the flag gives, on texts."""
  return student_models.prepare(
    student_models.parse(text, dict(given)),
    teacher(**fields),
    tmp_path,
    texts=lambda: TEXTS,
    given=dict(given),
  )


def test_flags_of_the_config_set_options_of_the_student():
  given = {"student.options.width": 64, "student.num_steps": 3}
  choice = student_models.parse("static:features=(8,)", given)
  assert choice.fields == {"width": 64, "features": (8,)}
  with pytest.raises(ValueError, match=r"config.student.options.strides"):
    student_models.parse("static", {"student.options.strides": (1,)})
  with pytest.raises(ValueError, match=r"--config.student.model"):
    student_models.parse("static", {"student.model": "mlp"})


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("statik", "--student must be one of .*static.*'statik'"),
    ("static:depth=2", "no field 'depth=2'.*features"),
    ("static:width", "no field 'width'"),
    ("static:features=64", r"features must be a tuple.*64"),
    ("static:width=-4", r"--student=.*width must not be negative, got -4"),
    ("cnn:features=(4,-1)", r"features must not be negative.*-1"),
    ("bert:layers=0", "--student=bert:layers=0 cannot be built"),
    ("no.such.module:make", "--student=no.such.module:make"),
    ("math:pi", "must be a function.*float"),
  ],
)
def test_parse_names_the_flag_in_its_errors(text, message):
  with pytest.raises(ValueError, match=message):
    student_models.parse(text)


def test_a_model_of_the_users_own_is_a_key_of_models():
  name = "tests.experiments.distillation.own_student:make"
  choice = student_models.parse(f"{name}:width=3")
  model = choice.architecture(4, **choice.fields)
  inputs = {"input_ids": np.array([[1, 2]])}
  params, state = model.init(jax.random.key(0), inputs)
  outputs, _ = model.apply(params, state, inputs)
  assert outputs.embeddings.shape == (1, 3)
  assert outputs.logits.shape == (1, 4)
  assert choice.column == "make"


@pytest.fixture(name="bert")
def fixture_bert():
  """The fields of a teacher with token embeddings."""
  table = np.random.default_rng(0).standard_normal([50, 16], np.float32)
  return {"tokenizer": "some/tokenizer", "token_embeddings": table}


def test_static_starts_from_the_teachers_token_embeddings(tmp_path, bert):
  student = prepared("static:width=4", tmp_path, **bert)
  assert student["data.tokenizer"] == "some/tokenizer"
  assert student["student.options.vocab_size"] == 50
  options = {
    name.removeprefix("student.options."): value
    for name, value in student.items()
    if name.startswith("student.options.")
  }
  start = pretrained.load_pretrained(
    student["student.init"], "static", FrozenDict(options)
  )
  # The other layers are empty, so that each trial initializes its own.
  assert [name for name, part in start.params.items() if part] == [
    "word_embeddings"
  ]
  found = start.params["word_embeddings"]["embedding"]
  table = bert["token_embeddings"]
  centred = table - table.mean(axis=0)
  _, _, components = np.linalg.svd(centred, full_matrices=False)
  expected = centred @ components[:4].T
  expected /= np.sqrt((expected**2).sum(axis=1).mean())
  np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)


def test_config_fields_of_the_user_do_not_widen_the_initial_weights(
  tmp_path, bert
):
  given = {"student.options.width": 64, "data.max_length": 32}
  fields = prepared("static", tmp_path, given, **bert)
  assert fields["student.options.width"] == 16
  assert "data.max_length" not in fields


def test_static_of_a_teacher_of_arrays_has_its_own_vocabulary(tmp_path):
  student = prepared("static", tmp_path)
  assert student["student.init"] == "random"
  assert student["student.options.width"] == 128
  assert student["data.max_length"] == 256
  found = tokenizer_lib.load_tokenizer(student["data.tokenizer"])
  assert student["student.options.vocab_size"] == found.vocab_size
  (ids,) = found.encode(["A fine film"], max_length=8)
  assert ids[0] == found.cls_id
  assert ids[-1] == found.sep_id
  unknown = found.pieces.token_to_id("[UNK]")
  assert unknown not in ids


def test_the_vocabulary_of_the_same_texts_is_the_same():
  # Many pairs of pieces are equally frequent. Ties are not broken at random.
  letters = "abcdefghijklmnop"
  texts = [f"{x}{y}{z} {z}{y}" for x in letters for y in letters for z in "xyz"]
  first = student_models.train_tokenizer(texts, 120)
  assert [student_models.train_tokenizer(texts, 120) for _ in range(3)] == (
    3 * [first]
  )
  found = tokenizers.Tokenizer.from_str(first)
  assert found.get_vocab_size() <= 120
  # Word pieces are not special tokens, which would be found inside of texts.
  assert found.encode("##a").tokens == ["[CLS]", "[UNK]", "[UNK]", "a", "[SEP]"]


def test_bert_takes_the_first_layers_of_the_teacher(tmp_path):
  folder = tmp_path / "bert"
  name = str(tiny_transformers.write_model(folder, "bert_classifier"))
  student = prepared("bert:layers=1", tmp_path, weights=name, tokenizer=name)
  assert student["student.init"] == student["data.tokenizer"] == name
  assert student["student.options.num_layers"] == 1


def test_bert_needs_weights_to_start_from(tmp_path):
  nowhere = tmp_path / "nowhere"
  with pytest.raises(FileNotFoundError, match=f"--student=bert.*{nowhere}"):
    prepared(f"bert:layers=2,init={nowhere}", tmp_path)


@pytest.mark.parametrize(
  "model", ["mlp", "tests.experiments.distillation.own_student:make"]
)
def test_students_of_texts_start_from_the_weights_that_init_names(
  model, tmp_path
):
  for text, init in ((model, "random"), (f"{model}:init=weights", "weights")):
    assert prepared(text, tmp_path)["student.init"] == init
