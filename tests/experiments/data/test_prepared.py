"""The prepared form: what is written is read, whole or not at all."""

import contextlib
import os
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
from experiments.data.prepared import Writer
from experiments.data.tokenizer import Tokenization
from experiments.distributed.signals import Interrupted
from tests.experiments.original_files import files_below
from tests.experiments.prepared_inputs import Words

TEXT = Task("reviews", 3, class_names=("a", "b", "c"))
IMAGES = Task(
  "squares", 2, fine_to_class=(0, 1, 0, 1), image_shape=(4, 5, 3), scale=255.0
)
EXAMPLES = [
  {"text": "one", "label": 0},
  {"text": "", "label": 2},
  {"text": "naïve ☕\nline", "label": 1},
  {"text": "four", "label": 2},
]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  monkeypatch.setattr(prepared, "_TEXTS_AT_ONCE", 2)
  monkeypatch.setattr(prepared, "_IMAGES_AT_ONCE", 2)


def image_examples(rng, count):
  fine = rng.integers(4, size=count)
  return [
    {
      "image": rng.integers(256, size=(4, 5, 3), dtype=np.uint8),
      "label": int(f % 2),
      "fine_label": int(f),
    }
    for f in fine
  ]


def write(folder, splits, tokenization=None, *, task=TEXT, manifest=None):
  with Writer(folder) as writer:
    writer.write(task, manifest or {}, splits, tokenization)
  return open_prepared(folder, verify=True)


def test_texts_and_tokens_are_read_as_they_were_written(tmp_path):
  splits = {"train": EXAMPLES, "test": EXAMPLES[:3]}
  tokenization = Tokenization(Words(), 8)
  found = write(tmp_path / "reviews", splits, tokenization)
  assert found.task == TEXT
  assert list(found.splits) == ["train", "test"]
  for name, start in (("train", 0), ("test", 4)):
    arrays, examples = found.splits[name], splits[name]
    assert arrays.keys() == {"inputs", "labels", "ids"}
    assert arrays["labels"].tolist() == [e["label"] for e in examples]
    ids = np.arange(start, start + len(examples))
    np.testing.assert_array_equal(arrays["ids"], ids)
    assert arrays["labels"].dtype == arrays["ids"].dtype == np.int32
    texts = [e["text"] for e in examples]
    assert list(found.texts(name)) == texts
    rows = arrays["inputs"]
    assert rows.values.dtype == np.uint16
    for i, tokens in enumerate(tokenization.encode(texts)):
      np.testing.assert_array_equal(rows[i], tokens)
  # On disk they are as the docstring of the module says.
  text = np.load(found.folder / "train/text.npy").tobytes()
  assert text == "".join(e["text"] for e in EXAMPLES).encode()
  offsets = np.load(found.folder / "train/text_offsets.npy")
  ends = np.cumsum([len(e["text"].encode()) for e in EXAMPLES])
  np.testing.assert_array_equal(offsets, [0, *ends])
  assert offsets.dtype == np.int64
  texts = found.texts("train")
  assert texts[-1] == found.text_of(3) == "four"
  assert [texts[1], texts[2]] == [found.text_of(5), "naïve ☕\nline"]
  with pytest.raises(IndexError):
    texts[4]
  for call, value in ((found.texts, "tset"), (found.text_of, 7)):
    with pytest.raises(ValueError, match=f"{value}"):
      call(value)


def test_images_are_read_as_they_were_written(tmp_path, rng):
  splits = {"train": image_examples(rng, 7), "test": image_examples(rng, 4)}
  found = write(tmp_path / "squares", splits, task=IMAGES)
  assert found.task == IMAGES
  for name, examples in splits.items():
    arrays = found.splits[name]
    assert arrays.keys() == {"inputs", "labels", "fine_labels", "ids"}
    assert all(isinstance(array, np.memmap) for array in arrays.values())
    assert not arrays["inputs"].flags.writeable
    np.testing.assert_array_equal(
      arrays["inputs"], np.stack([e["image"] for e in examples])
    )
    for key in ("label", "fine_label"):
      expected = [e[key] for e in examples]
      np.testing.assert_array_equal(arrays[f"{key}s"], expected)
  with pytest.raises(ValueError, match="squares holds images"):
    found.texts("train")


@settings(
  max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=9))
def test_any_text_is_kept(tmp_path, texts):
  examples = [{"text": text, "label": 0} for text in texts]
  folder = tmp_path / "reviews"
  shutil.rmtree(folder, ignore_errors=True)
  if any(0xD800 <= ord(c) < 0xE000 for c in "".join(texts)):
    with pytest.raises(ValueError, match="text is not Unicode"):
      write(folder, {"train": examples})
    assert not folder.exists()
  else:
    found = write(folder, {"train": examples})
    assert list(found.texts("train")) == texts


def test_damage_is_named(tmp_path):
  folder = tmp_path / "reviews"
  write(folder, {"train": EXAMPLES})
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
  write(folder, {"train": EXAMPLES})
  for content, value in (
    ('{"format": 2}', "format 2"),
    ("[]", "format None"),
    ('{"format"', "JSON"),
  ):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=rf"manifest\.json .*{value}"):
      open_prepared(folder)


