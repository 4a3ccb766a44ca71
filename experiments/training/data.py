"""Loads the data of a cell, and checks that models and methods fit them."""

import functools
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

import jax
import numpy as np

from experiments import specs
from experiments.data import load
from experiments.data.dataset import Facts
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.data.tokenizer import load_tokenizer
from experiments.distributed import processes
from experiments.methods import method_named
from experiments.methods.base import loss_statics
from experiments.methods.base import LossSetup
from experiments.methods.base import LossStatics
from experiments.methods.base import Setup
from experiments.training.models import model_fns
from lelp_jax.models import MODELS

_NUM_COMPARED = 64  # Number of texts whose tokens are compared.


def load_splits(
  cell: specs.CellSpec, workdir: pathlib.Path | None = None
) -> Splits:
  """Loads the data of a cell, once for all cells with the same data.

  A user's own files are converted and kept in `workdir`.
  """
  return _load_splits(cell.data, cell.selection, workdir)


@functools.lru_cache(maxsize=2)
def _load_splits(
  data: specs.DataSpec, selection: str, workdir: pathlib.Path | None
) -> Splits:
  # Only one process converts a user's own files.
  return processes.main_first(lambda: load.load(data, selection, workdir))


@functools.lru_cache(maxsize=1024)
def facts_of(
  data: specs.DataSpec, selection: str, workdir: pathlib.Path | None
) -> Facts:
  """Returns the properties of data that determine the amount of work."""
  return _load_splits(data, selection, workdir).facts


def check_tokenizers(
  cell: specs.CellSpec, splits: Splits, workdir: pathlib.Path | None
) -> None:
  """Raises ValueError if a pretrained model uses other tokens than the data.

  The tokenizer in the folder of the weights, if there is one, is applied to
  some texts of the data.
  """
  inputs = splits.train.get("inputs")
  if not isinstance(inputs, Ragged):
    return
  text_of = load.text_of(cell.data, workdir)
  if text_of is None:
    return
  for path, model in (
    ("config.teacher", cell.teacher),
    ("config.student", cell.student),
  ):
    if (
      model.input_field != "inputs"
      or MODELS[model.model].reads != "tokens"
      or model.init in ("random", cell.data.tokenizer)
    ):
      continue
    try:
      own = load_tokenizer(model.init)
    except (FileNotFoundError, ValueError):
      continue  # There is no tokenizer, or the hub cannot be reached.
    for row in range(min(_NUM_COMPARED, len(inputs))):
      text, tokens = text_of(int(splits.train["ids"][row])), inputs[row]
      # Encode with the length of the row, in case the text was cut.
      (expected,) = own.encode([text], max_length=max(3, len(tokens)))
      if not np.array_equal(expected, tokens):
        raise ValueError(
          f"{path}.init={model.init!r} comes with a tokenizer that gives other "
          f"tokens than those of the data, as for the text {text[:60]!r}: set "
          f"config.data.tokenizer={model.init!r}, or prepare the data with it."
        )


def check_tasks(
  cells: Sequence[specs.CellSpec], task_of: Callable[[specs.CellSpec], Task]
) -> None:
  """Raises ValueError if a method needs fine labels that its data lack."""
  firsts = {(cell.data, cell.method): cell for cell in reversed(cells)}
  for cell in firsts.values():
    if not method_named(cell.method).needs_fine_labels:
      continue
    task = task_of(cell)
    if task.fine_to_class is None:
      raise ValueError(
        f"row {cell.row!r} trains method {cell.method!r}, which needs fine "
        f"labels, but data set {task.name!r} has none: leave the row out."
      )


