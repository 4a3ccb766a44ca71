"""Real data: read and prepared, with counts, balance and every example."""

import collections
import gzip
import json
import os
import pathlib

import numpy as np
import pytest

from experiments.data import examples as examples_lib
from experiments.data import load
from experiments.data.datasets import glue
from experiments.data.prepare import prepare
from experiments.data.tokenizer import load_tokenizer
from experiments.data.tokenizer import Tokenization
from tests.experiments.data.test_datasets import check
from tests.experiments.real_originals import lines


@pytest.fixture(scope="module")
def data():
  if not os.environ.get("LELP_DATA"):
    pytest.skip("LELP_DATA names no folder of real data")
  return pathlib.Path(os.environ["LELP_DATA"])


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("sample20k", {"0": 9942, "4": 10058}),
    ("test_manual", {"0": 177, "2": 139, "4": 182}),
  ],
)
def test_tweets(data, name, expected):
  path = data / f"sentiment140/{name}.tsv.gz"
  examples = examples_lib.read(path, text_column="text", label_column="label")
  assert examples.bad.count == 0
  assert collections.Counter(examples.columns["label"]) == expected
  _, *rows = lines(path)
  assert list(examples) == [
    {"id": i, "text": text, "label": label}
    for i, (label, text) in enumerate(rows)
  ]


def test_cola(tmp_path, data):
  found = prepare("glue_cola", data_dir=tmp_path, source=data / "cola")
  train, *test = (
    [(row[3], int(row[1])) for row in lines(data / f"cola/{name}.tsv.gz")]
    for name in ("in_domain_train", "in_domain_dev", "out_of_domain_dev")
  )
  check(found, {"train": train, "test": test[0] + test[1]})
  assert found.manifest["partial"] is False  # As many as published per class.
  assert found.texts("train")[0].startswith("Our friends won't buy this")
  assert found.left_out == ()


@pytest.mark.parametrize(
  ("name", "class_of"),
  [
    ("clinc_parity", lambda intent, domain: intent % 2),
    ("clinc_domain2", lambda intent, domain: domain % 2),
    ("clinc_domain5", lambda intent, domain: domain // 2),
  ],
  ids=["parity", "domain2", "domain5"],
)
def test_clinc(tmp_path, data, name, class_of):
  found = prepare(name, data_dir=tmp_path, source=data / "clinc150")
  with gzip.open(data / "clinc150/data_full.json.gz") as file:
    published = json.load(file)
  train = published["train"] + published["val"]
  intents = sorted({intent for _, intent in published["test"]})
  assert list(found.task.fine_names) == intents
  examples = {
    split: [(text, intents.index(intent)) for text, intent in pairs]
    for split, pairs in (("train", train), ("test", published["test"]))
  }
  check(found, examples)
  domains = json.loads((data / "clinc150/domains.json").read_text())
  domain_of = {
    intent: number
    for number, domain in enumerate(sorted(domains))
    for intent in domains[domain]
  }
  classes = [class_of(i, domain_of[name]) for i, name in enumerate(intents)]
  assert list(found.task.fine_to_class) == classes


def test_banking(tmp_path, data):
  source = data / "banking77"
  found = prepare("banking_parity", data_dir=tmp_path, source=source)
  categories = json.loads((source / "categories.json").read_text())
  assert list(found.task.fine_names) == sorted(categories)
  examples = {}
  for split in ("train", "test"):
    read = examples_lib.read(
      source / f"{split}.csv.gz", text_column="text", label_column="category"
    )
    fine = examples_lib.class_numbers(read, found.task.fine_names)
    examples[split] = list(zip(read.columns["text"], fine, strict=True))
  check(found, examples)


@pytest.mark.slow  # 67,349 texts; a few: test_glue.py.
def test_sst2_phrases_are_held_out_by_sentence(data):
  rows = lines(data / "sst2/train.tsv.gz")[1:]
  labels = np.array([int(label) for _, label in rows])
  groups = np.array(glue.sentences([text for text, _ in rows]))
  assert groups.max() + 1 == 6885
  # Drawn at random, nearly all are phrases of sentences that are trained on.
  train, held_out = load.heldout_split(labels)
  assert np.isin(groups[held_out], groups[train]).sum() == 4975
  train, held_out = load.heldout_split(labels, groups=groups)
  assert not np.isin(groups[held_out], groups[train]).any()
  assert (len(held_out), labels[held_out].sum()) == (5000, 2789)


@pytest.mark.slow  # 67,349 texts.
def test_sst2_and_its_tokens(tmp_path, data):
  found = prepare("glue_sst2", data_dir=tmp_path, source=data / "sst2")
  examples = {
    split: [(text, int(label)) for text, label in lines(path)[1:]]
    for split, path in (
      ("train", data / "sst2/train.tsv.gz"),
      ("test", data / "sst2/dev.tsv.gz"),
    )
  }
  check(found, examples)
  model = data / "albert_vocab/albert_30k_clean_rebuilt.model"
  tokenizer = load_tokenizer(model)
  found = prepare(
    "glue_sst2", data_dir=tmp_path, tokenization=Tokenization(tokenizer)
  )
  rows = found.splits["train"]["inputs"]
  for i in (0, 67_348):
    (expected,) = tokenizer.encode([found.texts("train")[i]], max_length=128)
    np.testing.assert_array_equal(rows[i], expected)
  assert rows.values.dtype == np.uint16
  assert rows.lengths.max() <= 128


@pytest.mark.slow  # 50,000 long texts.
def test_imdb(tmp_path, data):
  found = prepare("lmrd", data_dir=tmp_path, source=data / "imdb")
  examples = {}
  for split in ("train", "test"):
    with gzip.open(data / f"imdb/{split}.jsonl.gz", "rb") as file:
      rows = [json.loads(line) for line in file]
    examples[split] = [(row["text"], row["label"]) for row in rows]
  check(found, examples)


@pytest.mark.slow  # 13 s of decoding.
def test_the_whole_of_cifar10_as_jpeg(tmp_path, data):
  source = data / "cifar10"
  found = prepare("cifar10", data_dir=tmp_path, source=source)
  assert found.manifest["jpeg"] is True
  assert found.manifest["partial"] is False
  with (
    np.load(source / "cifar10_labels_all.npz") as labels,
    np.load(source / "cifar10_exact_subset.npz") as exact,
  ):
    for split in ("train", "test"):
      part = found.splits[split]
      np.testing.assert_array_equal(part["labels"], labels[f"y_{split}"])
      # The same images in the same places, up to what JPEG changes.
      pixels = part["inputs"][exact[f"index_{split}"]].astype(int)
      error = np.abs(pixels - exact[f"x_{split}"]).mean(axis=(1, 2, 3))
      assert error.mean() < 7
      assert error.max() < 20