PIXELS = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
  ("task", "wrong", "message"),
  [
    (TEXT, {"text": "x", "label": 3}, r"label .*\[0, 3\), got 3"),
    (TEXT, {"text": "x", "label": -1}, r"label .*\[0, 3\), got -1"),
    (TEXT, {"text": "x", "label": True}, "label .* got True"),
    (TEXT, {"text": "x"}, "label .* got None"),
    (TEXT, {"text": b"x", "label": 0}, "text .* got bytes"),
    (TEXT, {"id": "t9", "text": "\ud800", "label": 0}, "text .* character 0"),
    (
      IMAGES,
      {"image": PIXELS.swapaxes(0, 1), "label": 0, "fine_label": 2},
      r"image .*\[4, 5, 3\], got uint8 \[5, 4, 3\]",
    ),
    (
      IMAGES,
      {"image": PIXELS, "label": 0, "fine_label": 4},
      r"fine_label .*\[0, 4\), got 4",
    ),
    (
      IMAGES,
      {"image": PIXELS, "label": 0, "fine_label": 3},
      "label 0 .* fine_label 3",
    ),
  ],
)
def test_examples_that_do_not_fit_leave_nothing(
  tmp_path, rng, task, wrong, message
):
  good = EXAMPLES if task is TEXT else image_examples(rng, 4)
  name = r"4 \(id t9\)" if "id" in wrong else "4"
  expected = f"example {name} of {task.name}'s test split: .*{message}"
  with pytest.raises(ValueError, match=expected) as error:
    write(
      tmp_path / "data" / task.name,
      {"train": good, "test": [*good, wrong]},
      task=task,
    )
  assert "\n" not in str(error.value)
  assert not list(tmp_path.iterdir())  # The new folder is gone as well.


def test_a_folder_that_was_there_stays(tmp_path):
  (tmp_path / "other").mkdir()
  with pytest.raises(ValueError, match="train of reviews has no examples"):
    write(tmp_path / "reviews", {"train": []})
  assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_disk_that_is_too_small_is_noticed_early(tmp_path, monkeypatch):
  written = []
  examples = EXAMPLES * 50_000

  class Counted(list):
    def __iter__(self):
      for example in super().__iter__():
        written.append(example)
        yield example

  usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  with pytest.raises(ValueError, match=r"about \d MB.* 2 MB free"):
    write(tmp_path / "new/reviews", {"train": Counted(examples)})
  assert len(written) == 2
  assert not list(tmp_path.iterdir())


def interrupted(folder, splits, error):
  """Writes until the second split is half written."""

  class Stopping(list):
    def __iter__(self):
      yield self[0]
      yield self[1]
      raise error

  train, test = splits.items()
  with contextlib.suppress(type(error)):
    write(folder, dict([train, (test[0], Stopping(test[1]))]))


@pytest.mark.parametrize(
  "error", [Interrupted("SIGTERM", "it is kept"), KeyboardInterrupt()]
)
def test_an_interrupted_writer_is_continued(tmp_path, error):
  splits = {"train": EXAMPLES, "test": EXAMPLES[1:]}
  whole = write(tmp_path / "whole/reviews", splits)
  folder = tmp_path / "reviews"
  interrupted(folder, splits, error)
  assert not folder.exists()
  aside = tmp_path / ".reviews.partial"
  names = {path.name for path in aside.iterdir()}
  assert names == {"train", "manifest.json", ".lock"}
  # As a process leaves it that was killed.
  (aside / "test.half").mkdir()
  (aside / "test.half/labels.npy").write_bytes(b"half")
  (aside / "scratch").mkdir()
  kept = (aside / "train/text.npy").stat()
  found = write(folder, splits)
  assert (folder / "train/text.npy").stat().st_ino == kept.st_ino
  assert files_below(folder) == files_below(whole.folder)
  assert found.digest == whole.digest
  assert not aside.exists()


@pytest.mark.parametrize("wrong", ["manifest", "broken"])
def test_what_was_begun_otherwise_is_begun_again(tmp_path, wrong):
  folder, aside = tmp_path / "reviews", tmp_path / ".reviews.partial"
  splits = {"train": EXAMPLES, "test": EXAMPLES}
  interrupted(folder, splits, KeyboardInterrupt())
  inode = (aside / "train/text.npy").stat().st_ino
  manifest = {}
  if wrong == "manifest":
    manifest = {"options": {"seed": 1}}
  else:
    (aside / "manifest.json").write_text("{")
  os.link(aside / "train/text.npy", tmp_path / "old")  # Keeps its inode taken.
  found = write(folder, {"train": EXAMPLES[:2]}, manifest=manifest)
  assert (folder / "train/text.npy").stat().st_ino != inode
  assert list(found.splits) == ["train"]


def test_a_new_data_set_takes_the_place_of_another(tmp_path):
  folder = tmp_path / "reviews"
  before = write(folder, {"train": EXAMPLES})
  after = write(folder, {"train": EXAMPLES[:2]})
  assert len(after.texts("train")) == 2
  # Who has the old one open keeps it.
  np.testing.assert_array_equal(before.splits["train"]["ids"], np.arange(4))
  assert [path.name for path in tmp_path.iterdir()] == ["reviews"]
  # Killed after the old one was moved away, before the new one came.
  folder.rename(tmp_path / ".reviews.replaced")
  with Writer(folder):
    assert open_prepared(folder, verify=True).task == TEXT
  assert [path.name for path in tmp_path.iterdir()] == ["reviews"]
