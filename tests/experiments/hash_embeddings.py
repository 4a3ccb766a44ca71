"""Embeddings that tests compute from texts by hashing."""

import numpy as np

from experiments.data import embeddings
from experiments.data.embeddings import Corpus
from experiments.data.embeddings import Encoder

WIDTH = 6
PART = 2 * embeddings._BATCHES_PER_PART
TEXTS = [f"text {i}" for i in range(3 * PART + 5)]


def vectors(texts: list[str]) -> np.ndarray:
  """Embeds by hashing; as padding does, a batch changes the last digits."""
  rows = [np.frombuffer(t.encode().ljust(24)[:24], "<u4") for t in texts]
  return np.float32(rows) / 2**32 + np.float32(len(texts) * 1e-6)


def encoder(encode=vectors, **description) -> Encoder:
  return Encoder(encode, WIDTH, 2, {"model": "hash", **description})


def corpus(texts=TEXTS) -> Corpus:
  return Corpus(texts, np.arange(len(texts), dtype=np.int32))
