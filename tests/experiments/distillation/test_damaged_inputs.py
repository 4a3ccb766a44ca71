"""Damaged arrays and tables: one line of error, and nothing is executed."""

import contextlib
import io
import pathlib
import tempfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments import cli
from experiments.distillation import diagnosis
from experiments.distillation import pipeline
from experiments.distillation import student_models
from experiments.distillation import teachers
from tests.experiments.distillation import recorded
from tests.experiments.distillation import requests
from tests.experiments.distillation.damage import damaged
from tests.experiments.distillation.damage import EDITS
from tests.experiments.distillation.damage import quick

NUM_ROWS = 40


class Touch:
  """An object whose pickle creates a file when it is read."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (pathlib.Path(self.path),)


def written(array, **options):
  """The bytes of an .npy file."""
  sink = io.BytesIO()
  np.save(sink, array, **options)
  return sink.getvalue()


@pytest.fixture(name="originals", scope="module")
def valid_files(tmp_path_factory):
  """A table and the arrays of its teacher, by file name."""
  folder = tmp_path_factory.mktemp("originals")
  labels = recorded.write_table(folder / "reviews.csv", NUM_ROWS)
  arrays = {
    f"{name}.npy": written(array)
    for name, array in recorded.outputs(labels).items()
  }
  objects = np.array([Touch(folder / "executed")] * NUM_ROWS, object)
  yield {
    "reviews.csv": (folder / "reviews.csv").read_bytes(),
    **arrays,
    "labels.json": b'["bad", "good"]',
    # In the place of logits.npy.
    "objects.npy": written(objects, allow_pickle=True),
  }
  assert not (folder / "executed").exists()


def check_damaged(originals, name, edits):
  """Damages one file, and reads all as distill and diagnose do.

  Returns the error, "" if there is none.
  """
  place = "logits.npy" if name == "objects.npy" else name
  files = originals | {place: damaged(originals[name], edits)}
  with tempfile.TemporaryDirectory() as root:
    folder = pathlib.Path(root)
    (folder / "teacher").mkdir()
    for file, content in files.items():
      if file != "objects.npy":
        (folder / "teacher" / file).write_bytes(content)
    table = folder / "teacher" / "reviews.csv"
    request = requests.request(folder, train=str(table))
    printed = io.StringIO()
    try:
      with (
        contextlib.redirect_stderr(printed),
        np.errstate(all="ignore"),
        cli.reported(),
      ):
        examine(request)
    except SystemExit:
      before, _, message = printed.getvalue().rpartition("error: ")
      assert "Traceback" not in before
      assert message.endswith("\n")
      assert message[:-1].isprintable()
      return message
    return ""


def examine(request):
  """Does what comes before the training of a student."""
  teacher = teachers.prepare_teacher(
    request.teacher, request.data, request.workdir
  )
  diagnosis.diagnose(teacher, request.data, request.workdir)
  student_models.prepare(
    request.student,
    teacher,
    request.workdir,
    texts=pipeline.texts_of(request.data, request.workdir),
  )


def test_intact_files_are_read_and_objects_are_not(originals):
  found = {name: check_damaged(originals, name, []) for name in originals}
  assert "Python objects" in found.pop("objects.npy")
  assert not any(found.values())


@pytest.mark.parametrize(
  "num_examples", [50, pytest.param(2000, marks=pytest.mark.slow)]
)
def test_damaged_files_give_one_line(originals, num_examples):
  @quick(num_examples)
  @hypothesis.given(st.sampled_from([*originals]), EDITS)
  def check(name, edits):
    check_damaged(originals, name, edits)

  check()
