"""Small originals of every dataset, in the formats they were published in."""

import csv
import gzip
import io
import json
import pathlib
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet as pq

from experiments.data.datasets import amazon

AMAZON_COLUMNS = (
  "marketplace customer_id review_id product_id product_parent product_title "
  "product_category star_rating helpful_votes total_votes vine "
  "verified_purchase review_headline review_body review_date"
).split()


def tar(path, members):
  """A .tar.gz of files, given their bytes by name."""
  with tarfile.open(path, "w:gz") as archive:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return path


def zipped(path, members):
  """A .zip of files, given their bytes by name."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      archive.writestr(name, data)
  return path


def folder(path, members):
  """Files in a folder, given their bytes by name."""
  for name, data in members.items():
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
  return path


def python2_pickle(batch):
  """Pickles a batch of CIFAR as Python 2 did: strings are bytes."""

  def string(value):
    return b"T" + struct.pack("<I", len(value)) + value

  def array(rows):
    dtype = b"cnumpy\ndtype\n" + string(b"u1") + b"K\0K\1\x87R"
    dtype += b"(K\3" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    dtype += b"K\0tb"
    shape = b"".join(b"J" + struct.pack("<i", n) for n in rows.shape)
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    empty += b"K\0\x85" + string(b"b") + b"\x87R"
    state = b"(K\1" + shape + b"\x86" + dtype + b"\x89"
    return empty + state + string(rows.tobytes()) + b"tb"

  data = b"\x80\2}"
  for key, value in batch.items():
    data += string(key.encode())
    if isinstance(value, np.ndarray):
      data += array(value)
    elif isinstance(value, list):
      data += b"](" + b"".join(b"K" + bytes([n]) for n in value) + b"e"
    else:
      data += string(value.encode())
    data += b"s"
  return data + b"."


def cifar_images(rng, count, num_labels):
  """Random images [count, 32, 32, 3] and labels."""
  images = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
  return images, rng.integers(num_labels, size=count).tolist()


def channels_first(images):
  """Images as CIFAR's files have them, [N, 3072]."""
  return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def binary_batch(images, *labels):
  """A batch of CIFAR's binary version, with one or two labels an image."""
  columns = [np.array(part, np.uint8)[:, None] for part in labels]
  return np.concatenate([*columns, channels_first(images)], axis=1).tobytes()


def jpeg_parquet(path, images, labels):
  """A table of JPEG images; returns their pixels, which JPEG changes."""
  encoded, pixels = [], []
  for image in images:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    encoded.append(buffer.getvalue())
    with Image.open(buffer) as decoded:
      pixels.append(np.asarray(decoded.convert("RGB")))
  table = {
    "index": pa.array(range(len(labels)), pa.int32()),
    "label": pa.array(labels, pa.uint8()),
    "jpeg": pa.array(encoded, pa.binary()),
  }
  pq.write_table(pa.table(table), path)
  return np.stack(pixels)


def tsv(rows, header=None):
  """Lines of fields between tabs, as nothing is quoted."""
  lines = [header, *rows] if header else rows
  return "".join("\t".join(map(str, line)) + "\n" for line in lines).encode()


def json_lines(rows):
  """A JSON object a line."""
  return "".join(json.dumps(row) + "\n" for row in rows).encode()


def sentiment140_csv(tweets):
  """Polarity and text of tweets as in Sentiment140's file, in latin-1."""
  buffer = io.StringIO(newline="")
  writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
  for i, (polarity, text) in enumerate(tweets):
    date = "Mon Apr 06 22:19:45 PDT 2009"
    writer.writerow([polarity, 1467810369 + i, date, "NO_QUERY", "me", text])
  return buffer.getvalue().encode("latin-1")


def amazon_line(stars, headline, body, number=0):
  """A review as in Amazon's files."""
  row = ["US", 12190288, f"R{number}", "B00", 875, "A title", "Office", stars]
  return [*row, 0, 0, "N", "Y", headline, body, "2015-08-31"]


def amazon_file(path, lines):
  """A category's file: lists of fields, or lines as they are in bytes."""
  data = tsv([], AMAZON_COLUMNS)
  for line in lines:
    data += line if isinstance(line, bytes) else tsv([line])
  if path.suffix == ".gz":
    data = gzip.compress(data, 1)
  path.write_bytes(data)


def amazon_reviews(rng, count):
  """Stars, headline and body of random reviews, 5 stars the commonest."""
  words = np.array('good bad, "quoted" don\'t 100% <br /> naïve ☕ ok'.split())
  shares = [0.1, 0.1, 0.1, 0.2, 0.5]
  reviews = []
  for stars in (rng.choice(5, size=count, p=shares) + 1).tolist():
    texts = [
      " ".join(rng.choice(words, size=n)) for n in rng.integers(6, size=2)
    ]
    reviews.append((stars, *texts))
  return reviews


def amazon_folder(path, reviews, suffix=".gz"):
  """The eleven files, given the reviews of each category."""
  path.mkdir(parents=True, exist_ok=True)
  for category, rows in reviews.items():
    name = amazon.file_name(category) + suffix
    amazon_file(path / name, [amazon_line(*row) for row in rows])
  return path


def files_below(path: pathlib.Path) -> dict[str, bytes]:
  """The contents of a folder, by relative path."""
  return {
    file.relative_to(path).as_posix(): file.read_bytes()
    for file in sorted(path.rglob("*"))
    if file.is_file()
  }
