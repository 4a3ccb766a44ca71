"""A table of short reviews, and the arrays of a made-up teacher of it."""

import pathlib

import numpy as np

WORDS = {
  "good": "great fine superb lovely warm".split(),
  "bad": "awful dull weak cold poor".split(),
}
WIDTH = 6


def write_table(path: pathlib.Path, num_rows: int = 60, **columns) -> list[str]:
  """Writes a CSV file of texts and labels; returns the labels.

  Args:
    path: The file.
    num_rows: Number of rows.
    **columns: More columns.
  """
  rng = np.random.default_rng(0)
  labels = [sorted(WORDS)[i % 2] for i in range(num_rows)]
  lines = [",".join(["text", "label", *columns])]
  for row, label in enumerate(labels):
    text = " ".join(rng.choice(WORDS[label], 4)) + f" film {row}"
    more = [str(values[row]) for values in columns.values()]
    lines.append(",".join([text, label, *more]))
  path.write_text("\n".join(lines) + "\n")
  return labels


def outputs(labels: list[str], seed: int = 1) -> dict[str, np.ndarray]:
  """Returns embeddings, logits and head of a good teacher of these labels."""
  rng = np.random.default_rng(seed)
  names = sorted(set(labels))
  numbers = np.array([names.index(label) for label in labels])
  kernel = rng.standard_normal([WIDTH, len(names)])
  embeddings = rng.standard_normal([len(labels), WIDTH])
  embeddings += 3 * (kernel.T - kernel.mean(axis=1))[numbers]
  bias = 0.3 * rng.standard_normal(len(names)) + 1
  return {
    "embeddings": embeddings.astype(np.float32),
    "logits": (embeddings @ kernel + bias).astype(np.float32),
    "head_kernel": kernel.astype(np.float32),
    "head_bias": bias.astype(np.float32),
  }


def write_arrays(folder: pathlib.Path, arrays) -> pathlib.Path:
  """Writes arrays by name into a new folder."""
  folder.mkdir()
  for name, array in arrays.items():
    np.save(folder / f"{name}.npy", array)
  return folder
