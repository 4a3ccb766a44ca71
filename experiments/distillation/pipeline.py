"""The steps of `experiments.distill`, from a teacher to a finished student."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments import cells as cells_lib
from experiments import search
from experiments import specs
from experiments.configs import candidates
from experiments.configs import validate
from experiments.data import load
from experiments.data.tokenizer import load_tokenizer
from experiments.distillation import artifacts
from experiments.distillation import diagnosis
from experiments.distillation import diagnosis_page
from experiments.distillation import flags
from experiments.distillation import page
from experiments.distillation import student_models
from experiments.distillation import teachers
from experiments.distillation import verdict
from experiments.distributed import signals
from experiments.io import json_files
from experiments.io import students
from experiments.reporting import owner
from experiments.reporting import workdirs
from experiments.reporting.selection import SweepResults
from experiments.training import data
from experiments.training import sweep
from experiments.training.models import Weights

_RECORD = "distill.json"
# The folders that the steps before training write.
_BEFORE_TRAINING = ("data", "teacher", "diagnosis", "initial", "tokenizer")
_WIDTH = 100  # Columns of the terminal that tables may use.


@dataclasses.dataclass(frozen=True)
class Request:
  """The request of a user: the flags of `experiments.distill`.

  Attributes:
    teacher: Value of --teacher.
    student: Parsed value of --student.
    fields: Fields of the config that any flag has set, by dotted name.
    given: The fields among them that --config.FIELD=VALUE has set.
    workdir: Folder that everything is written to.
    finetune_epochs: Value of --finetune_epochs; None if it is not set.
    id_column: Value of --id_column; empty if it is not set.
    labels: Values of --teacher_labels; empty if it is not set.
    tokenizer: Value of --tokenizer; empty if it is not set.
    export: Value of --export; empty if it is not set.
  """

  teacher: str
  student: student_models.StudentChoice
  fields: Mapping[str, Any]
  given: Mapping[str, Any]
  workdir: pathlib.Path
  finetune_epochs: float | None = None
  id_column: str = ""
  labels: Sequence[str] = ()
  tokenizer: str = ""
  export: str = ""

  @functools.cached_property
  def data(self) -> specs.DataSpec:
    """`config.data`, with the digest of the contents of the files."""
    spec = candidates.own_cell(self.fields).data
    return dataclasses.replace(spec, contents=load.contents(spec))

  def plain(self) -> dict[str, Any]:
    """Returns everything that the training depends on, for `write_json`."""
    return {
      "teacher": self.teacher,
      "student": self.student.text,
      "tokenizer": self.tokenizer,
      "finetune_epochs": self.finetune_epochs,
      "id_column": self.id_column,
      "teacher_labels": list(self.labels),
      "data": self.data,
      **{f"config.{name}": value for name, value in self.given.items()},
    }


def distill(request: Request) -> str:
  """Distils a teacher, and leaves the chosen student in the workdir.

  A finished workdir is not trained again. With another `export`, it only gets
  another exported student, and a report with that student's scores.

  Args:
    request: The flags of the command.

  Returns:
    The summary to print.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
    OSError: If a file is missing or cannot be read, or the disk is full.
    ValueError: If the teacher, the data and the student do not fit together,
      or the workdir belongs to another request.
  """
  asked = request.plain()
  record = _read_record(request.workdir, asked)
  if record.get("summary") and record.get("export", "") == request.export:
    return record["summary"]
  with signals.deferred():
    return _distill(request, asked, record.get("is_trained", False))


def _distill(
  request: Request, asked: Mapping[str, Any], is_trained: bool
) -> str:
  """Takes every step of a distillation that is not finished yet."""
  workdir = request.workdir
  with teachers.undone_on_error(workdir, _BEFORE_TRAINING):
    teacher, student = _prepared(request)
    kept = f"the teacher's outputs are in {teacher.folder}"
    signals.stop_if_asked(kept)
    findings = diagnosis.diagnose(teacher, request.data, workdir)
    diagnosis_page.write_page(findings, workdir / "diagnosis")
    _tell(diagnosis_page.summary(findings, _WIDTH) + "\n")
    signals.stop_if_asked(kept)
    sweep_spec, cells = _cells(request, teacher, student)
    splits = data.load_splits(cells[0], workdir)
    data.check_data(cells, splits)
  done = {"asked": asked, "is_trained": is_trained}
  json_files.write_json(workdir / _RECORD, done)
  if not is_trained:
    _train(sweep_spec, cells, workdir)
    done["is_trained"] = True
    json_files.write_json(workdir / _RECORD, done)
  found = workdirs.load(workdir, workdir)
  if found.num_missing:
    raise ValueError(
      f"--workdir={workdir} has lost {found.num_missing} of its trials: use a "
      "new folder."
    )
  exported = _export(found, teacher, workdir, request.export)
  summary = page.write(found, exported, teacher, findings, workdir)
  done |= {"export": request.export, "summary": summary}
  json_files.write_json(workdir / _RECORD, done)
  return summary


def _train(
  spec: specs.SweepSpec, cells: Sequence[specs.CellSpec], workdir: pathlib.Path
) -> None:
  """Trains every setting, then the trials of each method's best one."""
  first = search.first_stage(spec, cells)
  rows = len({cell.row for cell in cells})
  _tell(
    f"Training {len(first)} settings of {rows} methods, then "
    f"{spec.num_trials} trials of each method's best setting on held-out "
    f"data, {cells[0].student.num_steps:,} steps each, into {workdir}. You can "
    "interrupt it at any time; the same command continues."
  )
  search.run(
    spec,
    cells,
    lambda cell: data.load_splits(cell, workdir).task,
    workdir,
    lambda part, _, later: sweep.run_cells(part, workdir, later=later),
  )


