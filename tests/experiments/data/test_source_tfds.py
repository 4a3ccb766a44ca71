"""TFDS: small datasets really built, the seven packaged ones mocked."""

import io
import json
import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from experiments.data.sources import TfdsSource
from tests.experiments.source_files import message

TEXTS = ("naïve café", 'He said "no"', "third")


class SmallReviews(tfds.core.GeneratorBasedBuilder):
  """Texts with labels; two of them unlabelled."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    features = {
      "text": tfds.features.Text(),
      "label": tfds.features.ClassLabel(names=["neg", "pos"]),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )

  def _split_generators(self, download):
    return {
      "train": self._generate_examples((1, 0, 1)),
      "test": self._generate_examples((-1,)),
    }

  def _generate_examples(self, labels):
    for i, label in enumerate(labels):
      yield i, {"text": TEXTS[i], "label": label}


class SmallImages(tfds.core.GeneratorBasedBuilder):
  """PNG images, as CIFAR's builders make them."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    features = {
      "id": tfds.features.Text(),
      "image": tfds.features.Image(shape=(4, 5, 3)),
      "label": tfds.features.ClassLabel(num_classes=3),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )

  def _split_generators(self, download):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(3):
      buffer = io.BytesIO()
      Image.fromarray(image(i)).save(buffer, "PNG")
      buffer.seek(0)
      yield i, {"id": f"train_{i}", "image": buffer, "label": i}


