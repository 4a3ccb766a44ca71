"""Students that `--student` names: model, initial weights and tokenizer.

`static` averages token embeddings and starts from those of the teacher. An
encoder such as `bert` starts from the first layers of the teacher or of a
pretrained encoder. Any other key of `MODELS` starts from random weights, or
from those that the field `init` names. `module:factory` is a model of your own.
"""

import ast
import dataclasses
import importlib
import inspect
import pathlib
import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Container
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.data import tokenizer as tokenizer_lib
from experiments.distillation.teachers import TeacherArrays
from experiments.io import json_files
from experiments.io import students
from experiments.io.folders import new_folder
from experiments.training import pretrained
from lelp_jax.models import Architecture
from lelp_jax.models import from_linen
from lelp_jax.models import ModelFns
from lelp_jax.models import MODELS

# Short names of options.
_ALIASES = {"layers": "num_layers"}
_VOCABULARY = 8000
# Options of `static`, unless the user sets others.
_STATIC = {"features": (256, 256), "dropout_rate": 0.2, "width": 128}
_MOST_TOKENS, _MOST_TOKENS_OF_STATIC = 128, 256  # Maximal length of a text.
# A vocabulary is trained on at most this many texts; more change little.
_MOST_TEXTS = 100_000
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclasses.dataclass(frozen=True)
class StudentChoice:
  """The parsed value of `--student`.

  Attributes:
    text: The value as the user gave it.
    model: A key of `MODELS`, where models of the user's own are registered.
    fields: Options of the model, and `init` if it is set.
  """

  text: str
  model: str
  fields: Mapping[str, Any]

  @property
  def architecture(self) -> Architecture:
    """The description of the model."""
    return MODELS[self.model]

  @property
  def column(self) -> str:
    """A short name that may name a folder."""
    return re.sub(r"\W+", "-", self.model.rpartition(":")[2]).strip("-")


# --- The value of the flag ----------------------------------------------------


def parse(text: str, given: Mapping[str, Any] | None = None) -> StudentChoice:
  """Parses the value of `--student`.

  >>> parse("bert:layers=2").fields
  {'num_layers': 2}
  >>> parse("static:width=64,features=(128, 64)").fields
  {'width': 64, 'features': (128, 64)}

  Args:
    text: NAME or NAME:FIELD=VALUE,...; for a model of the user's own
      MODULE:FACTORY or MODULE:FACTORY:FIELD=VALUE,....
    given: Fields of the config that flags set, by dotted name. The options and
      the initial weights of the student are added to those in `text`.

  Raises:
    ValueError: If there is no such model or field.
  """
  model, _, rest = text.partition(":")
  if model not in MODELS:
    factory, _, rest = rest.partition(":")
    if not factory:
      raise ValueError(
        f"--student must be one of {', '.join(sorted(MODELS))}, or "
        f"MODULE:FACTORY for a model of your own, got {text!r}."
      )
    model = f"{model}:{factory}"
    register_own(model)
  architecture = MODELS[model]
  known = {*architecture.attributes()} - {*architecture.fixed}
  fields: dict[str, Any] = {}
  # Split at the commas outside of brackets.
  for part in filter(None, re.split(r",(?![^(\[]*[)\]])", rest)):
    name, equals, value = (item.strip() for item in part.partition("="))
    name = _ALIASES.get(name, name)
    if not equals or name not in known | {"init"}:
      raise ValueError(
        f"--student={text} has no field {part.strip()!r}: fields of {model} "
        f"are set as NAME=VALUE, and they are {', '.join(sorted(known))}, init."
      )
    fields[name] = _literal(value)
    is_tuple = isinstance(architecture.attributes().get(name), tuple)
    if is_tuple and not isinstance(fields[name], tuple | list):
      raise ValueError(
        f"--student={text}: {name} must be a tuple, such as {name}=(64,), got "
        f"{value}."
      )
  fields |= _given_fields(given or {}, known)
  for name, value in fields.items():
    numbers = value if isinstance(value, tuple | list) else [value]
    if any(isinstance(each, int) and each < 0 for each in numbers):
      raise ValueError(
        f"--student={text}: {name} must not be negative, got {value}."
      )
  try:
    architecture(1, **{k: v for k, v in fields.items() if k != "init"})
  except (TypeError, ValueError) as error:
    raise ValueError(f"--student={text} cannot be built: {error}") from error
  return StudentChoice(text, model, fields)


def _given_fields(
  given: Mapping[str, Any], known: Collection[str]
) -> dict[str, Any]:
  """Returns the options and initial weights of the student that flags set."""
  if "student.model" in given:
    raise ValueError(
      "--config.student.model contradicts --student: set the latter alone."
    )
  fields = {}
  for name, value in given.items():
    option = name.removeprefix("student.options.")
    if option != name and option not in known:
      raise ValueError(
        f"config.{name} is not an option of --student, whose options are "
        f"{', '.join(sorted(known))}."
      )
    if option != name:
      fields[option] = value
    if name == "student.init":
      fields["init"] = value
  return fields


