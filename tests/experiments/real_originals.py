"""Real data in its published form, where LELP_DATA has parts of it."""

import gzip
import pathlib

import numpy as np

from tests.experiments import original_files as files


def lines(path):
  """The fields of a compressed TSV file, read in the plainest way."""
  text = gzip.decompress(path.read_bytes()).decode().rstrip("\n")
  return [line.split("\t") for line in text.split("\n")]


def cifar(data, name, folder) -> pathlib.Path:
  """Writes the exact images as the binary version of cifar10 or cifar100."""
  with np.load(f"{data}/{name}/{name}_exact_subset.npz") as arrays:
    for split in ("train", "test"):
      keys = ("y",) if name == "cifar10" else ("coarse", "fine")
      labels = [arrays[f"{key}_{split}"] for key in keys]
      parts = [f"{split}.bin"]
      if name == "cifar10":
        batches = [f"data_batch_{i}.bin" for i in range(1, 6)]
        parts = batches if split == "train" else ["test_batch.bin"]
      rows = np.array_split(np.arange(len(labels[0])), len(parts))
      for part, chosen in zip(parts, rows, strict=True):
        images = arrays[f"x_{split}"][chosen]
        batch = files.binary_batch(images, *(kind[chosen] for kind in labels))
        files.folder(folder, {part: batch})
  return folder


def sentiment140(data, folder) -> pathlib.Path:
  """Writes the sample of tweets as the published CSV."""
  tweets = lines(pathlib.Path(data, "sentiment140/sample20k.tsv.gz"))[1:]
  name = "training.1600000.processed.noemoticon.csv"
  encoded = [
    (label, text.encode("latin-1", "xmlcharrefreplace").decode("latin-1"))
    for label, text in tweets
  ]
  return files.folder(folder, {name: files.sentiment140_csv(encoded)})
