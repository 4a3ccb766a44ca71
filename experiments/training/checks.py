"""What a stack needs of its data, looked at before its teacher is trained."""

import functools
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from experiments import cells
from experiments.data import load
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.methods import method_named
from experiments.methods.base import Sizes
from experiments.training.cached_outputs import MODES
from experiments.training.recipe import model_fns
from lelp_jax.models import MODELS


def check(configs: Sequence[ConfigDict], splits: Splits) -> None:
  """Raises for what would otherwise fail after the teacher is trained.

  Args:
    configs: The cells of a stack.
    splits: The data.

  Raises:
    ValueError: If a model cannot read the data, or a method has too many
      subclasses, or none, for them.
  """
  widths = [
    _embedding_width(configs[0][role], splits)
    for role in ("teacher", "student")
  ]
  for config in configs:
    method = method_named(config.method)
    method.num_subclasses(config, splits.task, widths[0])
    _check_learned(config, widths)
    if config.teacher.num_coordinates > widths[0]:
      raise ValueError(
        f"config.teacher.num_coordinates must be at most {widths[0]}, the "
        "width of the teacher's embeddings, got "
        f"{config.teacher.num_coordinates}."
      )
  for role in ("teacher", "student"):
    fields = configs[0][role]
    if splits.task.image_shape is None and (fields.max_shift or fields.flip):
      raise ValueError(
        f"config.{role}.max_shift and config.{role}.flip augment images, and "
        "these data have none: set max_shift=0 and flip=False."
      )


def _check_learned(config: ConfigDict, widths: Sequence[int]) -> None:
  """Raises ValueError if a loss cannot be made for embeddings so wide."""
  teacher_width, student_width = widths
  sizes = Sizes(student_width, teacher_width, num_examples=1)
  jax.eval_shape(
    functools.partial(
      method_named(config.method).learned, config.loss.to_dict(), sizes
    ),
    jax.random.key(0),
  )


def check_roles(config: ConfigDict) -> None:
  """Raises ValueError for a teacher or student that the method cannot use.

  Args:
    config: The cell's config.
  """
  if config.method != "subclass" and config.teacher.subclass.num_subclasses > 1:
    raise ValueError(
      f"method {config.method!r} needs a plain teacher: "
      "config.teacher.subclass.num_subclasses must be 1."
    )
  for role in ("teacher", "student"):
    given = config.data.embeddings or config.data.dataset in load.MADE_UP
    if config[role].reads == "embeddings" and not given:
      raise ValueError(
        f'config.{role}.reads="embeddings" needs config.data.embeddings, a '
        "folder that experiments.embed_sentence_t5 wrote."
      )
  if config.mesh.teacher not in ("replicated", "fsdp"):
    raise ValueError(
      'config.mesh.teacher must be "replicated" or "fsdp", got '
      f"{config.mesh.teacher!r}."
    )
  for name in ("num_steps", "num_epochs", "steps_per_chunk"):
    if config.pretraining[name] < 0:
      raise ValueError(
        f"config.pretraining.{name} must be at least 0, got "
        f"{config.pretraining[name]}."
      )
  if not config.pretraining.learning_rate > 0:
    raise ValueError(
      "config.pretraining.learning_rate must be positive, got "
      f"{config.pretraining.learning_rate}."
    )
  for name in ("num_negatives", "contrast_width"):
    if config.loss[name] < 1:
      raise ValueError(
        f"config.loss.{name} must be at least 1, got {config.loss[name]}."
      )
  if config.clustering.scope not in ("per_class", "global"):
    raise ValueError(
      'config.clustering.scope must be "per_class" or "global", got '
      f"{config.clustering.scope!r}."
    )


def check_outputs(config: ConfigDict) -> None:
  """Raises ValueError if a cell cannot learn from a cache of outputs.

  Args:
    config: The cell's config.
  """
  mode, most = config.teacher.outputs, config.teacher.num_coordinates
  name = f'config.teacher.outputs="{mode}"'
  if mode not in MODES:
    raise ValueError(
      f"config.teacher.outputs must be one of {MODES}, got {mode!r}."
    )
  if most < 0:
    raise ValueError(
      f"config.teacher.num_coordinates must be at least 0, got {most}."
    )
  if mode != "inline" and (config.student.max_shift or config.student.flip):
    raise ValueError(
      f"{name} is of clean examples, and the students' are augmented: "
      '"inline" is the only right way with augmentation; or set '
      "config.student.max_shift=0 and config.student.flip=False."
    )
  if mode != "coordinates":
    return
  reads = method_named(config.method).reads(config)
  if reads == "embeddings":
    kind = config.subspace.kind
    which = f" with subspace.kind={kind!r}" if config.method == "lelp" else ""
    raise ValueError(
      f"method {config.method!r}{which} needs the teacher's embeddings, which "
      f'{name} lacks: use "cached" or "inline".'
    )
  size = config.subspace.num_subclasses
  if reads == "coordinates" and most and size > most:
    raise ValueError(
      f"config.subspace.num_subclasses={size} is more than "
      f"config.teacher.num_coordinates={most}: raise that, or set it to 0 for "
      "the largest number of the cells."
    )


def _embedding_width(fields: ConfigDict, splits: Splits) -> int:
  """The width of a model's embeddings of the data, by shapes alone."""
  name, reads = fields.model, fields.reads
  model = model_fns(cells.plain(fields), 1)
  parts = [
    part[reads]
    for part in (splits.train, splits.validation, splits.test)
    if reads in part
  ]
  if not parts:
    raise ValueError(f"model {name!r} reads {reads!r}, and the data have none.")
  architecture = MODELS[name]
  texts = isinstance(parts[0], Ragged)
  if texts != (architecture.reads == "tokens"):
    raise ValueError(
      f"model {name!r} cannot read these data: they are "
      f"{'texts' if texts else 'not texts'}, and it reads an input of kind "
      f"{architecture.reads!r}."
    )
  if texts:
    shape = (max(part.longest for part in parts),)
    most = max(int(part.values.max(initial=0)) for part in parts)
    known = architecture.vocab_size(**fields.options)
    if known is not None and most >= known:
      raise ValueError(
        f"token id {most} of the texts is out of range for model {name!r} "
        f"(vocab_size={known}): give the model's own tokenizer, or set its "
        "option vocab_size."
      )
  else:
    shape = parts[0].shape[1:]
  inputs = architecture.input_shapes(1, shape)
  try:
    params, _ = jax.eval_shape(model.init, jax.random.key(0), inputs)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"model {name!r} cannot read these data, of shape {shape}: {error}"
    ) from error
  return model.head(params).kernel.shape[0]
