"""Real data in each form: sizes, balances, and every example as it is."""

import collections
import gzip
import hashlib
import json
import os
import pathlib

import numpy as np
import pytest

from experiments.data.sources import open_source


@pytest.fixture(scope="module")
def folder():
  if "LELP_DATA" not in os.environ:
    pytest.skip("LELP_DATA names no folder of real data")
  return pathlib.Path(os.environ["LELP_DATA"])


def digest(content):
  content = content.encode() if isinstance(content, str) else content.tobytes()
  return hashlib.sha256(content).hexdigest()[:12]


def balance(source):
  return dict(collections.Counter(example["label"] for example in source))


# Text and label column, published counts, and the SHA-256 (its start) of the
# first and last text: zcat FILE | tail -n 1 | cut -f 4 | tr -d '\n' | sha256sum
TSV = {
  "cola/in_domain_train": (
    *(3, 1, {0: 2528, 1: 6023}),
    *("9cb46fc40236", "00806e199564"),
  ),
  "cola/in_domain_dev": (
    *(3, 1, {0: 162, 1: 365}),
    *("652e982a050c", "3bf6188c1ead"),
  ),
  "cola/out_of_domain_dev": (
    *(3, 1, {0: 162, 1: 354}),
    *("160e3d10b66c", "ebc53a70e5f8"),
  ),
  "sst2/train": (
    *("sentence", "label", {0: 29780, 1: 37569}),
    *("55b0e1c3b375", "4697705953f3"),
  ),
  "sst2/dev": (
    *("sentence", "label", {0: 428, 1: 444}),
    *("16e60b6a6110", "c93d8f51ec8b"),
  ),
  "sentiment140/sample20k": (
    *("text", "label", {0: 9942, 4: 10058}),
    *("84f7556254cc", "8d69aba417e8"),
  ),
  "sentiment140/test_manual": (
    *("text", "label", {0: 177, 2: 139, 4: 182}),
    *("7a501dcead76", "07b11ffb1b35"),
  ),
}


@pytest.mark.parametrize("name", TSV)
def test_tsv(folder, name):
  text, label, counts, first, last = TSV[name]
  path = folder / f"{name}.tsv.gz"
  source = open_source(
    path,
    text_column=text,
    label_column=label,
    header=isinstance(text, str),
  )
  assert len(source) == sum(counts.values())
  assert source.malformed.count == 0
  examples = list(source)
  assert balance(examples) == counts
  assert digest(examples[0]["text"]) == first
  assert digest(examples[-1]["text"]) == last
  # The whole of it, read in the plainest way.
  lines = gzip.decompress(path.read_bytes()).decode().rstrip("\n").split("\n")
  rows = [line.split("\t") for line in lines]
  if isinstance(text, str):
    names = rows.pop(0)
    text, label = names.index(text), names.index(label)
  assert examples == [
    {"id": i, "text": row[text], "label": int(row[label])}
    for i, row in enumerate(rows)
  ]


def test_glue_without_labels(folder):
  path = folder / "sst2/test_unlabeled.tsv.gz"
  source = open_source(path, text_column="sentence", id_column="index")
  assert [example["id"] for example in source] == [str(i) for i in range(1821)]
  assert digest(source[0]["text"]) == "2821f65b5e8d"
  assert digest(source[1820]["text"]) == "7638d660c6c0"


@pytest.mark.parametrize(
  ("split", "first", "last"),
  [
    ("train", "6e3e81d6e047", "6496aaaae87c"),
    ("test", "55e390cdf9c4", "6beeeb039dae"),
  ],
)
def test_imdb(folder, split, first, last):
  path = folder / f"imdb/{split}.jsonl.gz"
  source = open_source(
    path, text_column="text", label_column="label", id_column="id"
  )
  examples = list(source)
  assert balance(examples) == {0: 12500, 1: 12500}
  assert digest(examples[0]["text"]) == first
  assert digest(examples[-1]["text"]) == last
  with gzip.open(path) as lines:
    for example, line in zip(examples, lines, strict=True):
      row = json.loads(line)
      del row["rating"]
      assert example == row


# Of the first and last image of the exact subsets, and the labels of both.
EXACT = {
  "cifar10": {
    "train": (8336, 6, 3, "7cbda40c52a0", "88e3132ae384"),
    "test": (1017, 3, 1, "af12e1241a1e", "b31e8fdd3765"),
  },
  "cifar100": {
    "train": (1117, 19, 15, "000cd43650c1", "9ed465e27297"),
    "test": (916, 49, 15, "b310bb688dad", "f78a856a06ec"),
  },
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", EXACT)
def test_exact_cifar(folder, name, split):
  path = folder / f"{name}/{name}_exact_subset.npz"
  label = {"cifar10": "y", "cifar100": "fine"}[name]
  source = open_source(
    path, image_column=f"x_{split}", label_column=f"{label}_{split}"
  )
  size, first, last, first_image, last_image = EXACT[name][split]
  assert len(source) == size
  assert (source[0]["label"], source[size - 1]["label"]) == (first, last)
  assert digest(source[0]["image"]) == first_image
  assert digest(source[size - 1]["image"]) == last_image
  labels = np.load(folder / f"{name}/{name}_labels_all.npz")[f"{label}_{split}"]
  assert [example["label"] for example in source][:900] == list(labels[:900])


@pytest.mark.parametrize(
  ("split", "size", "first", "last"),
  [("train", 50000, 6, 1), ("test", 10000, 3, 7)],
)
def test_cifar10_as_jpeg(folder, split, size, first, last):
  path = folder / f"cifar10/cifar10_jpegq75_{split}.parquet"
  jpeg = open_source(path, image_column="jpeg", label_column="label")
  labels = jpeg.columns["label"]
  assert len(jpeg) == size
  assert (jpeg[0]["label"], jpeg[size - 1]["label"]) == (first, last)
  counts = collections.Counter(labels[i] for i in range(size))
  assert counts == dict.fromkeys(range(10), size // 10)
  exact = open_source(
    folder / "cifar10/cifar10_exact_subset.npz",
    image_column=f"x_{split}",
    label_column=f"y_{split}",
    id_column=f"index_{split}",
  )
  errors = []
  for i in range(0, len(exact), 20):
    example = exact[i]
    other = jpeg[example["id"]]
    assert other["label"] == example["label"]
    assert other["image"].dtype == np.uint8
    errors.append(np.abs(other["image"] - example["image"].astype(int)).mean())
  assert np.mean(errors) < 7  # SOURCE.md: 5.8 over all of them.
