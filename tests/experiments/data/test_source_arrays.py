"""Arrays: in memory, .npy and .npz, their layouts and what is wrong in them."""

import os

import numpy as np
import pytest

from experiments.data.sources import array_source
from experiments.data.sources import open_source
from tests.experiments.source_files import message
from tests.experiments.source_files import save


@pytest.fixture
def pixels(rng):
  return rng.integers(256, size=(4, 6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels")])
def test_npz(tmp_path, pixels, names):
  path = tmp_path / "a.npz"
  np.savez(
    path, **dict(zip(names, (pixels, [[3], [1], [0], [1]]), strict=True))
  )
  source = open_source(path)
  assert [(e["id"], e["label"]) for e in source] == [
    *((0, 3), (1, 1), (2, 0), (3, 1)),
  ]
  for example, image in zip(source, pixels, strict=True):
    np.testing.assert_array_equal(example["image"], image)


def test_npz_with_keys(tmp_path, pixels):
  path = tmp_path / "a.npz"
  np.savez_compressed(
    path, x_train=pixels, fine=np.array(["b", "a", "b", "c"]), at=[7, 5, 6, 4]
  )
  assert message(open_source, path) == (
    f"{path}: give image_column, one of its arrays ['x_train', 'fine', 'at']."
  )
  assert message(open_source, path, image_column="x") == (
    f"{path} has no array 'x': it has ['x_train', 'fine', 'at']."
  )
  source = open_source(
    path, image_column="x_train", label_column="fine", id_column="at"
  )
  assert [(e["id"], e["label"]) for e in source] == [
    *((7, "b"), (5, "a"), (6, "b"), (4, "c")),
  ]
  assert "label" not in open_source(path, image_column="x_train")[0]


def test_npy_stays_on_disk(tmp_path, pixels):
  np.save(tmp_path / "x.npy", pixels)
  np.save(tmp_path / "y.npy", [1, 0, 0, 1])
  source = open_source(tmp_path / "x.npy", label_column="y.npy")
  assert [example["label"] for example in source] == [1, 0, 0, 1]
  np.testing.assert_array_equal(source[3]["image"], pixels[3])
  assert not source[3]["image"].flags.writeable
  with (tmp_path / "x.npy").open("r+b") as file:  # The last pixel.
    file.seek(-1, os.SEEK_END)
    file.write(bytes([255 - pixels[-1, -1, -1, -1]]))
  assert source[3]["image"][-1, -1, -1] == 255 - pixels[-1, -1, -1, -1]
  assert "label" not in open_source(tmp_path / "x.npy")[0]


def test_damaged_arrays(tmp_path, pixels):
  np.savez(tmp_path / "whole.npz", x=pixels)
  whole = (tmp_path / "whole.npz").read_bytes()
  advice = "write it again with numpy.save or numpy.savez, without objects."
  for name, content in (
    ("a.npz", b"no archive"),
    ("b.npz", whole[:-40]),
    ("c.npz", b""),
    ("d.npy", b"\x93NUMPY"),
    ("e.npy", b""),
    ("f.npy", whole),
  ):
    path = save(tmp_path / name, content)
    text = message(open_source, path)
    assert text.startswith(f"{path} cannot be loaded as NumPy arrays (")
    assert text.endswith(advice)
  for path in (tmp_path / "g.npy", tmp_path / "g.npz"):
    with path.open("wb") as file:
      np.save(file, np.array([{}], object))
  assert message(open_source, tmp_path / "g.npy").endswith(advice)
  assert message(open_source, tmp_path / "g.npz").endswith(advice)
  np.save(tmp_path / "h.npy", pixels)
  path = (tmp_path / "h.npy").rename(tmp_path / "h.npz")
  assert message(open_source, path) == (
    f"{path} holds one array: its name should end in .npy."
  )


def test_layouts_of_arrays(pixels):
  for images in (pixels, np.moveaxis(pixels, -1, 1)):
    source = array_source(images=images)
    np.testing.assert_array_equal(source[2]["image"], pixels[2])
  grey = pixels[..., 0]
  assert array_source(images=grey)[1]["image"].shape == (6, 5, 1)
  np.testing.assert_array_equal(
    array_source(images=grey)[1]["image"][..., 0], grey[1]
  )


def test_arrays_of_the_wrong_kind(pixels):
  expected = (
    "arrays: images must have shape [N, H, W, channels] with 1 or 3 channels, "
    "[N, H, W] or [N, channels, H, W], got "
  )
  assert (
    message(array_source, images=pixels.repeat(2, -1))
    == f"{expected}(4, 6, 5, 6)."
  )
  assert message(array_source, images=pixels.reshape(4, -1)) == (
    f"{expected}(4, 90): reshape them, for instance to (-1, 3, 32, 32) if rows "
    f"are the three channels one after another as in CIFAR's own files."
  )
  assert message(array_source, images=pixels / 255) == (
    "arrays: images must be uint8, got float64: scale them to 0 to 255 and "
    "round."
  )
  assert message(array_source, images=pixels, labels=[0.5] * 4) == (
    "arrays: labels must be integers or strings, got float64."
  )
  assert message(array_source, images=pixels, labels=np.eye(4, dtype=int)) == (
    "arrays: labels must have shape [N], got (4, 4); if it is one-hot, give "
    "its argmax."
  )
  assert message(array_source, images=pixels, labels=[0, 1]) == (
    "arrays: there must be one of each for every example, got {'image': 4, "
    "'label': 2}."
  )
  assert message(array_source, images=pixels, ids=[1, 2, 3, 1]) == (
    "arrays: ids must be unique, but 1 occurs 2 times: choose another "
    "id_column, or none."
  )
  assert (
    message(array_source, texts=["a", 5])
    == "arrays: texts must be strings, got int at 1."
  )
  assert message(array_source) == "arrays: give either images or texts."
  assert message(array_source, images=pixels[:0]) == "arrays holds no examples."
