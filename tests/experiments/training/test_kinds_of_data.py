"""Whole runs on texts and vectors that a user brings."""

import csv
import json
import shutil

import numpy as np
import pytest
import tokenizers
from ml_collections import ConfigDict
from safetensors import numpy as safetensors

from experiments import results
from experiments.configs import own
from experiments.configs import validate
from experiments.data import embeddings as embeddings_lib
from experiments.data.prepared import open_prepared
from experiments.io.students import load_student
from experiments.training import data
from experiments.training import pretrained
from experiments.training import sweep
from experiments.training.inference import FrozenModel
from experiments.training.models import Weights
from lelp_jax.models import MODELS
from tests.experiments import huggingface_files

# A text is of the class whose words it has.
WORDS = {"bad": ("dull", "grim", "poor"), "good": ("fine", "warm", "wise")}
_CONFIG, _WEIGHTS = huggingface_files.golden("albert_classifier")
CONFIG = _CONFIG | {
  "num_hidden_layers": 1,  # All layers share their weights.
  "attention_probs_dropout_prob": 0.0,
  "classifier_dropout_prob": 0.0,
}
WEIGHTS = _WEIGHTS | {
  name: _WEIGHTS[name][:2] for name in ("classifier.weight", "classifier.bias")
}
OPTIONS = MODELS["albert_base"].huggingface.options(CONFIG)


def table(path, rng, size=60):
  with path.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["review", "verdict"])
    for i in range(size):
      verdict = ("bad", "good")[i % 2]
      words = rng.choice(WORDS[verdict], rng.choice((2, 6)))
      writer.writerow([" ".join(words), verdict])
  return path


