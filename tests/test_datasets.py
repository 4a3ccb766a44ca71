"""Every dataset from every form of its originals, in small."""

import contextlib
import dataclasses
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.data import preparation
from experiments.data.datasets import amazon
from experiments.data.datasets import cifar
from experiments.data.datasets import DATASETS
from experiments.data.datasets import originals
from experiments.data.prepared import open_prepared
from tests import original_files as files

TEXTS = [
  "plain",
  'a "quote',
  "naïve café",
  "<br />two",
  "comma, too",
  "it's",
  " blank ",
  "last",
]


@dataclasses.dataclass
class Made:
  """Originals, and what should come out of them.

  Attributes:
    source: What to prepare from; None for TFDS.
    examples: By split, content and original label of each.
    tfds: By TFDS's name and split, its records.
  """

  source: object
  examples: dict
  tfds: dict | None = None


def _cifar_parts(rng, num_labels):
  return {
    "train": files.cifar_images(rng, 11, num_labels),
    "test": files.cifar_images(rng, 4, num_labels),
  }


def _cut(part):
  """The train examples in five batches."""
  images, labels = part
  places = ((0, 3), (3, 5), (5, 8), (8, 9), (9, 11))
  return [(images[a:b], labels[a:b]) for a, b in places]


def _pairs(parts):
  return {
    split: list(zip(images, labels, strict=True))
    for split, (images, labels) in parts.items()
  }


def _cifar10_binary(folder, rng, archive):
  parts = _cifar_parts(rng, 10)
  members = {
    f"cifar-10-batches-bin/data_batch_{i}.bin": files.binary_batch(
      images, labels
    )
    for i, (images, labels) in enumerate(_cut(parts["train"]), start=1)
  }
  images, labels = parts["test"]
  name = "cifar-10-batches-bin/test_batch.bin"
  members[name] = files.binary_batch(images, labels)
  members = dict(reversed(members.items()))  # The archive has them unsorted.
  members["cifar-10-batches-bin/readme.html"] = b"not wanted"
  if archive:
    source = files.tar(folder / "cifar-10-binary.tar.gz", members)
  else:
    source = files.folder(folder, members)
  return Made(source, _pairs(parts))


def _cifar10_python(folder, rng, archive):
  parts = _cifar_parts(rng, 10)
  batches = [*_cut(parts["train"]), parts["test"]]
  names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
  members = {
    f"cifar-10-batches-py/{name}": files.python2_pickle(
      {"batch_label": name, "labels": labels}
      | {"data": files.channels_first(images)}
    )
    for name, (images, labels) in zip(names, batches, strict=True)
  }
  if archive:
    files.tar(folder / "cifar-10-python.tar.gz", members)
    return Made(folder, _pairs(parts))  # Found in its folder.
  source = files.folder(folder, members) / "cifar-10-batches-py"
  return Made(source, _pairs(parts))


def _cifar10_jpeg(folder, rng):
  parts = _cifar_parts(rng, 10)
  for split, (images, labels) in parts.items():
    path = folder / f"cifar10_jpegq75_{split}.parquet"
    parts[split] = (files.jpeg_parquet(path, images, labels), labels)
  return Made(folder, _pairs(parts))


def _cifar_npz(folder, rng, num_labels, key):
  parts = _cifar_parts(rng, num_labels)
  arrays = {}
  for split, (images, labels) in parts.items():
    arrays[f"x_{split}"] = images
    arrays[f"{key}_{split}"] = np.array(labels)
  path = folder / f"cifar{num_labels}_exact_subset.npz"
  np.savez(path, coarse_names=np.array(["a"]), **arrays)
  return Made(path, _pairs(parts))


