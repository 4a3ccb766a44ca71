"""Folders of checkpoints, and unfinished runs with other settings."""

import numpy as np
import pytest

from experiments import identity
from experiments.io import checkpoints
from experiments.io.json_files import write_json
from experiments.training import resuming
from tests.experiments import tiny


@pytest.mark.parametrize("is_first_elsewhere", [True, False])
def test_checkpoints_in_another_folder_are_refused(
  tmp_path, is_first_elsewhere
):
  held, far = tmp_path / "checkpoints/abc", tmp_path / "far/abc"
  first, second = (far, None) if is_first_elsewhere else (None, far)
  folder = resuming.checkpoint_folder(held, first)
  # Nothing is saved yet: any folder will do.
  resuming.checkpoint_folder(held, second)
  assert folder == resuming.checkpoint_folder(held, first)
  with checkpoints.Checkpoints(folder, fingerprint={}) as saved:
    saved.save(4, {"step": np.arange(4)})
  flag = f"--checkpoint_dir={far.parent}" if first else "no --checkpoint_dir"
  for other in (second, tmp_path / "third/abc"):
    with pytest.raises(ValueError, match=flag) as caught:
      resuming.checkpoint_folder(held, other)
    assert f"step 4 in {folder}" in str(caught.value)
    assert str(other or held) in str(caught.value)
  assert resuming.checkpoint_folder(held, first) == folder
  resuming.forget_checkpoint_folder(held)
  assert not (held / "states.json").exists()


def test_unfinished_runs_of_a_row_are_found(tmp_path):
  def begin(**changes):
    other = tiny.cell(**changes)
    folder = identity.cell_directory(tmp_path, other)
    write_json(folder / "config.json", other)
    return folder

  cell = tiny.cell()
  begin()
  begin(row="mine")
  begin(column="split1")
  assert resuming.unfinished(cell, tmp_path) == []
  found = [begin(trial=3), begin(student__batch_size=32)]
  assert resuming.unfinished(cell, tmp_path) == sorted(found)
  write_json(found[0] / "result.json", {})
  assert resuming.unfinished(cell, tmp_path) == found[1:]
  # The command of a sweep continues all of its cells.
  write_json(tmp_path / "sweep.json", {})
  assert resuming.unfinished(cell, tmp_path) == []
