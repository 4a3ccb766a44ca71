"""Every data set from every form of its originals, in small."""

import contextlib
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.data.dataset import Task
from experiments.data.datasets import amazon
from experiments.data.datasets import cifar
from experiments.data.datasets import DATASETS
from experiments.data.originals import Dataset
from experiments.data.prepare import prepare
from experiments.data.prepared import open_prepared
from tests.experiments import original_files as files
from tests.experiments.original_datasets import cifar_parts
from tests.experiments.original_datasets import cut
from tests.experiments.original_datasets import FORMS
from tests.experiments.original_datasets import make
from tests.experiments.prepared_inputs import publish


@contextlib.contextmanager
def mocked_tfds(records):
  """TFDS with records that are prepared, where there are some."""
  if records is None:
    yield
    return

  def as_data_source(self, split=None, **_):
    name = self.name
    if self.builder_config is not None and name in (
      "glue",
      "amazon_us_reviews",
    ):
      name = f"{name}/{self.builder_config.name}"
    return records[name, split]

  with tfds.testing.mock_data(as_data_source_fn=as_data_source):
    yield


def class_of(task, label):
  return task.fine_to_class[label] if task.fine_to_class else label


def check(found, examples):
  """Compares what was prepared with what should be."""
  assert list(found.splits) == ["train", "test"]
  start = 0
  for split, pairs in examples.items():
    arrays = found.splits[split]
    labels = [label for _, label in pairs]
    expected = [class_of(found.task, label) for label in labels]
    np.testing.assert_array_equal(arrays["labels"], expected)
    np.testing.assert_array_equal(
      arrays["ids"], np.arange(start, start + len(pairs))
    )
    start += len(pairs)
    if found.task.fine_to_class:
      np.testing.assert_array_equal(arrays["fine_labels"], labels)
    else:
      assert "fine_labels" not in arrays
    if found.task.image_shape is None:
      assert list(found.texts(split)) == [text for text, _ in pairs]
    else:
      images = np.stack([image for image, _ in pairs])
      np.testing.assert_array_equal(arrays["inputs"], images)


VARIANTS = {
  "cifar10": ["cifar10_bin"],
  "cifar100": ["cifar100_bin"],
  "clinc_parity": ["clinc_domain2", "clinc_domain5"],
}


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_form(tmp_path, monkeypatch, name, form):
  made = make(tmp_path / "originals", name, form)
  variants = [name, *VARIANTS.get(name, [])]
  for variant in variants:
    task = DATASETS[variant].task
    published = {
      split: np.bincount(
        [class_of(task, label) for _, label in pairs],
        minlength=task.num_classes,
      ).tolist()
      for split, pairs in made.examples.items()
    }
    publish(monkeypatch, variant, published)
    with mocked_tfds(made.tfds):
      found = prepare(variant, data_dir=tmp_path / "data", source=made.source)
    check(found, made.examples)
    assert found.task == task
    manifest = found.manifest
    notes = "".join(manifest["notes"])
    assert manifest["partial"] is False
    assert manifest.get("jpeg", False) is (form == "jpeg")
    assert ("JPEG" in notes) is (form == "jpeg")
    assert ("A-27" in notes) is name.startswith("glue")
    assert ("out-of-scope" in notes) is name.startswith("clinc")
    assert ("TFDS" in manifest["form"]) is (form == "tfds")
    assert bool(manifest["sources"]) is (form != "tfds")
    official = "archive" in form and "authors'" not in form
    other = "is not the file that was published under that name"
    assert (other in notes) is official
    open_prepared(found.folder, verify=True)
  assert {p.name for p in (tmp_path / "data").iterdir()} == {*variants}


TWEETS = [
  (4 * (i % 3 > 0), f"tweet {i} é \"quoted\", '@me' &amp; #{i}")
  for i in range(1000)
]


def _sentiment140(folder, form):
  data = files.sentiment140_csv(TWEETS)
  name = "training.1600000.processed.noemoticon.csv"
  if form == "archive":
    other = {
      "testdata.manual.2009.06.14.csv": files.sentiment140_csv(TWEETS[:3])
    }
    return files.zipped(
      folder / "trainingandtestdata.zip", {name: data} | other
    )
  if form == "csv":
    return files.folder(folder, {name: data}) / name
  return None


@pytest.mark.parametrize("form", ["archive", "csv", "tfds"])
def test_sentiment140_is_divided_into_balanced_parts(tmp_path, form):
  records = None
  if form == "tfds":
    tweets = [{"text": x.encode(), "polarity": label} for label, x in TWEETS]
    records = {("sentiment140", "train"): tweets}
  labels = {text: int(label == 4) for label, text in TWEETS}
  texts = {}
  for seed in (0, 1):
    with mocked_tfds(records):
      found = prepare(
        "sentiment140_bin",
        data_dir=tmp_path / str(seed),
        source=_sentiment140(tmp_path, form),
        options={"seed": seed},
        partial=True,
      )
    # 334 of 1,000 are negative, two of which are tested on.
    for split, size in (("train", 332), ("test", 2)):
      texts[seed, split] = set(found.texts(split))
      assert len(texts[seed, split]) == 2 * size
      found_labels = found.splits[split]["labels"].tolist()
      assert found_labels == [labels[text] for text in found.texts(split)]
      assert np.bincount(found_labels).tolist() == [size, size]
    assert not texts[seed, "train"] & texts[seed, "test"]
  assert texts[0, "test"] != texts[1, "test"]