def _literal(text: str) -> Any:
  """Returns the value of a Python literal, or the text itself."""
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text


# --- Models of the user's own -------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class _OwnModel(Architecture):
  """A model that a factory of the user builds."""

  factory: Callable[..., Any] = lambda num_outputs: None

  def __call__(self, num_outputs: int, **options: Any) -> ModelFns:
    made = self.factory(num_outputs, **options)
    is_linen = isinstance(made, nn.Module)
    return from_linen(made, head="head") if is_linen else made

  def attributes(self, **options: Any) -> dict[str, Any]:
    parameters = [*inspect.signature(self.factory).parameters.values()][1:]
    skipped = ("parent", "name") if inspect.isclass(self.factory) else ()
    defaults = {
      parameter.name: parameter.default
      for parameter in parameters
      if parameter.name not in skipped
    }
    return defaults | options

  def weight_attributes(self, **options: Any) -> dict[str, Any]:
    return {"factory": self.factory.__qualname__} | self.attributes(**options)


def register_own(name: str) -> None:
  """Registers a model of the user's own in `MODELS`.

  Args:
    name: MODULE:FACTORY. The factory takes the number of outputs and options
      as keywords, and returns a `ModelFns`, or a Linen module whose last layer
      is called "head". An attribute `reads` of the factory says what the model
      reads, see `Architecture`; the default is "tokens".

  Raises:
    ValueError: If there is no such module or factory.
  """
  module, _, attribute = name.partition(":")
  try:
    factory = getattr(importlib.import_module(module), attribute)
  except (ImportError, AttributeError, ValueError) as error:
    raise ValueError(
      f"--student={name} must be one of {', '.join(sorted(MODELS))}, or "
      f"MODULE:FACTORY that can be imported ({error})."
    ) from error
  if not callable(factory):
    raise ValueError(
      f"--student={name} must be a function that returns a model, got "
      f"{type(factory).__name__}."
    )
  reads: Any = getattr(factory, "reads", "tokens")
  MODELS[name] = _OwnModel(nn.Module, reads, factory=factory)


# --- Weights and tokenizer ----------------------------------------------------


def check_reads(choice: StudentChoice, *, is_text: bool) -> None:
  """Raises ValueError if the student cannot read the data.

  Args:
    choice: The parsed `--student`.
    is_text: Whether the data are texts rather than images.
  """
  unreadable = "image" if is_text else "tokens"
  if choice.architecture.reads == unreadable:
    fitting = [name for name in MODELS if MODELS[name].reads != unreadable]
    raise ValueError(
      f"--student={choice.text} cannot read {'texts' if is_text else 'images'}"
      f": use one of {', '.join(fitting)}."
    )


def prepare(
  choice: StudentChoice,
  teacher: TeacherArrays,
  workdir: pathlib.Path,
  *,
  texts: Callable[[], list[str]] | None,
  tokenizer: str = "",
  given: Container[str] = (),
) -> dict[str, Any]:
  """Finds the initial weights and the tokenizer of a student.

  Args:
    choice: The parsed `--student`.
    teacher: The teacher.
    workdir: Folder in which new weights and a new tokenizer are written.
    texts: Function that returns the training texts; None for images.
    tokenizer: A tokenizer to use; by default that of the initial weights, the
      teacher's, or a new one.
    given: Dotted names of the fields that the user has set and that keep their
      values. Options do not: `parse` has added the user's options, and the
      width may be reduced to that of the initial weights.

  Returns:
    The fields of a config that describe the student, by dotted name.

  Raises:
    FileNotFoundError: If the weights or the tokenizer do not exist.
    ValueError: If the student cannot be made from this teacher or on such
      data.
  """
  model, architecture = choice.model, choice.architecture
  options = {k: v for k, v in choice.fields.items() if k != "init"}
  init = str(choice.fields.get("init") or "")
  reads_embeddings = texts is not None and architecture.reads == "array"
  is_static = architecture.from_token_embeddings is not None
  if texts is None or reads_embeddings:
    tokenizer = ""
  elif architecture.huggingface is not None and init != "random":
    model, init, options = _encoder(choice, teacher, init, options)
    tokenizer = tokenizer or init
  else:
    table = None
    if is_static:
      options = _STATIC | options
      if init in ("", "random") and tokenizer in ("", teacher.tokenizer):
        table = teacher.token_embeddings
    tokenizer = _tokenizer(tokenizer or teacher.tokenizer, workdir, texts)
    if table is not None:
      width = min(table.shape[1], options["width"])
      options |= {"width": width, "vocab_size": len(table)}
      init = _write_static(workdir / "initial", choice, table, options)
    elif "vocab_size" in architecture.attributes():
      known = tokenizer_lib.load_tokenizer(tokenizer).vocab_size
      options = {"vocab_size": known} | options
  fields: dict[str, Any] = {
    "student.model": model,
    "student.init": init or "random",
    "student.input_field": "embeddings" if reads_embeddings else "inputs",
  }
  if tokenizer:
    most = _MOST_TOKENS_OF_STATIC if is_static else _MOST_TOKENS
    length = MODELS[model].max_length(**options) or most
    fields["data.tokenizer"] = tokenizer
    fields["data.max_length"] = min(length, most)
  fields = {name: x for name, x in fields.items() if name not in given}
  return fields | {f"student.options.{k}": x for k, x in options.items()}


