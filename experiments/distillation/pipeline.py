"""The steps of `experiments.distill`, from a teacher to a finished student."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence

from ml_collections import ConfigDict

from experiments import results
from experiments import specs
from experiments.configs import validate
from experiments.data import load
from experiments.distillation import candidates
from experiments.distillation import page
from experiments.distillation import student_models
from experiments.distillation import teachers
from experiments.reporting import selection
from experiments.reporting import workdirs
from experiments.reporting.workdirs import SweepResults
from experiments.training import data
from experiments.training import description
from experiments.training import sweep


@dataclasses.dataclass(frozen=True)
class Request:
  """What a user asks for.

  Attributes:
    teacher: --teacher, and so on for the others.
    student: The parsed --student.
    config: The config that flags have set.
    given: Fields of the config that the user has set.
    workdir: Folder of everything.
    finetune_epochs: None unless it is given.
    id_column: Empty unless it is given, and so for the next ones.
    labels: --teacher_labels.
    tokenizer: --tokenizer.
  """

  teacher: str
  student: student_models.Choice
  config: ConfigDict
  given: Collection[str]
  workdir: pathlib.Path
  finetune_epochs: float | None = None
  id_column: str = ""
  labels: Sequence[str] = ()
  tokenizer: str = ""


def distill(request: Request) -> None:
  """Distils a teacher, and leaves the chosen student in the workdir.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
    OSError: If a file is missing or cannot be read, or the disk is full.
    ValueError: If the teacher, the data and the student do not fit together.
  """
  workdir = request.workdir
  spec = validate.converted(request.config).data
  teacher = teachers.prepare_teacher(
    request.teacher,
    spec,
    workdir,
    finetune_epochs=request.finetune_epochs,
    id_column=request.id_column,
    labels=request.labels,
  )
  student = student_models.prepare(
    request.student,
    teacher,
    workdir,
    texts=_texts(spec, workdir) if spec.text_column else None,
    tokenizer=request.tokenizer,
  )
  config, cells = _first_stage(request, teacher, student)
  _tell(f"{len(cells)} settings of {len(config.sweep.methods)} methods")
  found = _trained(config, cells, cells, workdir)
  summaries = selection.summarize(found)
  second = candidates.with_chosen(config, summaries, workdir)
  cells = candidates.expand(second, request.given)
  further = candidates.further_trials(cells)
  found = _trained(second, cells, further, workdir)
  page.write(found, teacher, workdir)


def _texts(
  spec: specs.DataSpec, workdir: pathlib.Path
) -> Callable[[], list[str]]:
  """Returns a function that reads the training texts."""
  plain = dataclasses.replace(spec, tokenizer="", embeddings="")
  return lambda: list(load.open_data(plain, workdir).texts("train"))


def _first_stage(
  request: Request,
  teacher: teachers.TeacherArrays,
  student: student_models.Student,
) -> tuple[ConfigDict, list[specs.CellSpec]]:
  """Returns the config of the first stage, and its cells."""
  make = functools.partial(
    candidates.make_config,
    request.config,
    request.given,
    teacher.overrides(),
    student,
    num_classes=len(teacher.class_names),
    teacher_width=teacher.kernel.shape[0],
  )
  splits = data.load_splits(validate.cell_spec(make(None)), request.workdir)
  config = make(splits.transfer["labels"])
  return config, candidates.expand(config, request.given)


def _trained(
  config: ConfigDict,
  cells: list[specs.CellSpec],
  missing: list[specs.CellSpec],
  workdir: pathlib.Path,
) -> SweepResults:
  """Trains the cells of a stage that are missing, and reads all of them."""
  needed, described = description.described(
    validate.sweep_spec(config),
    cells,
    lambda cell: data.load_splits(cell, workdir).task,
  )
  results.write(workdir, described)
  names = {(cell.row, cell.trial) for cell in needed}
  sweep.run_cells(
    [cell for cell in missing if (cell.row, cell.trial) in names], workdir
  )
  return workdirs.load(workdir, workdir)


def _tell(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