class SmallNested(tfds.core.GeneratorBasedBuilder):
  """Features inside others, as Amazon's."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    data = {
      "review_id": np.str_,
      "review_headline": np.str_,
      "review_body": np.str_,
      "star_rating": np.int32,
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict({"data": data})
    )

  def _split_generators(self, download):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    row = {"review_id": "R1", "review_headline": "Hm", "review_body": "No."}
    yield 0, {"data": {**row, "star_rating": 2}}


def image(i):
  return np.random.default_rng(i).integers(256, size=(4, 5, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  for builder in (SmallReviews, SmallImages, SmallNested):
    made = builder(data_dir=folder, file_format="array_record")
    made.download_and_prepare()
  return folder


@pytest.fixture
def copied(data_dir, tmp_path):
  return shutil.copytree(data_dir, tmp_path / "copy")


def test_texts(data_dir):
  source = TfdsSource("small_reviews", "train", data_dir)
  assert str(source) == "small_reviews train"
  assert list(source) == [
    {"id": i, "text": text, "label": label}
    for i, (text, label) in enumerate(zip(TEXTS, (1, 0, 1), strict=True))
  ]
  assert type(source[0]["label"]) is int
  assert source.class_names == ("neg", "pos")
  assert len(TfdsSource("small_reviews", "train[:2]", data_dir)) == 2
  # What TFDS labels -1 has no label.
  unlabelled = TfdsSource("small_reviews", "test", data_dir)
  assert list(unlabelled) == [{"id": 0, "text": TEXTS[0]}]


def test_images(data_dir):
  source = TfdsSource("small_images", "train", data_dir)
  assert [(e["id"], e["label"]) for e in source] == [
    (f"train_{i}", i) for i in range(3)
  ]
  for i in range(3):
    assert source[i]["image"].dtype == np.uint8
    np.testing.assert_array_equal(source[i]["image"], image(i))


def test_nested_features(data_dir):
  (example,) = TfdsSource("small_nested", "train", data_dir)
  assert example == {"id": "R1", "headline": "Hm", "text": "No.", "label": 2}


def test_features_of_other_names(data_dir):
  fields = {"text": "data/review_headline", "label": "data/star_rating"}
  source = TfdsSource("small_nested", "train", data_dir, fields=fields)
  assert list(source) == [{"id": 0, "text": "Hm", "label": 2}]
  fields["text"] = "text"
  assert message(
    TfdsSource, "small_nested", "train", data_dir, fields=fields
  ) == (
    "small_nested has no feature 'text': it has ['data/review_body', "
    "'data/review_headline', 'data/review_id', 'data/star_rating']."
  )


def test_sources_travel_to_other_processes(data_dir):
  source = TfdsSource("small_reviews", "train", data_dir)
  assert list(pickle.loads(pickle.dumps(source))) == list(source)


PACKAGED = {
  "cifar10": ("image", 10, str),
  "cifar100": ("image", 100, str),
  "imdb_reviews": ("text", 2, int),
  "glue/cola": ("text", 2, int),
  "glue/sst2": ("text", 2, int),
  "amazon_us_reviews/Office_Products_v1_00": ("text", 0, str),
  "sentiment140": ("text", 0, int),
}


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_datasets(name, tmp_path):
  part, num_classes, id_type = PACKAGED[name]
  with tfds.testing.mock_data(num_examples=3):
    source = TfdsSource(name, "train", tmp_path)
    examples = list(source)
  assert len(source.class_names) == num_classes
  assert len(examples) == 3
  for example in examples:
    headline = ["headline"] * name.startswith("amazon")
    assert set(example) == {"id", part, "label", *headline}
    assert type(example["id"]) is id_type
    assert type(example["label"]) is int
    if part == "text":
      assert type(example["text"]) is str
    else:
      assert example["image"].shape == (32, 32, 3)
      assert example["image"].dtype == np.uint8


def test_what_is_not_prepared(tmp_path, data_dir):
  for name in ("cifar10", "glue/cola"):
    assert message(TfdsSource, name, "train", tmp_path) == (
      f"{name} is not prepared in {tmp_path}: run `tfds build {name} "
      f"--file_format=array_record --data_dir={tmp_path}`, which needs the "
      f"`prepare` extra, or use its original files: `python -m "
      f"experiments.prepare --dataset=ID --source=DIR --data_dir=DIR`."
    )
  assert message(TfdsSource, "small_revue", "train", data_dir) == (
    f"TFDS cannot open 'small_revue' in {data_dir}: Dataset small_revue not "
    f"found."
  )
  assert message(TfdsSource, "small_reviews", "dev", data_dir) == (
    "small_reviews has no split 'dev': it has ['test', 'train']."
  )
  assert message(TfdsSource, "small_reviews", "train[x]", data_dir).startswith(
    "cannot read the split 'train[x]' of small_reviews: "
  )


def test_what_is_prepared_as_tfrecord(copied):
  folder = copied / "small_reviews/1.0.0"
  info = json.loads((folder / "dataset_info.json").read_text())
  info["fileFormat"] = "tfrecord"
  (folder / "dataset_info.json").write_text(json.dumps(info))
  assert message(TfdsSource, "small_reviews", "train", copied) == (
    f"small_reviews is prepared as tfrecord in {folder}, and only array_record "
    f"can be read: run `tfds convert_format --dataset_version_dir={folder} "
    f"--out_file_format=array_record`, which needs the `prepare` extra."
  )


def test_damaged_files(copied):
  folder = copied / "small_reviews/1.0.0"
  (file,) = folder.glob("*train.array_record*")
  whole = file.read_bytes()
  again = f"): prepare {folder} again."
  # Cut short, TFDS's reader returns examples with nothing in them.
  file.write_bytes(whole[: len(whole) // 2])
  source = TfdsSource("small_reviews", "train", copied)
  assert message(source.__getitem__, 0) == (
    f"{source}: cannot read example 0 (no 'text'{again}"
  )
  file.write_bytes(whole[:100] + b"x" * 50 + whole[150:])
  source = TfdsSource("small_reviews", "train", copied)
  text = message(source.__getitem__, 0)
  assert text.startswith(f"{source}: cannot read example 0 (Corrupted ")
  assert text.endswith(again)
  file.unlink()
  source = TfdsSource("small_reviews", "train", copied)
  assert message(source.__getitem__, 0).endswith(again)
  (folder / "dataset_info.json").write_text("{")
  assert message(TfdsSource, "small_reviews", "train", copied).startswith(
    f"TFDS cannot open 'small_reviews' in {copied}: "
  )