def tokenizer(path):
  pieces = ["<pad>", "<unk>", "[CLS]", "[SEP]", *sum(WORDS.values(), ())]
  model = tokenizers.models.WordLevel(
    {piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"
  )
  made = tokenizers.Tokenizer(model)
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.save(str(path))
  return path


def train(config, workdir):
  return sweep.run_cells(
    [validate.cell_spec(config)],
    workdir,
    teacher_directory=workdir.parent / "teachers",
  )


def load(config, workdir):
  return data.load_splits(validate.cell_spec(config), workdir)


def read(folder):
  return results.read(folder, results.CellResult)


@pytest.fixture(name="texts")
def fixture_texts(tmp_path, rng):
  """Own texts with a fine-tuned teacher, taken as it is."""
  config = own.get_config("kind=text")
  config.data.train = str(table(tmp_path / "reviews.csv", rng))
  config.data.text_column, config.data.label_column = "review", "verdict"
  config.data.tokenizer = str(tokenizer(tmp_path / "tokenizer.json"))
  config.teacher.model = "albert_base"
  tuned = huggingface_files.write(tmp_path / "tuned", WEIGHTS, CONFIG)
  config.teacher.init = str(tuned)
  config.teacher.num_epochs = 0.0
  config.teacher.allow_chance = True  # Its weights are random.
  config.subspace.num_subclasses = 2
  for fields in (config.teacher, config.student):
    fields.options.update(OPTIONS)
    fields.batch_size = 16
  config.student.num_epochs = 2.0
  return config


def test_texts_of_a_user(texts, tmp_path):
  texts.student.model, texts.student.init = "static", "random"
  texts.student.options = ConfigDict({"vocab_size": 10, "width": 4})
  texts.student.options.features = (12,)
  (folder,) = train(texts, tmp_path / "runs")
  prepared = open_prepared(tmp_path / "runs/data/own")
  assert prepared.task.class_names == ("bad", "good")
  result = read(folder)
  # 60, a fifth to test on, a tenth of the rest held out, two epochs by 16.
  assert result.num_train_examples == 43
  assert result.num_steps == 2 * (43 // 16)
  assert result.test.num_examples == 12
  assert result.validation.num_examples == 5
  splits = load(texts, tmp_path / "runs")
  # The student's embeddings are in the order of the examples.
  weights = Weights(*load_student(folder / "student.msgpack"))
  student = validate.cell_spec(texts).student
  model = FrozenModel(student, weights, splits.task.scale)
  embeddings = model.outputs(splits.test).embeddings
  rows = [tuple(splits.test["inputs"][i]) for i in range(12)]
  assert embeddings.shape == (12, 12)
  for i, j in np.argwhere(np.array([[r == s for s in rows] for r in rows])):
    np.testing.assert_allclose(embeddings[i], embeddings[j], atol=1e-5)
  # Other weights under the same name are not taken for the teacher's.
  weights = safetensors.load_file(tmp_path / "tuned/model.safetensors")
  weights["classifier.bias"] = weights["classifier.bias"] + 1
  safetensors.save_file(weights, tmp_path / "tuned/model.safetensors")
  for cached in vars(pretrained).values():
    getattr(cached, "cache_clear", lambda: None)()
  texts.loss.temperature = 3.0
  with pytest.raises(ValueError, match="other pretrained weights"):
    train(texts, tmp_path / "runs")


def test_a_fine_tuned_head_is_put_in_the_order_of_the_classes(texts, tmp_path):
  folder = tmp_path / "tuned"
  path = folder / "config.json"
  splits = load(texts, tmp_path / "runs")
  assert splits.task.class_names == ("bad", "good")

  def head(id2label=None):
    path.write_text(json.dumps(CONFIG | {"id2label": id2label}))
    pretrained.load_pretrained.cache_clear()
    teacher = validate.cell_spec(texts).teacher
    start = pretrained.starting_weights(teacher, splits.task, "config.teacher")
    assert start is not None
    return start.params["head"]

  as_stored = head()
  for names in ({"0": "BAD", "1": "GOOD"}, {"0": "LABEL_0", "1": "LABEL_1"}):
    np.testing.assert_array_equal(
      head(id2label=names)["kernel"], as_stored["kernel"]
    )
  with pytest.raises(ValueError, match=r"NEGATIVE, POSITIVE.*bad, good"):
    head(id2label={"0": "NEGATIVE", "1": "POSITIVE"})
  texts.teacher.init_labels = ("bad", "great")
  with pytest.raises(
    ValueError, match=r"bad, great.*config\.teacher\.init_labels"
  ):
    head()
  texts.teacher.init_labels = ("Good", "bad")
  np.testing.assert_array_equal(
    head(id2label={"0": "NEGATIVE", "1": "POSITIVE"})["kernel"],
    as_stored["kernel"][:, ::-1],
  )
  texts.teacher.init_labels = ()
  turned = head(id2label={"0": "GOOD", "1": "BAD"})
  np.testing.assert_array_equal(turned["kernel"], as_stored["kernel"][:, ::-1])
  np.testing.assert_array_equal(turned["bias"], as_stored["bias"][::-1])


def test_a_tokenizer_other_than_the_model_s_is_named(texts, tmp_path):
  own_tokenizer = tmp_path / "tuned/tokenizer.json"
  shutil.copy(texts.data.tokenizer, own_tokenizer)
  cell = validate.cell_spec(texts)
  splits = load(texts, tmp_path / "runs")
  data.check_tokenizers(cell, splits, tmp_path / "runs")
  vocabulary = json.loads(own_tokenizer.read_text())
  words = vocabulary["model"]["vocab"]
  first, second = [word for word in words if word.isalpha()][:2]
  words[first], words[second] = words[second], words[first]
  own_tokenizer.write_text(json.dumps(vocabulary))
  with pytest.raises(ValueError, match=r"teacher\.init.*data\.tokenizer"):
    data.check_tokenizers(cell, splits, tmp_path / "runs")


def test_a_teacher_at_chance_stops_the_command(texts, tmp_path):
  texts.teacher.allow_chance = False
  with pytest.raises(ValueError, match=r"teacher\.allow_chance=True"):
    train(texts, tmp_path / "runs")
  assert not list((tmp_path / "runs").glob("cells/*/*/*/*/result.json"))


def test_a_student_of_vectors_learns_from_a_teacher_of_texts(texts, tmp_path):
  workdir = tmp_path / "runs"
  splits = load(texts, workdir)
  texts.student.model, texts.student.input_field = "mlp", "embeddings"
  texts.student.init = "random"
  texts.student.options = ConfigDict({"features": (8,)})
  prepared = open_prepared(workdir / "data/own")
  vectors = tmp_path / "vectors"
  vectors.mkdir()
  rows = np.array(
    [
      [w in text for w in sum(WORDS.values(), ())]
      for text in prepared.texts("train")
    ]
  )
  np.save(vectors / "embeddings.npy", rows.astype(np.float32))
  np.save(vectors / "ids.npy", np.arange(60, dtype=np.int32))
  embeddings_lib.write_manifest(vectors, encoder={"model": "words"})
  texts.data.embeddings = str(vectors)
  texts.method = "standard"
  texts.student.num_epochs, texts.student.learning_rate = 60.0, 1e-2
  (folder,) = train(texts, workdir)
  result = read(folder)
  assert result.test.accuracy == 1.0
  assert splits.task.class_names == ("bad", "good")


def test_text_cannot_live_on_the_devices(texts, tmp_path):
  texts.data.placement = "device"
  with pytest.raises(ValueError, match="placement"):
    train(texts, tmp_path)
