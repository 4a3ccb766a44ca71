"""Images: folders and columns of Parquet, and what is wrong in them."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from experiments.data.sources import class_indices
from experiments.data.sources import open_source
from tests.experiments.source_files import message
from tests.experiments.source_files import save


def png(pixels, mode=None, kind="PNG"):
  image = Image.fromarray(np.asarray(pixels, np.uint8).squeeze())
  buffer = io.BytesIO()
  (image.convert(mode) if mode else image).save(buffer, kind)
  return buffer.getvalue()


def save_folder(root, images):
  """Writes images by path."""
  for path, content in images.items():
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    save(root / path, content)
  return root


@pytest.fixture
def pixels(rng):
  return rng.integers(256, size=(4, 6, 5, 3), dtype=np.uint8)


def test_folder_with_one_folder_a_class(tmp_path, pixels):
  save_folder(
    tmp_path,
    {
      "dog/b.PNG": png(pixels[2]),
      "dog/a.png": png(pixels[1]),
      "cat/z.bmp": png(pixels[0], kind="BMP"),
      "dog/.hidden": b"",
      ".git/x.png": b"",
    },
  )
  source = open_source(tmp_path)
  assert len(source) == 3
  for i, (name, label) in enumerate(
    [("cat/z.bmp", "cat"), ("dog/a.png", "dog"), ("dog/b.PNG", "dog")]
  ):
    example = source[i]
    assert (example["id"], example["label"]) == (name, label)
    assert example["image"].dtype == np.uint8
    np.testing.assert_array_equal(example["image"], pixels[i])
  assert class_indices(source) == {"cat": 0, "dog": 1}
  assert source.malformed.count == 0


def test_folders_called_by_numbers_are_in_their_order(tmp_path, pixels):
  save_folder(tmp_path, {f"{i}/a.png": png(pixels[0]) for i in (10, 9, 0)})
  source = open_source(tmp_path)
  assert [example["label"] for example in source] == [0, 10, 9]
  assert class_indices(source) == {0: 0, 9: 1, 10: 2}


def test_files_that_are_no_images_are_counted(tmp_path, pixels):
  save_folder(
    tmp_path,
    {
      "cat/a.png": png(pixels[0]),
      "cat/notes.txt": b"",
      "cat/more.png/b.png": b"",
      "labels.csv": b"",
    },
  )
  source = open_source(tmp_path)
  assert len(source) == 1
  assert source.malformed.first == [
    f"{tmp_path}/cat/more.png: no image",
    f"{tmp_path}/cat/notes.txt: no image",
    f"{tmp_path}/labels.csv: in no folder of a class",
  ]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_grey_or_rgb(tmp_path, mode):
  black_and_white = np.zeros((4, 4, 3), np.uint8)
  black_and_white[:2] = 255
  kind = "TIFF" if mode == "CMYK" else "PNG"
  content = png(black_and_white, mode, kind)
  source = open_source(save_folder(tmp_path, {f"a/a.{kind.lower()}": content}))
  channels = 1 if mode in ("1", "L", "LA") else 3
  np.testing.assert_array_equal(
    source[0]["image"], black_and_white[..., :channels]
  )


def test_more_than_eight_bits_are_refused(tmp_path):
  deep = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
  buffer = io.BytesIO()
  deep.save(buffer, "PNG")
  save_folder(tmp_path, {"a/a.png": buffer.getvalue()})
  assert message(open_source, tmp_path) == (
    f"{tmp_path}: cannot read the image 'a/a.png': more than 8 bits a channel "
    f"(mode I;16)."
  )


def test_grey_among_coloured_images(tmp_path, pixels):
  grey, coloured = pixels[0, ..., :1], pixels[1]
  save_folder(tmp_path, {"a/1.png": png(coloured), "a/2.png": png(grey)})
  image = open_source(tmp_path)[1]["image"]
  np.testing.assert_array_equal(image, np.repeat(grey, 3, axis=-1))
  save_folder(tmp_path, {"a/0.png": png(grey)})
  source = open_source(tmp_path)
  assert source[0]["image"].shape == (6, 5, 1)
  assert message(source.__getitem__, 1) == (
    f"{tmp_path}: images must have one shape, but 'a/1.png' has (6, 5, 3) and "
    f"'a/0.png' (6, 5, 1): give channels to make them alike."
  )
  for channels in (1, 3):
    source = open_source(tmp_path, channels=channels)
    assert {e["image"].shape for e in source} == {(6, 5, channels)}
  assert message(open_source, tmp_path, channels=4) == (
    "channels must be 1 or 3, got 4."
  )


def test_mixed_sizes_are_refused_or_resized(tmp_path, pixels):
  save_folder(
    tmp_path,
    {"cat/a.png": png(pixels[0]), "dog/b.png": png(pixels[1, :4, :4])},
  )
  source = open_source(tmp_path)
  assert message(source.__getitem__, 1) == (
    f"{tmp_path}: images must have one shape, but 'dog/b.png' has (4, 4, 3) "
    f"and 'cat/a.png' (6, 5, 3): give image_size to make them alike."
  )
  for image_size, shape in ((4, (4, 4, 3)), ((2, 3), (2, 3, 3))):
    source = open_source(tmp_path, image_size=image_size)
    assert {example["image"].shape for example in source} == {shape}
  assert message(open_source, tmp_path, image_size=0) == (
    "image_size must be a positive int or two of them (height, width), got 0."
  )


def test_resizing_averages_what_it_shrinks(tmp_path):
  # Plain bilinear interpolation to a quarter would see 2 of each 4 columns.
  stripes = np.zeros((16, 16, 3), np.uint8)
  stripes[:, ::4] = 200
  save_folder(tmp_path, {"a/a.png": png(stripes)})
  image = open_source(tmp_path, image_size=4)[0]["image"]
  assert np.abs(image[:, 1:-1].astype(int) - 50).max() <= 1


def test_unreadable_images_are_named(tmp_path, pixels):
  whole = png(pixels[0])
  save_folder(
    tmp_path,
    {
      "a/0.png": whole,
      "a/1.png": b"no image",
      "a/2.png": b"",
      "a/3.png": whole[:-30],
    },
  )
  source = open_source(tmp_path)
  unknown = "not a kind of image that Pillow reads"
  for i, reason in ((1, unknown), (2, unknown)):
    assert message(source.__getitem__, i) == (
      f"{tmp_path}: cannot read the image 'a/{i}.png': {reason}."
    )
  text = message(source.__getitem__, 3)
  assert text.startswith(f"{tmp_path}: cannot read the image 'a/3.png': ")
  assert class_indices(source) == {"a": 0}  # Looks at no image.
  # The first one is looked at when the source is opened.
  save(tmp_path / "a/0.png", b"no image")
  assert message(open_source, tmp_path) == (
    f"{tmp_path}: cannot read the image 'a/0.png': {unknown}."
  )


def test_folders_without_images(tmp_path, pixels, monkeypatch):
  assert message(open_source, tmp_path / "none") == (
    f"there is no {tmp_path}/none."
  )
  assert message(open_source, tmp_path) == (
    f"{tmp_path} holds no folders: expected one for each class, with its "
    f"images in it; of tables or arrays give the files."
  )
  # One level too high: train/ and test/ are no classes.
  save_folder(tmp_path, {"train/cat/a.png": png(pixels[0])})
  suffixes = ".bmp, .gif, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"
  assert message(open_source, tmp_path) == (
    f"{tmp_path}/train holds no images ({suffixes}): expected one folder for "
    f"each class in {tmp_path}, with its images in it."
  )

  # As for another's folder; who is root may read it all the same.
  def forbidden(path):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(type(tmp_path), "iterdir", forbidden)
  assert message(open_source, tmp_path) == (
    f"cannot read {tmp_path}: permission denied."
  )


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_column_of_images(tmp_path, pixels, form):
  encoded = [png(image) for image in pixels[:3]]
  column = encoded
  if form == "struct":  # As Hugging Face writes it.
    column = [{"bytes": e, "path": f"{i}.png"} for i, e in enumerate(encoded)]
  table = pa.table({"img": [*column, None], "label": [3, 0, 3, 1]})
  path = tmp_path / "a.parquet"
  pq.write_table(table, path)
  source = open_source(path, image_column="img", label_column="label")
  assert [(e["id"], e["label"]) for e in source] == [(0, 3), (1, 0), (2, 3)]
  for example, image in zip(source, pixels, strict=False):
    np.testing.assert_array_equal(example["image"], image)
  assert source.malformed.first == [f"{path} row 3: no 'img'"]


def test_column_of_images_that_cannot_be_read(tmp_path, pixels):
  path = tmp_path / "a.parquet"
  table = {"id": ["x", "y"], "img": [png(pixels[0]), b"no image"]}
  pq.write_table(pa.table(table), path)
  source = open_source(path, image_column="img", id_column="id")
  assert message(source.__getitem__, 1) == (
    f"{path}: cannot read the image 'y': not a kind of image that Pillow reads."
  )
  assert message(open_source, path, image_column="id") == (
    f"{path} holds no examples (2 malformed: {path} row 0: image is str, not "
    f"bytes; {path} row 1: image is str, not bytes)."
  )
  csv = save(tmp_path / "a.csv", "img\na\n")
  assert message(open_source, csv, image_column="img") == (
    f"{csv}: a column of images is read from .parquet files only."
  )