def _write_static(
  folder: pathlib.Path,
  choice: StudentChoice,
  table: np.ndarray,
  options: Mapping[str, Any],
) -> str:
  """Writes initial weights with the teacher's token embeddings, reduced.

  The weights have the form of a finished cell. The other layers are empty, so
  that each trial initializes its own. Returns the folder of the weights.
  """
  config = {"student": {"model": choice.model, "options": dict(options)}}
  if (folder / "config.json").is_file():
    saved = json_files.read_json(folder / "config.json")
    if json_files.differences(saved, config):
      raise ValueError(
        f"{folder} holds the initial weights of another student: use another "
        "--workdir."
      )
    return str(folder)
  architecture = choice.architecture
  assert architecture.from_token_embeddings is not None
  params = architecture.from_token_embeddings(
    jnp.asarray(table), architecture.attributes(**options)
  )
  with new_folder(folder) as scratch:
    students.save_student(scratch / "student.msgpack", params, {})
    json_files.write_json(scratch / "config.json", config)
  return str(folder)


def _encoder(
  choice: StudentChoice,
  teacher: TeacherArrays,
  init: str,
  options: dict[str, Any],
) -> tuple[str, str, dict[str, Any]]:
  """Returns model, initial weights and options of a pretrained encoder.

  The initial weights are by default those of the teacher, if it has the same
  architecture, or published ones.
  """
  try:
    if not init and teacher.weights is not None:
      model, _ = pretrained.saved_model(teacher.weights)
      if MODELS[model].module is choice.architecture.module:
        init = teacher.weights
    init = init or choice.architecture.hub_id
    model, saved = pretrained.saved_model(init)
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"--student={choice.text} starts from pretrained weights: {error} Name "
      f"an encoder, --student={choice.model}:layers=2,init=FOLDER, or use "
      "--student=static."
    ) from None
  return model, init, saved | options


def _tokenizer(
  given: str, workdir: pathlib.Path, texts: Callable[[], list[str]]
) -> str:
  """Returns the given tokenizer; trains a new one if none is given."""
  if given:
    return given
  path = workdir / "tokenizer" / "tokenizer.json"
  if not path.is_file():
    path.parent.mkdir(parents=True, exist_ok=True)
    json_files.replace(path, train_tokenizer(texts()))
  return str(path.parent)


def train_tokenizer(texts: list[str], vocab_size: int = _VOCABULARY) -> str:
  """Trains a vocabulary of word pieces, in lower case like that of BERT.

  Args:
    texts: The texts.
    vocab_size: The largest number of pieces.

  Returns:
    The contents of a `tokenizer.json`.
  """
  from tokenizers import models
  from tokenizers import normalizers
  from tokenizers import pre_tokenizers
  from tokenizers import processors
  from tokenizers import Tokenizer
  from tokenizers import trainers

  pieces: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
  pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
  pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  texts = texts[:: -(-len(texts) // _MOST_TEXTS)]
  # The trainer numbers characters inside of words, such as "##a", in the random
  # order of a hash map, and breaks ties by number. As special tokens they get
  # fixed numbers. The tokenizer is then made again, where they are not special.
  characters: set[str] = set()
  for text in texts:
    text = pieces.normalizer.normalize_str(text)
    for word, _ in pieces.pre_tokenizer.pre_tokenize_str(text):
      characters.update(word[1:])
  inner = [f"##{character}" for character in sorted(characters)]
  trainer = trainers.WordPieceTrainer(
    vocab_size=vocab_size,
    special_tokens=[*_SPECIAL, *inner],
    show_progress=False,
  )
  pieces.train_from_iterator(texts, trainer)
  trained: Any = Tokenizer(
    models.WordPiece(pieces.get_vocab(), unk_token="[UNK]")
  )
  trained.normalizer = pieces.normalizer
  trained.pre_tokenizer = pieces.pre_tokenizer
  trained.add_special_tokens([*_SPECIAL])
  trained.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    special_tokens=[
      (name, trained.token_to_id(name)) for name in _SPECIAL[2:4]
    ],
  )
  return trained.to_str(pretty=True)
