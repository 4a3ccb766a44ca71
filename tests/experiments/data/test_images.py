"""Images: folders and columns of Parquet, and what is wrong in them."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from experiments.data.examples import class_names
from experiments.data.examples import read
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
    save(root / path, content)
  return root


@pytest.fixture
def pixels(rng):
  return rng.integers(256, size=(4, 6, 5, 3), dtype=np.uint8)


def test_folder_with_one_folder_per_class(tmp_path, pixels):
  save_folder(
    tmp_path,
    {
      "dog/b.PNG": png(pixels[2]),
      "dog/a.png": png(pixels[1]),
      "cat/z.bmp": png(pixels[0], kind="BMP"),
      "10/a.png": png(pixels[0]),
      "9/a.png": png(pixels[0]),
      "dog/.hidden": b"",
      ".git/x.png": b"",
    },
  )
  examples = read(tmp_path)
  found = [(e["id"], e["label"]) for e in examples]
  assert found == [
    *[("10/a.png", "10"), ("9/a.png", "9"), ("cat/z.bmp", "cat")],
    *[("dog/a.png", "dog"), ("dog/b.PNG", "dog")],
  ]
  images = np.stack([example["image"] for example in examples])
  assert images.dtype == np.uint8
  np.testing.assert_array_equal(images, pixels[[0, 0, 0, 1, 2]])
  assert class_names(examples) == ("9", "10", "cat", "dog")
  assert examples.bad.count == 0


def test_files_that_are_not_examples_are_counted(tmp_path, pixels):
  image = png(pixels[0])
  used = {"cat/a.png": image, "cat/b.jfif": png(pixels[0], kind="JPEG")}
  left_out = {
    "cat/more.png/1.png": "sub-folder",
    "cat/more.png/2/2.JPG": "sub-folder",
    "cat/notes.txt": "not an image",
    "labels.csv": "not in the folder of a class",
  }
  save_folder(tmp_path, used | dict.fromkeys(left_out, image))
  save_folder(tmp_path, {"cat/Thumbs.db": b"", "__MACOSX/cat/a.png": b""})
  examples = read(tmp_path)
  assert [example["id"] for example in examples] == list(used)
  assert examples.bad.count == len(left_out)
  for (path, reason), line in zip(
    left_out.items(), examples.bad.first, strict=True
  ):
    assert line.startswith(f"{tmp_path / path}: ")
    assert reason in line


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_grey_or_rgb(tmp_path, mode):
  black_and_white = np.zeros((4, 4, 3), np.uint8)
  black_and_white[:2] = 255
  kind = "TIFF" if mode == "CMYK" else "PNG"
  content = png(black_and_white, mode, kind)
  examples = read(save_folder(tmp_path, {f"a/a.{kind.lower()}": content}))
  channels = 1 if mode in ("1", "L", "LA") else 3
  np.testing.assert_array_equal(
    examples[0]["image"], black_and_white[..., :channels]
  )


def test_more_than_eight_bits_are_refused(tmp_path):
  deep = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
  buffer = io.BytesIO()
  deep.save(buffer, "PNG")
  save_folder(tmp_path, {"a/a.png": buffer.getvalue()})
  assert "more than 8 bits" in message(read, tmp_path)


def test_grey_among_coloured_images(tmp_path, pixels):
  grey, coloured = pixels[0, ..., :1], pixels[1]
  save_folder(tmp_path, {"a/1.png": png(coloured), "a/0.png": png(grey)})
  first, second = read(tmp_path)
  np.testing.assert_array_equal(first["image"], np.repeat(grey, 3, axis=-1))
  np.testing.assert_array_equal(second["image"], coloured)
  first, second = read(tmp_path, channels=1)
  np.testing.assert_array_equal(first["image"], grey)
  as_grey = np.asarray(Image.fromarray(coloured).convert("L"))[..., None]
  np.testing.assert_array_equal(second["image"], as_grey)


@pytest.mark.parametrize(
  ("orientation", "turns"), [(1, 0), (3, 2), (6, 1), (8, 3)]
)
def test_the_orientation_of_exif_is_applied(tmp_path, orientation, turns):
  # A viewer shows the same image for each of them.
  shown = np.zeros((4, 6, 3), np.uint8)
  shown[:2, :3] = 250
  exif = Image.Exif()
  exif[0x0112] = orientation
  (tmp_path / "a").mkdir()
  stored = Image.fromarray(np.rot90(shown, turns).copy())
  stored.save(tmp_path / "a/a.png", exif=exif)
  np.testing.assert_array_equal(read(tmp_path)[0]["image"], shown)


def test_transparency_is_white(tmp_path):
  red = np.zeros((2, 2, 4), np.uint8)
  red[..., 0] = 200
  red[0, :, 3] = 255
  palette = Image.fromarray(red[..., :3]).convert("P")
  save_folder(
    tmp_path,
    {"a/0.png": png(red), "a/1.png": png([[[0, 255], [0, 0]]] * 2, "LA")},
  )
  palette.save(tmp_path / "a/2.png", transparency=palette.getpixel((0, 0)))
  coloured, grey, from_palette = (e["image"] for e in read(tmp_path))
  np.testing.assert_array_equal(coloured[0, 0], [200, 0, 0])
  np.testing.assert_array_equal(coloured[1, 0], [255] * 3)
  np.testing.assert_array_equal(grey[0], [[0] * 3, [255] * 3])
  np.testing.assert_array_equal(from_palette, np.full((2, 2, 3), 255))


def test_mixed_sizes_are_refused_or_resized(tmp_path, pixels):
  save_folder(
    tmp_path, {"cat/a.png": png(pixels[0]), "dog/b.png": png(pixels[1, :4, :4])}
  )
  text = message(read(tmp_path).__getitem__, 1)
  for part in ("'dog/b.png'", "(4, 4, 3)", "(6, 5, 3)", "image_size"):
    assert part in text
  examples = read(tmp_path, image_size=3)
  assert {example["image"].shape for example in examples} == {(3, 3, 3)}


def test_resizing_averages_what_it_shrinks(tmp_path):
  # Plain bilinear interpolation to a quarter would see 2 of each 4 columns.
  stripes = np.zeros((16, 16, 3), np.uint8)
  stripes[:, ::4] = 200
  save_folder(tmp_path, {"a/a.png": png(stripes)})
  image = read(tmp_path, image_size=4)[0]["image"]
  assert np.abs(image[:, 1:-1].astype(int) - 50).max() <= 1


def test_unreadable_images_are_left_out_and_counted(tmp_path, pixels):
  whole = png(pixels[0])
  broken = {"a/0.png": b"no image", "a/2.png": b"", "a/3.png": whole[:-30]}
  save_folder(tmp_path, {"a/1.png": whole, "b/1.png": whole, **broken})
  examples = read(tmp_path)
  assert [example["id"] for example in examples] == ["a/1.png", "b/1.png"]
  assert examples.bad.count == 3
  for path, line in zip(broken, examples.bad.first, strict=True):
    assert line.startswith(f"{tmp_path / path}: the image cannot be read: ")


def test_folders_without_images(tmp_path, pixels, monkeypatch):
  assert message(read, tmp_path / "none") == f"there is no {tmp_path}/none."
  assert "holds no folders" in message(read, tmp_path)
  # One level too high: train/ and test/ are not classes.
  save_folder(tmp_path, {"train/cat/a.png": png(pixels[0])})
  assert f"{tmp_path}/train holds no images" in message(read, tmp_path)

  # As for another user's folder; root may read it all the same.
  def forbidden(path):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(type(tmp_path), "iterdir", forbidden)
  assert str(tmp_path) in message(read, tmp_path)


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_column_of_images(tmp_path, pixels, form):
  encoded = [png(image) for image in pixels[:3]]
  column = encoded
  if form == "struct":  # As Hugging Face writes it.
    column = [{"bytes": e, "path": f"{i}.png"} for i, e in enumerate(encoded)]
  table = pa.table({"img": [*column, None], "label": [3, 0, 3, 1]})
  path = tmp_path / "a.parquet"
  pq.write_table(table, path)
  examples = read(path, image_column="img", label_column="label")
  assert [e["label"] for e in examples] == ["3", "0", "3"]
  images = [example["image"] for example in examples]
  np.testing.assert_array_equal(images, pixels[:3])
  assert list(examples.bad.first) == [f"{path} row 4: no 'img'"]


def test_column_of_paths_of_images(tmp_path, pixels):
  save_folder(
    tmp_path, {f"in/{i}.png": png(image) for i, image in enumerate(pixels[:2])}
  )
  lines = ["file,label", "in/1.png,a", f"{tmp_path}/in/0.png,b", "in/9.png,a"]
  path = save(tmp_path / "a.csv", "\n".join(lines))
  examples = read(path, image_column="file", label_column="label")
  images = [example["image"] for example in examples]
  np.testing.assert_array_equal(images, pixels[[1, 0]])
  assert list(examples.bad.first) == [
    f"{path} row 4: there is no image {tmp_path}/in/9.png"
  ]


def test_column_of_images_that_cannot_be_read(tmp_path, pixels):
  path = tmp_path / "a.parquet"
  table = {"id": ["x", "y"], "img": [png(pixels[0]), b"no image"]}
  pq.write_table(pa.table(table), path)
  examples = read(path, image_column="img", id_column="id")
  assert f"{path} row 2: the image cannot be read" in examples.bad.first[0]
  text = message(read, path, image_column="id")
  assert ": 2 malformed" in text
  assert "there is no image" in text