def _cifar100_binary(folder, rng, archive):
  parts = _cifar_parts(rng, 100)
  members = {}
  for split, (images, labels) in parts.items():
    coarse = [label // 5 for label in labels]
    batch = files.binary_batch(images, coarse, labels)
    members[f"cifar-100-binary/{split}.bin"] = batch
  if archive:
    source = files.tar(folder / "cifar-100-binary.tar.gz", members)
  else:
    source = files.folder(folder, members)
  return Made(source, _pairs(parts))


def _cifar100_python(folder, rng, archive):
  parts = _cifar_parts(rng, 100)
  members = {}
  for split, (images, labels) in parts.items():
    batch = {"coarse_labels": [label // 5 for label in labels]}
    batch |= {"data": files.channels_first(images), "fine_labels": labels}
    members[f"cifar-100-python/{split}"] = files.python2_pickle(batch)
  if archive:
    source = files.tar(folder / "cifar-100-python.tar.gz", members)
  else:
    source = files.folder(folder, members)
  return Made(source, _pairs(parts))


def _cifar_tfds(folder, rng, num_labels):
  del folder
  parts = _pairs(_cifar_parts(rng, num_labels))
  records = {
    (f"cifar{num_labels}", split): [
      {"id": f"{split}_{i}".encode(), "image": image, "label": label}
      for i, (image, label) in enumerate(examples)
    ]
    for split, examples in parts.items()
  }
  return Made(None, parts, records)


def _labelled(texts=TEXTS):
  """Texts with both labels in either split."""
  examples = [(text, i % 2) for i, text in enumerate(texts)]
  return {"train": examples, "test": examples[::-1][:5]}


def _imdb_files(examples):
  """Where the official archive has each review."""
  members, order = {}, {"train": [], "test": []}
  for split, pairs in examples.items():
    for label, name in enumerate(("neg", "pos")):
      chosen = [text for text, value in pairs if value == label]
      order[split] += [(text, label) for text in chosen]
      for number, text in enumerate(chosen):
        # 10_7.txt comes after 9_7.txt.
        path = f"aclImdb/{split}/{name}/{number + 9}_{number % 4 + 7}.txt"
        members[path] = text.encode()
  return members, order


def _imdb(folder, rng, archive):
  members, examples = _imdb_files(_labelled([*TEXTS, "two\nlines", "\ttab"]))
  members["aclImdb/train/unsup/0_0.txt"] = b"unlabelled"
  members["aclImdb/train/labeledBow.feat"] = b"0 1:2"
  names = rng.permutation(list(members))  # As the archive's, in no order.
  members = {str(name): members[name] for name in names}
  if archive:
    source = files.tar(folder / "aclImdb_v1.tar.gz", members)
  else:
    source = files.folder(folder, members) / "aclImdb"
  return Made(source, examples)


def _imdb_json(folder, rng, suffix):
  del rng
  examples = _labelled([*TEXTS, "two\nlines", "\ttab"])
  members = {
    f"{split}.jsonl{suffix}": files.json_lines(
      [{"id": i, "label": y, "text": t} for i, (t, y) in enumerate(pairs)]
    )
    for split, pairs in examples.items()
  }
  return Made(files.folder(folder, members), examples)


def _cola_table(examples):
  return files.tsv(
    [("gj04", label, "*" * (1 - label), text) for text, label in examples]
  )


def _cola_glue(folder, rng, archive):
  del rng
  examples = _labelled()
  members = {
    "CoLA/train.tsv": _cola_table(examples["train"]),
    "CoLA/dev.tsv": _cola_table(examples["test"]),
    "CoLA/test.tsv": files.tsv([(0, "unlabelled")], ("index", "sentence")),
  }
  if archive:
    return Made(files.zipped(folder / "CoLA.zip", members), examples)
  return Made(files.folder(folder, members), examples)


def _cola_public(folder, rng, archive):
  del rng
  examples = _labelled()
  suffix = "" if archive else ".gz"
  members = {
    f"in_domain_train.tsv{suffix}": _cola_table(examples["train"]),
    f"in_domain_dev.tsv{suffix}": _cola_table(examples["test"][:3]),
    f"out_of_domain_dev.tsv{suffix}": _cola_table(examples["test"][3:]),
  }
  if archive:
    members = {f"cola_public/raw/{k}": v for k, v in members.items()}
    return Made(files.zipped(folder / "cola_public_1.1.zip", members), examples)
  return Made(files.folder(folder, members), examples)


def _sst2(folder, rng, form):
  del rng
  examples = _labelled()
  suffix = ".gz" if form == "gz" else ""
  members = {
    f"SST-2/{name}.tsv{suffix}": files.tsv(
      examples[split], ("sentence", "label")
    )
    for split, name in (("train", "train"), ("test", "dev"))
  }
  if form == "zip":
    files.zipped(folder / "SST-2.zip", members)
    return Made(folder, examples)
  source = files.folder(folder, members)
  return Made(source / "SST-2" if form == "gz" else source, examples)


def _glue_tfds(folder, rng, name):
  del folder, rng
  examples = _labelled()
  records = {
    (f"glue/{name}", split): [
      {"idx": i, "sentence": text.encode(), "label": label}
      for i, (text, label) in enumerate(pairs)
    ]
    for split, pairs in (
      ("train", examples["train"]),
      ("validation", examples["test"]),
    )
  }
  return Made(None, examples, records)


def _imdb_tfds(folder, rng):
  del folder, rng
  examples = _labelled()
  records = {
    ("imdb_reviews", split): [
      {"text": text.encode(), "label": label} for text, label in pairs
    ]
    for split, pairs in examples.items()
  }
  return Made(None, examples, records)


FORMS = {
  ("cifar10", "binary archive"): (_cifar10_binary, True),
  ("cifar10", "binary"): (_cifar10_binary, False),
  ("cifar10", "python archive"): (_cifar10_python, True),
  ("cifar10", "python"): (_cifar10_python, False),
  ("cifar10", "jpeg"): (_cifar10_jpeg,),
  ("cifar10", "npz"): (_cifar_npz, 10, "y"),
  ("cifar10", "tfds"): (_cifar_tfds, 10),
  ("cifar100", "binary archive"): (_cifar100_binary, True),
  ("cifar100", "binary"): (_cifar100_binary, False),
  ("cifar100", "python archive"): (_cifar100_python, True),
  ("cifar100", "python"): (_cifar100_python, False),
  ("cifar100", "npz"): (_cifar_npz, 100, "fine"),
  ("cifar100", "tfds"): (_cifar_tfds, 100),
  ("lmrd", "archive"): (_imdb, True),
  ("lmrd", "folders"): (_imdb, False),
  ("lmrd", "json lines"): (_imdb_json, ""),
  ("lmrd", "json lines, gzip"): (_imdb_json, ".gz"),
  ("lmrd", "tfds"): (_imdb_tfds,),
  ("glue_cola", "archive"): (_cola_glue, True),
  ("glue_cola", "folder"): (_cola_glue, False),
  ("glue_cola", "authors' archive"): (_cola_public, True),
  ("glue_cola", "authors', gzip"): (_cola_public, False),
  ("glue_cola", "tfds"): (_glue_tfds, "cola"),
  ("glue_sst2", "archive"): (_sst2, "zip"),
  ("glue_sst2", "folder"): (_sst2, ""),
  ("glue_sst2", "folder, gzip"): (_sst2, "gz"),
  ("glue_sst2", "tfds"): (_glue_tfds, "sst2"),
}


def make(folder, name, form):
  """Writes the originals of a dataset in a form."""
  folder.mkdir(exist_ok=True)
  function, *arguments = FORMS[name, form]
  return function(folder, np.random.default_rng(3), *arguments)


class Records(list):
  """What TFDS's data sources are: random access and a length."""


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
    return Records(records[name, split])

  with tfds.testing.mock_data(as_data_source_fn=as_data_source):
    yield


def counts(examples, num_classes, convert):
  """The published counts that these examples have."""
  return {
    split: tuple(
      np.bincount(
        [convert(label) for _, label in pairs], minlength=num_classes
      ).tolist()
    )
    for split, pairs in examples.items()
  }


def check(found, examples, convert, *, fine):
  """Compares what was prepared with what should be."""
  assert list(found.splits) == ["train", "test"]
  start = 0
  for split, pairs in examples.items():
    arrays = found.splits[split]
    labels = [label for _, label in pairs]
    np.testing.assert_array_equal(
      arrays["labels"], [convert(y) for y in labels]
    )
    np.testing.assert_array_equal(
      arrays["ids"], np.arange(start, start + len(pairs))
    )
    start += len(pairs)
    if fine:
      np.testing.assert_array_equal(arrays["fine_labels"], labels)
    else:
      assert "fine_labels" not in arrays
    if found.task.image_shape is None:
      assert list(found.texts(split)) == [text for text, _ in pairs]
    else:
      images = np.stack([image for image, _ in pairs])
      np.testing.assert_array_equal(arrays["inputs"], images)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_form(tmp_path, name, form):
  made = make(tmp_path / "originals", name, form)
  variants = [(name, int, False)]
  if name.startswith("cifar"):
    variants.append((f"{name}_bin", lambda label: label % 2, True))
  for variant, convert, fine in variants:
    task = DATASETS[variant].task
    with mocked_tfds(made.tfds):
      found = preparation.prepare(
        variant,
        data_dir=tmp_path / "data",
        source=made.source,
        published=counts(made.examples, task.num_classes, convert),
      )
    check(found, made.examples, convert, fine=fine)
    assert found.task == task
    manifest = found.manifest
    assert manifest["partial"] is False
    assert manifest.get("jpeg", False) is (form == "jpeg")
    assert ("JPEG" in "".join(manifest["notes"])) is (form == "jpeg")
    assert ("A-27" in "".join(manifest["notes"])) is name.startswith("glue")
    assert ("TFDS" in manifest["form"]) is (form == "tfds")
    assert bool(manifest["sources"]) is (form != "tfds")
    official = "archive" in form and "authors'" not in form
    other = "is not the file that was published under that name"
    assert (other in "".join(manifest["notes"])) is official
    open_prepared(found.folder, verify=True)
  assert sorted(p.name for p in (tmp_path / "data").iterdir()) == sorted(
    v[0] for v in variants
  )


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
  if form == "sample":
    table = files.tsv(TWEETS, ("label", "text"))
    return files.folder(folder, {"sample20k.tsv.gz": table})
  return None


@pytest.mark.parametrize("form", ["archive", "csv", "sample", "tfds"])
def test_sentiment140_is_divided_into_balanced_parts(tmp_path, form):
  records = [
    {"text": text.encode(), "polarity": label} for label, text in TWEETS
  ]
  source = _sentiment140(tmp_path, form)
  # 334 of 1,000 are negative, two of which are tested on.
  published = {"train": (332, 332), "test": (2, 2)}
  found = {}
  tfds_records = {("sentiment140", "train"): records}
  with mocked_tfds(tfds_records if form == "tfds" else None):
    for seed in (0, 1):
      found[seed] = preparation.prepare(
        "sentiment140_bin",
        data_dir=tmp_path / str(seed),
        source=source,
        published=published,
        options={"seed": seed},
      )
  labels = {text: int(label == 4) for label, text in TWEETS}
  texts = {}
  for seed in (0, 1):
    parts = found[seed].splits
    for split in ("train", "test"):
      texts[seed, split] = list(found[seed].texts(split))
      assert len(set(texts[seed, split])) == sum(published[split])
      expected = [labels[text] for text in texts[seed, split]]
      assert parts[split]["labels"].tolist() == expected
    assert not set(texts[seed, "train"]) & set(texts[seed, "test"])
  assert set(texts[0, "test"]) != set(texts[1, "test"])


def test_sentiment140_division_does_not_depend_on_the_form(tmp_path):
  texts = []
  for form in ("csv", "sample"):
    found = preparation.prepare(
      "sentiment140_bin",
      data_dir=tmp_path / f"{form}_data",
      source=_sentiment140(tmp_path / form, form),
      partial=True,
    )
    assert found.manifest["partial"] is True
    texts.append([list(found.texts(split)) for split in ("train", "test")])
  assert texts[0] == texts[1]


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
  published = {"train": (12,) * 5, "test": (3,) * 5}
  with mocked_tfds(records):
    from_tfds = preparation.prepare(
      "amazon", data_dir=tmp_path / "a", published=published, options=options
    )
  from_files = preparation.prepare(
    "amazon",
    data_dir=tmp_path / "b",
    source=files.amazon_folder(tmp_path / "files", reviews),
    published=published,
    options=options,
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
    found = preparation.prepare(
      "glue_cola",
      data_dir=tmp_path / "data",
      source=tmp_path / "tfds",
      published=counts(made.examples, 2, int),
    )
  (source,) = found.manifest["sources"]
  assert source["name"] == "glue/cola"
  assert source["bytes"] == 2
  check(found, made.examples, int, fine=False)


def test_published_files_are_told_from_others(tmp_path):
  (tmp_path / "CoLA.zip").write_bytes(b"other")
  described = originals.describe(tmp_path / "CoLA.zip")
  assert len(originals.differing([described])) == 1
  assert not originals.differing([described | {"name": "mine.zip"}])
  published = originals.official_files()["CoLA.zip"]
  assert not originals.differing([described | published])
  assert len(originals.official_files()) == 19
  assert all(
    len(o["sha256"]) == 64 for o in originals.official_files().values()
  )


def test_tasks():
  for name, dataset in DATASETS.items():
    task = dataset.task
    assert task.name == name
    assert len(task.class_names) == task.num_classes
    assert len(task.fine_names) == len(task.fine_to_class or ())
    assert set(dataset.published) == {"train", "test"}
    for split in dataset.published.values():
      assert len(split) == task.num_classes
  assert len(DATASETS) == 10
  assert DATASETS["cifar100_bin"].task.fine_to_class == (0, 1) * 50
  # Spec section 3.
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
    preparation.prepare(
      "cifar10", data_dir=tmp_path / "data", source=made.source
    )


def test_pickles_of_newer_versions_are_read(tmp_path):
  made = make(tmp_path, "cifar10", "python")
  images, labels = _cut(_cifar_parts(np.random.default_rng(3), 10)["train"])[0]
  batch = {b"data": files.channels_first(images), b"labels": labels}
  (made.source / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=4))
  found = preparation.prepare(
    "cifar10",
    data_dir=tmp_path / "data",
    source=made.source,
    published=counts(made.examples, 10, int),
  )
  check(found, made.examples, int, fine=False)
