"""TFDS: small data sets really built, the packaged ones mocked."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.data import originals
from experiments.data.datasets import amazon
from experiments.data.datasets import DATASETS
from experiments.data.datasets import sentiment140
from experiments.data.tfds import TfdsExamples
from tests.experiments.source_files import message

TEXTS = ("naïve café", 'He said "no"', "third")
REVIEWS = {"text": "text", "label": "label"}


class SmallReviews(tfds.core.GeneratorBasedBuilder):
  """Texts, labels, and features inside others as Amazon's, in their order."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    label = tfds.features.ClassLabel(names=["neg", "pos"])
    text = tfds.features.Text()
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {"text": text, "label": label, "data": {"stars": np.int32}}
      ),
      disable_shuffling=True,
    )

  def _split_generators(self, download):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i, label in enumerate((1, 0, 1)):
      yield i, {"text": TEXTS[i], "label": label, "data": {"stars": i}}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  made = SmallReviews(data_dir=folder, file_format="array_record")
  made.download_and_prepare()
  return folder


@pytest.fixture
def copied(data_dir, tmp_path):
  return shutil.copytree(data_dir, tmp_path / "copy")


def test_texts(data_dir):
  fields = REVIEWS | {"stars": "data/stars"}
  examples = list(TfdsExamples("small_reviews", "train", fields, data_dir))
  assert type(examples[0]["label"]) is int
  assert examples == [
    {"text": text, "label": label, "stars": stars}
    for text, label, stars in zip(TEXTS, (1, 0, 1), range(3), strict=True)
  ]
  assert len(TfdsExamples("small_reviews", "train[:2]", fields, data_dir)) == 2


@pytest.mark.parametrize("name", [k for k, v in DATASETS.items() if v.tfds])
def test_readers_ask_for_features_of_the_packaged_datasets(
  name, tmp_path, monkeypatch
):
  class Asked(Exception):
    pass

  def ask(*arguments):
    raise Asked(*arguments)

  for module in (originals, amazon, sentiment140):
    monkeypatch.setattr(module, "TfdsExamples", ask)
  dataset = DATASETS[name]
  with pytest.raises(Asked) as asked:
    dataset.read_tfds(tmp_path, **dataset.options)
  tfds_name, split, fields, _ = asked.value.args
  assert tfds_name == dataset.tfds[0]
  with tfds.testing.mock_data(num_examples=3):
    columns = TfdsExamples(tfds_name, split, fields, tmp_path).columns()
  assert columns.keys() == fields.keys()
  for part, values in columns.items():
    assert len(values) == 3
    for value in values:
      if part == "image":
        assert (value.shape, value.dtype) == ((32, 32, 3), np.uint8)
      else:
        assert type(value) is (int if part in ("label", "stars") else str)


def test_what_is_not_prepared(tmp_path, data_dir):
  for name in ("cifar10", "glue/cola"):
    text = message(TfdsExamples, name, "train", REVIEWS, tmp_path)
    assert f"tfds build {name} " in text
    assert str(tmp_path) in text
  text = message(TfdsExamples, "small_revue", "train", REVIEWS, data_dir)
  assert "'small_revue'" in text
  for split in ("dev", "train[x]"):
    text = message(TfdsExamples, "small_reviews", split, REVIEWS, data_dir)
    assert repr(split) in text


def test_what_is_prepared_as_tfrecord(copied):
  folder = copied / "small_reviews/1.0.0"
  info = json.loads((folder / "dataset_info.json").read_text())
  info["fileFormat"] = "tfrecord"
  (folder / "dataset_info.json").write_text(json.dumps(info))
  text = message(TfdsExamples, "small_reviews", "train", REVIEWS, copied)
  assert f"--dataset_version_dir={folder}" in text


def test_damaged_files(copied):
  folder = copied / "small_reviews/1.0.0"
  (file,) = folder.glob("*train.array_record*")
  whole = file.read_bytes()

  def first():
    return next(iter(TfdsExamples("small_reviews", "train", REVIEWS, copied)))

  # Cut short, TFDS's reader returns examples with nothing in them.
  file.write_bytes(whole[: len(whole) // 2])
  assert f"example 0 (no 'text'): prepare {folder} again" in message(first)
  file.write_bytes(whole[:100] + b"x" * 50 + whole[150:])
  assert f"prepare {folder} again" in message(first)
  file.unlink()
  assert f"prepare {folder} again" in message(first)
  (folder / "dataset_info.json").write_text("{")
  assert "'small_reviews'" in message(first)
