"""The prepared form: what is written is read, whole or not at all."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st

from experiments.data import prepared
from experiments.data.dataset import Task
from experiments.data.prepared import open_prepared
from experiments.data.prepared import write
from experiments.data.tokenizer import Tokenization
from tests.experiments.original_files import files_below
from tests.experiments.prepared_inputs import Words

TEXT = Task("reviews", 3, class_names=("a", "b", "c"))
IMAGES = Task(
  "squares", 2, fine_to_class=(0, 1, 0, 1), image_shape=(4, 5, 3), scale=255.0
)
EXAMPLES = {
  "text": ["one", "", "naïve ☕\nline", "four"],
  "label": [0, 2, 1, 2],
}
FEWER = {name: column[:3] for name, column in EXAMPLES.items()}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  monkeypatch.setattr(prepared, "_TEXTS_AT_ONCE", 2)
  monkeypatch.setattr(prepared, "_IMAGES_AT_ONCE", 2)


def image_examples(rng, count):
  return {
    "image": rng.integers(256, size=(count, 4, 5, 3), dtype=np.uint8),
    "label": rng.integers(4, size=count),
  }


def written(folder, splits, tokenization=None, *, task=TEXT):
  write(folder, task, {}, splits, tokenization)
  return open_prepared(folder, verify=True)


def test_texts_and_tokens_are_read_as_they_were_written(tmp_path):
  splits = {"train": EXAMPLES, "test": FEWER}
  tokenization = Tokenization(Words(), 8)
  found = written(tmp_path / "reviews", splits, tokenization)
  assert found.task == TEXT
  assert list(found.splits) == ["train", "test"]
  for name, start in (("train", 0), ("test", 4)):
    arrays, texts = found.splits[name], splits[name]["text"]
    assert arrays.keys() == {"inputs", "labels", "ids"}
    assert arrays["labels"].tolist() == splits[name]["label"]
    ids = np.arange(start, start + len(texts))
    np.testing.assert_array_equal(arrays["ids"], ids)
    assert arrays["labels"].dtype == arrays["ids"].dtype == np.int32
    assert list(found.texts(name)) == texts
    rows = arrays["inputs"]
    assert rows.values.dtype == np.uint16
    for i, tokens in enumerate(tokenization.encode(texts)):
      np.testing.assert_array_equal(rows[i], tokens)
  # On disk they are as the docstring of the module says.
  text = np.load(found.folder / "train/text.npy").tobytes()
  assert text == "".join(EXAMPLES["text"]).encode()
  offsets = np.load(found.folder / "train/text_offsets.npy")
  ends = np.cumsum([len(text.encode()) for text in EXAMPLES["text"]])
  np.testing.assert_array_equal(offsets, [0, *ends])
  assert offsets.dtype == np.int64
  texts = found.texts("train")
  assert texts[-1] == found.text_of(3) == "four"
  assert [texts[1], texts[2]] == [found.text_of(5), "naïve ☕\nline"]
  with pytest.raises(IndexError):
    texts[4]
  with pytest.raises(ValueError, match="no example with id 7"):
    found.text_of(7)


def test_images_are_read_as_they_were_written(tmp_path, rng):
  splits = {"train": image_examples(rng, 7), "test": image_examples(rng, 4)}
  found = written(tmp_path / "squares", splits, task=IMAGES)
  assert found.task == IMAGES
  for name, examples in splits.items():
    arrays = found.splits[name]
    assert arrays.keys() == {"inputs", "labels", "fine_labels", "ids"}
    assert all(isinstance(array, np.memmap) for array in arrays.values())
    assert not arrays["inputs"].flags.writeable
    np.testing.assert_array_equal(arrays["inputs"], examples["image"])
    np.testing.assert_array_equal(arrays["fine_labels"], examples["label"])
    np.testing.assert_array_equal(arrays["labels"], examples["label"] % 2)
  with pytest.raises(ValueError, match="squares holds images"):
    found.texts("train")


@settings(
  max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=9))
def test_any_text_is_kept(tmp_path, texts):
  splits = {"train": {"text": texts, "label": [0] * len(texts)}}
  folder = tmp_path / "reviews"
  shutil.rmtree(folder, ignore_errors=True)
  if any(0xD800 <= ord(c) < 0xE000 for c in "".join(texts)):
    with pytest.raises(ValueError, match="surrogates not allowed"):
      written(folder, splits)
    assert not folder.exists()
  else:
    assert list(written(folder, splits).texts("train")) == texts


def test_damage_is_named(tmp_path):
  folder = tmp_path / "reviews"
  written(folder, {"train": EXAMPLES})
  path = folder / "train/text.npy"
  data = path.read_bytes()
  path.write_bytes(data[:-1] + b"!")
  open_prepared(folder)  # Sizes are the same.
  with pytest.raises(ValueError, match=r"text\.npy is damaged"):
    open_prepared(folder, verify=True)
  path.write_bytes(data[:-1])
  with pytest.raises(ValueError, match=r"text\.npy has 149 bytes .* 150"):
    open_prepared(folder)
  path.unlink()
  with pytest.raises(ValueError, match=r"text\.npy is missing"):
    open_prepared(folder)


def test_what_is_not_a_prepared_data_set_is_named(tmp_path):
  folder = tmp_path / "reviews"
  with pytest.raises(FileNotFoundError, match="--dataset=reviews --data_dir="):
    open_prepared(folder)
  written(folder, {"train": EXAMPLES})
  for content, value in (
    ('{"format": 2}', "format 2"),
    ("[]", "format None"),
    ('{"format"', "JSON"),
  ):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=rf"manifest\.json .*{value}"):
      open_prepared(folder)


@pytest.mark.parametrize(
  ("task", "wrong", "message"),
  [
    (TEXT, {"label": [0, 3, 1, 2]}, r"example 1 .*\[0, 3\), got 3"),
    (TEXT, {"label": [0, 2, -1, 2]}, r"example 2 .*\[0, 3\), got -1"),
    (TEXT, {"text": [], "label": []}, "test of reviews has no examples"),
    (
      IMAGES,
      {"image": np.zeros((4, 5, 4, 3), np.uint8)},
      r"images of test of squares must be .*\[4, 5, 3\].* uint8 \[5, 4, 3\]",
    ),
    (IMAGES, {"image": np.zeros((4, 4, 5, 3))}, r"float64 \[4, 5, 3\]"),
    (IMAGES, {"label": [0, 1, 2, 4]}, r"example 3 .*\[0, 4\), got 4"),
  ],
)
def test_examples_that_do_not_fit_leave_nothing(
  tmp_path, rng, task, wrong, message
):
  good = EXAMPLES if task is TEXT else image_examples(rng, 4)
  folder = tmp_path / "data" / task.name
  splits = {"train": good, "test": good | wrong}
  with (
    pytest.raises(ValueError, match=message) as error,
    prepared.locked(folder),
  ):
    written(folder, splits, task=task)
  assert "\n" not in str(error.value)
  assert not list(tmp_path.iterdir())  # The new folder is gone as well.


def test_a_disk_that_is_too_small_is_noticed_early(tmp_path, monkeypatch):
  examples = {name: column * 50_000 for name, column in EXAMPLES.items()}
  usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  with pytest.raises(ValueError, match=r"about \d MB.* 2 MB free"):
    written(tmp_path / "reviews", {"train": examples})
  assert not list(tmp_path.iterdir())


def test_a_new_data_set_takes_the_place_of_another(tmp_path):
  folder = tmp_path / "reviews"
  before = written(folder, {"train": EXAMPLES})
  after = written(folder, {"train": FEWER})
  assert len(after.texts("train")) == 3
  # Who has the old one open keeps it.
  np.testing.assert_array_equal(before.splits["train"]["ids"], np.arange(4))
  assert [path.name for path in tmp_path.iterdir()] == ["reviews"]


def test_what_a_killed_process_left_is_put_in_order(tmp_path):
  folder = tmp_path / "reviews"
  whole = files_below(written(folder, {"train": EXAMPLES}).folder)
  # Killed after the old one was moved away, before the new one came.
  folder.rename(tmp_path / ".reviews.old")
  # Killed while it unpacked an archive, or by an earlier version.
  for name in (".reviews.partial/scratch", ".reviews.partial/train.half"):
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "labels.npy").write_bytes(b"half")
  with prepared.locked(folder) as scratch:
    assert files_below(folder) == whole
    assert not scratch.exists()
  (tmp_path / ".reviews.tmp/train").mkdir(parents=True)
  written(folder, {"train": EXAMPLES})
  assert files_below(tmp_path) == {f"reviews/{k}": x for k, x in whole.items()}