# --- The record of a request --------------------------------------------------


def _read_record(
  workdir: pathlib.Path, asked: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the record of the same request; {} if the workdir has none.

  Raises ValueError if the workdir belongs to another command.
  """
  path = workdir / _RECORD
  if not path.is_file():
    if workdirs.is_workdir(workdir):
      raise ValueError(
        f"--workdir={workdir} holds the results of another command: use a new "
        "folder."
      )
    return {}
  record = json_files.read_json(path)
  found = record.get("asked", {})
  changes = json_files.differences(found, json_files.plain(asked))
  if changes:
    raise ValueError(
      f"--workdir={workdir} belongs to another command: {'; '.join(changes)}. "
      "Use a new folder, or repeat that command."
    )
  return record


# --- Teacher, student and cells -----------------------------------------------


def _prepared(
  request: Request,
) -> tuple[teachers.TeacherArrays, dict[str, Any]]:
  """Prepares the teacher, and returns it with the fields of the student."""
  spec = request.data
  if request.tokenizer:  # Fail before the long steps.
    with flags.named("tokenizer"):
      load_tokenizer(request.tokenizer)
  student_models.check_reads(request.student, is_text=bool(spec.text_column))
  teacher = teachers.prepare_teacher(
    request.teacher,
    spec,
    request.workdir,
    finetune_epochs=request.finetune_epochs,
    id_column=request.id_column,
    labels=request.labels,
    given=request.given,
  )
  student = student_models.prepare(
    request.student,
    teacher,
    request.workdir,
    texts=texts_of(spec, request.workdir) if spec.text_column else None,
    tokenizer=request.tokenizer,
    given=request.given,
  )
  return teacher, student


def texts_of(
  spec: specs.DataSpec, workdir: pathlib.Path
) -> Callable[[], list[str]]:
  """Returns a function that reads the training texts of prepared data."""
  plain = dataclasses.replace(spec, tokenizer="", embeddings="")

  def read() -> list[str]:
    prepared = load.open_data(plain, workdir)
    names = [
      name for name in prepared.splits if name not in ("test", "validation")
    ]
    return [text for name in names for text in prepared.texts(name)]

  return read


def _cells(
  request: Request,
  teacher: teachers.TeacherArrays,
  student: Mapping[str, Any],
) -> tuple[specs.SweepSpec, list[specs.CellSpec]]:
  """Returns the sweep and its cells."""
  values = {
    # Trials share the order of the batches, so that they train together.
    "data.shared_batch_order": True,
    **request.fields,
    **teacher.overrides(),
    **student,
  }
  first = validate.cell_spec(candidates.own_config(values))
  config = candidates.sweep_config(
    values,
    data.load_splits(first, request.workdir).transfer["labels"],
    column=request.student.column,
    num_classes=len(teacher.class_names),
    teacher_width=teacher.kernel.shape[0],
    given=request.given,
  )
  return validate.sweep_spec(config), cells_lib.expand(config, request.given)


# --- Export -----------------------------------------------------------------


def _export(
  found: SweepResults,
  teacher: teachers.TeacherArrays,
  workdir: pathlib.Path,
  method: str,
) -> owner.Exported:
  """Exports the student that held-out data choose to `student/`.

  Args:
    found: The finished trials of the chosen setting of each method.
    teacher: The teacher.
    workdir: Folder of the run.
    method: The method to choose from; "" chooses from all.
  """
  chosen = verdict.chosen_cell(found, method)
  folder = workdir / chosen.folder
  cell = specs.from_plain(json_files.read_json(folder / "config.json"))
  splits = data.load_splits(cell, workdir)
  _tell(f"Exporting the student of {folder} to {workdir / 'student'}.")
  test = artifacts.export_student(
    workdir / "student",
    cell=cell,
    weights=Weights(*students.load_student(folder / "student.msgpack")),
    splits=splits,
    card=page.card(found, chosen, teacher, splits),
  )
  # Calibration changes predictions only at ties, so this agreement is the same.
  test = dataclasses.replace(test, agreement=chosen.test.agreement)
  return owner.Exported(chosen, test)


def _tell(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
