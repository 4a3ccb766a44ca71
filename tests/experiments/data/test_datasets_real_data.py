"""The real datasets, prepared: counts, balance, first and last examples."""

import gzip
import json
import os
import pathlib

import numpy as np
import pytest

from experiments.data.preparation import prepare
from experiments.data.preparation import Tokenization
from experiments.data.prepared import open_prepared
from experiments.data.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def originals():
  if "LELP_DATA" not in os.environ:
    pytest.skip("LELP_DATA names no folder of real data")
  return pathlib.Path(os.environ["LELP_DATA"])


def counts(found):
  return {
    split: np.bincount(arrays["labels"]).tolist()
    for split, arrays in found.splits.items()
  }


def lines(path):
  with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
    return [line.removesuffix("\n").split("\t") for line in file]


def test_cola(tmp_path, originals):
  found = prepare("glue_cola", data_dir=tmp_path, source=originals / "cola")
  assert counts(found) == {"train": [2528, 6023], "test": [324, 719]}
  train = lines(originals / "cola/in_domain_train.tsv.gz")
  test = lines(originals / "cola/in_domain_dev.tsv.gz")
  test += lines(originals / "cola/out_of_domain_dev.tsv.gz")
  for split, rows in (("train", train), ("test", test)):
    assert list(found.texts(split)) == [row[3] for row in rows]
    labels = [int(row[1]) for row in rows]
    assert found.splits[split]["labels"].tolist() == labels
  assert found.texts("train")[0].startswith("Our friends won't buy this")
  assert found.manifest["malformed"] == {}


def test_sst2_and_its_tokens(tmp_path, originals):
  given = {"data_dir": tmp_path, "source": originals / "sst2"}
  found = prepare("glue_sst2", **given)
  assert counts(found) == {"train": [29_780, 37_569], "test": [428, 444]}
  rows = lines(originals / "sst2/train.tsv.gz")[1:]
  assert list(found.texts("train")) == [row[0] for row in rows]
  assert (
    found.texts("train")[0] == "hide new secretions from the parental units "
  )
  model = originals / "albert_vocab/albert_30k_clean_rebuilt.model"
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
  open_prepared(found.folder, verify=True)


def test_imdb(tmp_path, originals):
  found = prepare("lmrd", data_dir=tmp_path, source=originals / "imdb")
  assert counts(found) == {"train": [12_500] * 2, "test": [12_500] * 2}
  assert found.splits["test"]["ids"][0] == 25_000
  for split in ("train", "test"):
    with gzip.open(originals / f"imdb/{split}.jsonl.gz", "rb") as file:
      rows = [json.loads(line) for line in file]
    texts = found.texts(split)
    for i in (0, 12_499, 12_500, 24_999):
      assert texts[i] == rows[i]["text"]
      assert found.splits[split]["labels"][i] == rows[i]["label"]
  assert found.texts("train")[0].startswith("Story of a man who has unnatural")


@pytest.mark.parametrize("name", ["cifar10", "cifar10_bin"])
def test_exact_part_of_cifar10(tmp_path, originals, name):
  source = originals / "cifar10/cifar10_exact_subset.npz"
  with pytest.raises(ValueError, match="8,336 examples and 50,000 are publ"):
    prepare(name, data_dir=tmp_path, source=source)
  assert not os.listdir(tmp_path)
  found = prepare(name, data_dir=tmp_path, source=source, partial=True)
  with np.load(source) as arrays:
    for split, size in (("train", 8336), ("test", 1017)):
      labels = arrays[f"y_{split}"].astype(int)
      part = found.splits[split]
      np.testing.assert_array_equal(part["inputs"], arrays[f"x_{split}"])
      assert len(part["inputs"]) == size
      if name == "cifar10":
        np.testing.assert_array_equal(part["labels"], labels)
      else:
        np.testing.assert_array_equal(part["labels"], labels % 2)
        np.testing.assert_array_equal(part["fine_labels"], labels)
  assert found.manifest["partial"]
  assert "jpeg" not in found.manifest


def test_exact_part_of_cifar100(tmp_path, originals):
  source = originals / "cifar100"
  found = prepare(
    "cifar100_bin", data_dir=tmp_path, source=source, partial=True
  )
  with np.load(source / "cifar100_exact_subset.npz") as arrays:
    assert found.task.fine_names == tuple(arrays["fine_names"])
    for split, size in (("train", 1117), ("test", 916)):
      part = found.splits[split]
      assert len(part["inputs"]) == size
      np.testing.assert_array_equal(part["inputs"], arrays[f"x_{split}"])
      fine = arrays[f"fine_{split}"].astype(int)
      np.testing.assert_array_equal(part["fine_labels"], fine)
      np.testing.assert_array_equal(part["labels"], fine % 2)


def test_sample_of_sentiment140(tmp_path, originals):
  source = originals / "sentiment140"
  found = prepare(
    "sentiment140_bin", data_dir=tmp_path, source=source, partial=True
  )
  assert counts(found) == {"train": [9880, 9880], "test": [62, 62]}
  rows = lines(source / "sample20k.tsv.gz")[1:]
  known = {(text, int(label == "4")) for label, text in rows}
  for split in ("train", "test"):
    labels = found.splits[split]["labels"].tolist()
    assert set(zip(found.texts(split), labels, strict=True)) <= known


@pytest.mark.slow  # 13 s of decoding.
def test_the_whole_of_cifar10_as_jpeg(tmp_path, originals):
  source = originals / "cifar10"
  found = prepare("cifar10", data_dir=tmp_path, source=source)
  assert counts(found) == {"train": [5000] * 10, "test": [1000] * 10}
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
