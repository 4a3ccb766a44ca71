"""Committed results: they are read by the report, and a trial is repeated."""

import os
import pathlib
import subprocess
import sys

import pytest

from experiments import results
from experiments.data import prepare
from experiments.data.tokenizer import load_tokenizer
from experiments.io import packed
from experiments.reduce_vocabulary import reduce_vocabulary
from experiments.reporting import workdirs

_COMMITTED = pathlib.Path(__file__).parents[2] / "experiments/results"
_FILES = sorted(_COMMITTED.glob("*.parquet"))


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_every_committed_file_is_a_finished_sweep(path, tmp_path):
  found = workdirs.load(packed.unpack(path, tmp_path / "run"), tmp_path)
  assert found.num_missing == 0
  assert not found.is_smoke
  # The method that others are compared with, and at least one other.
  assert {"vanilla"} < {method.id for method in found.methods}


@pytest.fixture(scope="module")
def published():
  """Folders of CLINC150 and of all-MiniLM-L6-v2."""
  data, weights = (os.environ.get(n) for n in ("LELP_DATA", "LELP_MINILM"))
  if not data or not weights:
    pytest.skip("LELP_DATA and LELP_MINILM name no data and no weights.")
  return pathlib.Path(data) / "clinc150", pathlib.Path(weights)


@pytest.mark.slow
def test_a_committed_trial_is_repeated_within_one_point(published, tmp_path):
  """Trains a teacher and LELP's first trial again: 15 % of CLINC150 parity."""
  source, weights = published
  path = packed.unpack(_COMMITTED / "clinc-parity-15.parquet", tmp_path / "old")
  found = workdirs.load(path, tmp_path)
  (first, *_) = found.summaries["t0", "lelp"].cells
  reduced = tmp_path / "minilm"
  for folder, tokenizer in (("whole", weights), ("reduced", reduced)):
    prepare.prepare(
      "clinc_parity",
      data_dir=tmp_path / folder,
      source=source,
      tokenization=prepare.Tokenization(load_tokenizer(tokenizer)),
    )
    if folder == "whole":
      reduce_vocabulary(weights, tmp_path / "whole/clinc_parity", reduced)
  config = f"share=15,teachers=1,grid=chosen,encoder={reduced}"
  # In a process of its own, as it was: this one has eight devices on two cores.
  strict = ("JAX_", "XLA_")
  subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.sweep",
      f"--workdir={tmp_path / 'new'}",
      f"--config=experiments/configs/results/clinc.py:{config}",
      f"--config.data.data_dir={tmp_path / 'reduced'}",
      "--config.sweep.num_trials=1",
      "--only=t0/lelp",
    ],
    cwd=_COMMITTED.parents[1],
    env={k: v for k, v in os.environ.items() if not k.startswith(strict)},
    check=True,
  )
  (again,) = (
    results.read(file.parent, results.CellResult)
    for file in tmp_path.glob("new/cells/t0/lelp/*/trial0/result.json")
  )
  difference = again.test.accuracy - first.test.accuracy
  assert abs(difference) <= 0.01, f"{100 * difference:+.2f} points"
