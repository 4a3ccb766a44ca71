"""A user's own files are identified by what is in them."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from experiments import identity
from experiments import specs
from experiments.configs import own
from experiments.configs import validate
from experiments.data.prepare import prepare_own
from experiments.io import json_files

TEXTS = "text,label\na,0\nb,1\n"


def digests(kind, **fields):
  """Names of a cell and of its teacher."""
  config = own.get_config(f"kind={kind}")
  config.data.update(fields)
  cell = validate.cell_spec(config)
  read_again = specs.from_plain(json_files.plain(cell))
  assert identity.cell_digest(read_again) == identity.cell_digest(cell)
  return identity.cell_digest(cell), identity.teacher_digest(cell)


def test_a_table_is_the_same_by_every_path(tmp_path, monkeypatch):
  (tmp_path / "data.csv").write_text(TEXTS)
  (tmp_path / "copy.csv").write_text(TEXTS)
  os.symlink(tmp_path / "data.csv", tmp_path / "link.csv")
  monkeypatch.chdir(tmp_path)
  paths = ["data.csv", "./data.csv", str(tmp_path / "data.csv"), "link.csv"]
  (tmp_path / "tokenizer.json").write_text("{}")
  names = {
    digests("text", train=path, text_column="text", tokenizer=tokenizer)
    for path in [*paths, "copy.csv"]
    for tokenizer in (".", "./tokenizer.json", str(tmp_path))
  }
  assert len(names) == 1
  columns = {"text_column": "text", "label_column": "label"}
  for path in paths:
    found = prepare_own(tmp_path / "work/own", {"train": path}, **columns)
  # A correction of the same size is other data, and so is another reading.
  pathlib.Path("data.csv").write_text(TEXTS.replace("b,1", "c,1"))
  changed = {"train": "data.csv", "text_column": "text", "tokenizer": "."}
  assert not names & {digests("text", **changed)}
  assert digests("text", **changed) != digests("text", **changed, header=False)
  with pytest.raises(ValueError, match=r"SHA-256 .*and is .*SHA-256") as error:
    prepare_own(tmp_path / "work/own", {"train": "data.csv"}, **columns)
  for sha256 in (
    found.manifest["sources"][0]["sha256"],
    "train was data.csv (19 bytes",
    "is data.csv (19 bytes",
  ):
    assert sha256[:8] in str(error.value)


def test_a_folder_is_the_same_by_links_and_with_hidden_files(
  tmp_path, monkeypatch, rng
):
  for name in ("cat", "dog"):
    folder = tmp_path / "photos" / name
    folder.mkdir(parents=True)
    pixels = rng.integers(256, size=(4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
  os.symlink(tmp_path / "photos", tmp_path / "link")
  (tmp_path / "other").mkdir()
  for name in ("cat", "dog"):  # The folders of the classes are links.
    os.symlink(tmp_path / "photos" / name, tmp_path / "other" / name)
  monkeypatch.chdir(tmp_path / "photos")
  paths = [tmp_path / "photos", tmp_path / "link", tmp_path / "other", "."]
  before = {digests("images", train=str(path)) for path in paths}
  for path in paths:
    prepare_own(tmp_path / "work/own", {"train": path})
  (tmp_path / "photos/.DS_Store").write_text("")
  (tmp_path / "photos/cat/Thumbs.db").write_text("")
  assert {digests("images", train=str(path)) for path in paths} == before
  assert len(before) == 1
  for path in paths:
    prepare_own(tmp_path / "work/own", {"train": path})
  with pytest.raises(ValueError, match=r"image_size was None, and is 2"):
    prepare_own(tmp_path / "work/own", {"train": "."}, image_size=2)
  Image.fromarray(pixels[::-1]).save("cat/a.png")
  assert digests("images", train=".") not in before


def test_a_table_of_paths_is_identified_by_the_images(tmp_path):
  pixels = np.zeros((2, 2, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / "a.png")
  Image.fromarray(pixels).save(tmp_path / "b.png")
  (tmp_path / "a.csv").write_text("file;y\na.png;0\nb.png;1\n")
  fields = {"image_column": "file", "label_column": "y"}
  fields["train"] = str(tmp_path / "a.csv")
  before = digests("images", **fields)
  assert digests("images", **fields) == before
  Image.fromarray(pixels + 1).save(tmp_path / "b.png")
  assert digests("images", **fields) != before


def test_a_plan_needs_no_files():
  assert digests("images", train="nowhere") != digests("images", train="else")