def check_data(cells: Sequence[specs.CellSpec], splits: Splits) -> None:
  """Raises ValueError for cells that do not fit their data or their teacher.

  It finds, before the teacher is trained, the errors that would otherwise stop
  its students. All cells must have the same teacher and data.
  """

  # The thousands of cells of a sweep share a few models and losses.
  @functools.cache
  def width_of(path: str, model: specs.ModelSpec) -> int:
    return _embedding_width(path, model, splits)

  @functools.cache
  def check_learned(
    method: str, statics: LossStatics, student_width: int, teacher_width: int
  ) -> None:
    sizes = {"student_width": student_width, "teacher_width": teacher_width}
    jax.eval_shape(
      lambda key: method_named(method).learned(
        LossSetup(statics=statics, num_examples=1, key=key, **sizes)
      ),
      jax.random.key(0),
    )

  check_tasks(cells, lambda _: splits.task)
  for cell in cells:
    teacher_width = width_of("config.teacher", cell.teacher)
    student_width = width_of("config.student", cell.student)
    facts = splits.facts
    needs_labels = method_named(cell.method).needs_labels
    students = facts.num_labelled if needs_labels else facts.num_transfer
    _check_training("config.teacher", cell.teacher, facts, facts.num_train)
    _check_training("config.student", cell.student, facts, students)
    if cell.teacher.num_coordinates > teacher_width:
      raise ValueError(
        "config.teacher.num_coordinates must be at most the width of the "
        f"teacher's embeddings, {teacher_width}, got "
        f"{cell.teacher.num_coordinates}."
      )
    setup = Setup(cell, splits.task, teacher_width)
    method_named(cell.method).num_subclasses(setup)
    check_learned(cell.method, loss_statics(cell), student_width, teacher_width)


def _check_training(
  path: str, model: specs.ModelSpec, facts: Facts, num_examples: int
) -> None:
  """Raises ValueError if a model cannot be trained on its examples.

  It may augment data that are not images, or the examples fill no batch.
  """
  if facts.task.image_shape is None and model.is_augmented:
    raise ValueError(
      f"{path}.max_shift and {path}.flip augment images, but these data have "
      "no images: set max_shift=0 and flip=False."
    )
  if model.batch_size > num_examples:
    raise ValueError(
      f"{path}.batch_size={model.batch_size} must be at most {num_examples:,}, "
      "the number of training examples."
    )


def _embedding_width(path: str, spec: specs.ModelSpec, splits: Splits) -> int:
  """Returns the width of a model's embeddings, from the shapes of the data.

  Raises ValueError if the model cannot read the data.
  """
  model = model_fns(spec, 1)
  field = spec.input_field
  whole = (splits.train, splits.transfer, splits.validation, splits.test)
  parts = [part[field] for part in whole if field in part]
  if not parts:
    raise ValueError(
      f"{path}.input_field={field!r}, but the data have no such field."
    )
  architecture, are_texts = MODELS[spec.model], isinstance(parts[0], Ragged)
  if are_texts != (architecture.reads == "tokens"):
    raise ValueError(
      f"{path}.model={spec.model!r} cannot read these data: they are "
      f"{'texts' if are_texts else 'not texts'}, but it reads inputs of kind "
      f"{architecture.reads!r}."
    )
  if are_texts:
    shape = (max(part.longest for part in parts),)
    largest = max(int(part.values.max(initial=0)) for part in parts)
    known = architecture.vocab_size(**spec.options)
    if known is not None and largest >= known:
      raise ValueError(
        f"the token id {largest} of the texts is out of range for {path}.model="
        f"{spec.model!r} (vocab_size={known}): use the model's own tokenizer, "
        f"or set {path}.options.vocab_size."
      )
  else:
    shape = parts[0].shape[1:]
  inputs = architecture.input_shapes(1, shape)
  try:
    params, _ = jax.eval_shape(model.init, jax.random.key(0), inputs)
  except (
    ArithmeticError,  # For example from a width of 0.
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
  ) as error:
    raise ValueError(
      f"{path}.model={spec.model!r} cannot read these data, of shape {shape}: "
      f"{error}"
    ) from error
  return model.head(params).kernel.shape[0]