def test_amazon_from_tfds(tmp_path):
  rng = np.random.default_rng(0)
  reviews = {c: files.amazon_reviews(rng, 60) for c in amazon.CATEGORIES}
  records = {
    (f"amazon_us_reviews/{category}_v1_00", "train"): [
      {
        "data": {
          "review_id": b"R1",
          "star_rating": stars,
          "review_headline": headline.encode(),
          "review_body": body.encode(),
        }
      }
      for stars, headline, body in rows
    ]
    for category, rows in reviews.items()
  }
  options = {"per_category": 60, "num_train": 12, "num_test": 3}
  given = {"options": options, "partial": True}
  with mocked_tfds(records):
    from_tfds = prepare("amazon", data_dir=tmp_path / "a", **given)
  folder = files.amazon_folder(tmp_path / "files", reviews)
  from_files = prepare(
    "amazon", data_dir=tmp_path / "b", source=folder, **given
  )
  for split in ("train", "test"):
    assert list(from_tfds.texts(split)) == list(from_files.texts(split))
  (note,) = from_tfds.manifest["notes"]
  assert "in TFDS's order, not the files' (A-29)" in note


def test_a_folder_of_tfds_is_told_by_its_look(tmp_path):
  made = make(tmp_path / "originals", "glue_cola", "tfds")
  folder = tmp_path / "tfds/glue/cola/2.0.0"
  folder.mkdir(parents=True)
  (folder / "dataset_info.json").write_text("{}")
  with mocked_tfds(made.tfds):
    found = prepare(
      "glue_cola",
      data_dir=tmp_path / "data",
      source=tmp_path / "tfds",
      partial=True,
    )
  (source,) = found.manifest["sources"]
  assert source["name"] == "glue/cola"
  assert source["bytes"] == 2
  check(found, made.examples)


def test_tasks():
  for name, dataset in DATASETS.items():
    task = dataset.task
    assert task.name == name
    assert len(task.class_names) == task.num_classes
    assert len(task.fine_names) == len(task.fine_to_class or ())
    classes = {*range(task.num_classes)}
    assert {*(task.fine_to_class or classes)} == classes
    assert set(dataset.published) == {"train", "test"}
    for split in dataset.published.values():
      assert len(split) == task.num_classes
  assert len(DATASETS) == 14
  assert DATASETS["cifar100_bin"].task.fine_to_class == (0, 1) * 50
  sizes = {
    name: tuple(sum(d.published[s]) for s in ("train", "test"))
    for name, d in DATASETS.items()
  }
  assert sizes == dict.fromkeys(
    ("cifar10_bin", "cifar100_bin", "cifar10", "cifar100"), (50_000, 10_000)
  ) | {
    "lmrd": (25_000, 25_000),
    "glue_cola": (8551, 1043),
    "glue_sst2": (67_349, 872),
    "amazon": (500_000, 10_000),
    "amazon_bin": (400_000, 8_000),
    "sentiment140_bin": (1_590_000, 10_000),
    "clinc_parity": (18_000, 4500),
    "clinc_domain2": (18_000, 4500),
    "clinc_domain5": (18_000, 4500),
    "banking_parity": (10_003, 3080),
  }
  assert list(cifar.NAMES_100) == sorted(cifar.NAMES_100)
  assert len(set(cifar.NAMES_100)) == 100


class Hostile:
  """Runs a command when it is unpickled."""

  def __reduce__(self):
    return (exec, ("raise SystemExit('it ran')",))


def test_pickles_run_nothing(tmp_path):
  made = make(tmp_path, "cifar10", "python")
  path = made.source / "data_batch_3"
  path.write_bytes(pickle.dumps({b"data": Hostile(), b"labels": []}))
  with pytest.raises(ValueError, match=r"data_batch_3 .*calls builtins.exec"):
    prepare("cifar10", data_dir=tmp_path / "data", source=made.source)


def test_pickles_of_newer_versions_are_read(tmp_path):
  made = make(tmp_path, "cifar10", "python")
  images, labels = cut(cifar_parts(np.random.default_rng(3), 10)["train"])[0]
  batch = {b"data": files.channels_first(images), b"labels": labels}
  (made.source / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=4))
  found = prepare(
    "cifar10", data_dir=tmp_path / "data", source=made.source, partial=True
  )
  check(found, made.examples)


def test_a_data_set_of_tfds_takes_one_line(tmp_path, monkeypatch):
  task = Task("news", 2, class_names=("a", "b"))
  news = Dataset.from_tfds(
    "imdb_reviews", task, content={"text": "text"}, max_length=64
  )
  monkeypatch.setitem(DATASETS, "news", news)
  made = make(tmp_path, "lmrd", "tfds")
  with mocked_tfds(made.tfds):
    found = prepare("news", data_dir=tmp_path / "data")
  check(found, made.examples)
  assert (found.manifest["partial"], news.max_length) == (False, 64)
