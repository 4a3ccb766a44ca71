"""Writing embeddings: going on after a kill, to the same files."""

import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from experiments.data.embeddings import open_embeddings
from experiments.data.embeddings_writer import Corpus
from experiments.data.embeddings_writer import write_embeddings
from experiments.distributed.signals import Interrupted
from experiments.distributed.signals import Interrupts
from tests.experiments import hash_embeddings as hashed

_ROOT = pathlib.Path(__file__).parents[3]


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {f.name: f.read_bytes() for f in folder.iterdir()}


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """A finished folder."""
  write_embeddings(tmp_path / "whole", hashed.corpus(), hashed.encoder())
  return tmp_path / "whole"


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_a_failed_run_continues_to_the_same_files(tmp_path, folder, chunks):
  calls = []

  def failing(texts):
    if len(calls) == chunks:
      raise RuntimeError("out of memory")
    calls.append(texts)
    return hashed.vectors(texts)

  with pytest.raises(RuntimeError):
    write_embeddings(tmp_path / "b", hashed.corpus(), hashed.encoder(failing))
  with pytest.raises(FileNotFoundError):
    open_embeddings(tmp_path / "b")

  def counted(texts):
    calls.append(texts)
    return hashed.vectors(texts)

  write_embeddings(tmp_path / "b", hashed.corpus(), hashed.encoder(counted))
  assert [text for texts in calls for text in texts] == hashed.TEXTS
  assert _contents(tmp_path / "b") == _contents(folder)


def test_a_killed_process_continues_to_the_same_files(tmp_path, folder):
  program = """
import os, signal, sys
from experiments.data.embeddings_writer import write_embeddings
from tests.experiments import hash_embeddings as t
calls = []
def kill_at_third(texts):
  calls.append(texts)
  if len(calls) == 3:
    os.kill(os.getpid(), signal.SIGKILL)
  return t.vectors(texts)
write_embeddings(sys.argv[1], t.corpus(), t.encoder(kill_at_third))
"""
  killed = subprocess.run(
    [sys.executable, "-c", program, str(tmp_path / "b")], cwd=_ROOT, check=False
  )
  assert killed.returncode == -signal.SIGKILL
  with (tmp_path / "b" / "embeddings.npy").open("ab") as file:
    file.write(b"a part of a chunk")
  write_embeddings(tmp_path / "b", hashed.corpus(), hashed.encoder())
  assert _contents(tmp_path / "b") == _contents(folder)


def test_a_signal_stops_after_the_chunk(tmp_path, folder):
  signals = Interrupts()

  def signalled(texts):
    signals.requested = "SIGTERM"
    return hashed.vectors(texts)

  with pytest.raises(
    Interrupted, match=f"{hashed.CHUNK} of {len(hashed.TEXTS)}"
  ):
    write_embeddings(
      tmp_path / "b",
      hashed.corpus(),
      hashed.encoder(signalled),
      signals=signals,
    )
  signals.requested = None
  write_embeddings(
    tmp_path / "b", hashed.corpus(), hashed.encoder(), signals=signals
  )
  assert _contents(tmp_path / "b") == _contents(folder)


def test_a_signal_in_the_last_chunk_changes_nothing(tmp_path):
  corpus = hashed.corpus(hashed.TEXTS[: hashed.CHUNK])
  write_embeddings(
    tmp_path, corpus, hashed.encoder(), signals=Interrupts("SIGTERM")
  )
  assert len(open_embeddings(tmp_path).values) == hashed.CHUNK


def _refuse(texts):
  raise AssertionError("nothing is to be computed")


def test_a_finished_folder_is_left_alone(folder):
  before = _contents(folder)
  # As if the process had been killed before its last step.
  (folder / "progress.json").write_text("{}")
  write_embeddings(folder, hashed.corpus(), hashed.encoder(_refuse))
  assert _contents(folder) == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"encoder": hashed.encoder(_refuse, model="other")},
      "encoder.model: saved 'hash'",
    ),
    (
      {"encoder": hashed.encoder(_refuse, revision="b")},
      "encoder.revision: saved nothing",
    ),
    ({"corpus": hashed.corpus(["Other", *hashed.TEXTS[1:]])}, "texts.sha256"),
    (
      {"corpus": Corpus(hashed.TEXTS, np.arange(len(hashed.TEXTS)) + 1)},
      "texts.sha256",
    ),
    ({"corpus": hashed.corpus(hashed.TEXTS[:-1])}, "num_examples: "),
    ({"dtype": "float16"}, "dtype: saved 'float32', now 'float16'"),
  ],
)
def test_another_job_does_not_continue_this_one(
  tmp_path, folder, finished, change, message
):
  arguments = {
    "corpus": hashed.corpus(),
    "encoder": hashed.encoder(_refuse),
    **change,
  }
  output = folder if finished else tmp_path / "part"
  if not finished:
    signals = Interrupts("SIGTERM")
    with pytest.raises(Interrupted):
      write_embeddings(
        output, hashed.corpus(), hashed.encoder(), signals=signals
      )
  before = _contents(output)
  with pytest.raises(ValueError, match=message) as error:
    write_embeddings(output, **arguments)
  assert "--output" in str(error.value)
  assert _contents(output) == before


def test_rows_that_were_lost_are_noticed(tmp_path):
  with pytest.raises(Interrupted):
    write_embeddings(
      tmp_path, hashed.corpus(), hashed.encoder(), signals=Interrupts("SIGTERM")
    )
  file = tmp_path / "embeddings.npy"
  file.write_bytes(file.read_bytes()[:-1])
  with pytest.raises(
    ValueError, match=f"lacks some of the {hashed.CHUNK} embeddings"
  ):
    write_embeddings(tmp_path, hashed.corpus(), hashed.encoder())


def test_an_array_of_another_origin_is_kept(tmp_path):
  np.save(tmp_path / "embeddings.npy", np.ones(3))
  with pytest.raises(ValueError, match="of another origin"):
    write_embeddings(tmp_path, hashed.corpus(), hashed.encoder())
  np.testing.assert_array_equal(
    np.load(tmp_path / "embeddings.npy"), np.ones(3)
  )


@pytest.mark.parametrize(
  ("dtype", "value", "message"),
  [
    ("float32", np.nan, "of text 3 is not finite in float32"),
    ("float16", 1e6, "of text 3 is not finite in float16"),
  ],
)
def test_overflow_is_noticed(tmp_path, dtype, value, message):
  def overflowing(texts):
    return np.where(
      np.array(texts)[:, None] == "text 3", value, hashed.vectors(texts)
    )

  with pytest.raises(ValueError, match=message):
    write_embeddings(
      tmp_path, hashed.corpus(), hashed.encoder(overflowing), dtype=dtype
    )


def test_the_encoder_and_the_texts_are_checked(tmp_path):
  with pytest.raises(ValueError, match=rf"must return \[{hashed.CHUNK}, 6\]"):
    write_embeddings(
      tmp_path / "a",
      hashed.corpus(),
      hashed.encoder(lambda texts: hashed.vectors(texts)[1:]),
    )
  with pytest.raises(ValueError, match="no texts to embed"):
    write_embeddings(tmp_path / "b", hashed.corpus([]), hashed.encoder())
  assert not (tmp_path / "b").exists()
