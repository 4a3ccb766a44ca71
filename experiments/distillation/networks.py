"""Teachers that are run on the data: models of transformers, and finished runs.

A model without a classifier, such as a sentence encoder, is fine-tuned on the
labels first.
"""

import contextlib
import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments import specs
from experiments.configs import candidates
from experiments.configs import validate
from experiments.data import load
from experiments.data.dataset import Ragged
from experiments.data.prepared import Prepared
from experiments.data.prepared import read_manifest
from experiments.data.tokenizer import load_tokenizer
from experiments.distillation import flags
from experiments.io import json_files
from experiments.training import pretrained
from experiments.training import teacher as teacher_lib
from experiments.training.inference import FrozenModel
from experiments.training.models import model_fns
from experiments.training.models import Weights
from lelp_jax.models import MODELS

_BATCH_SIZE, _BATCHES_PER_PART = 64, 16
_NUM_SAMPLED = 500  # Texts that the share of cut texts is estimated from.
# Defaults for the fine-tuning of an encoder without a classifier.
_FINETUNING = {
  "batch_size": 32,
  "learning_rate": 5e-5,
  "schedule": "cosine",
  "steps_per_chunk": 250,
}


# A model that is used without training.
_SPEC = specs.ModelSpec(
  init_head="pretrained",
  num_steps=0,
  batch_size=_BATCH_SIZE,
  eval_batch_size=_BATCH_SIZE,
)


@dataclasses.dataclass(frozen=True)
class Network:
  """A teacher that can be run on examples.

  Attributes:
    name: Its folder or hub id, as the user gave it.
    spec: The model.
    weights: Its weights.
    labels: Names of its outputs; empty if they are unknown.
    tokenizer: Folder or hub id of its tokenizer, "" for images.
    max_length: Texts are cut after this many tokens.
    digest: SHA-256 of its weights.
    weights_from: Folder or hub id of weights that transformers saved, from
      which students can take layers; None if there are none.
  """

  name: str
  spec: specs.ModelSpec
  weights: Weights
  labels: tuple[str, ...]
  tokenizer: str
  max_length: int
  digest: str
  weights_from: str | None

  @property
  def num_parameters(self) -> int:
    """Number of its parameters."""
    return sum(x.size for x in jax.tree.leaves(self.weights.params))

  @functools.cached_property
  def head(self) -> tuple[np.ndarray, np.ndarray]:
    """Kernel ``[D, C]`` and bias ``[C]`` of its last layer, with C at least 2.

    A single sigmoid output becomes the second of two classes.
    """
    kernel, bias = model_fns(self.spec, 1).head(self.weights.params)
    if bias is None:
      bias = jnp.zeros(kernel.shape[1])
    if kernel.shape[1] == 1:
      kernel, bias = lelp_jax.binary_head(kernel, bias)
    return np.asarray(kernel, np.float32), np.asarray(bias, np.float32)

  @property
  def token_embeddings(self) -> np.ndarray | None:
    """Its table of token embeddings ``[V, D]``; None if it has none."""
    table = pretrained.token_embeddings(self.weights.params)
    return None if table is None else np.asarray(table)


def huggingface(
  name: str,
  data: specs.DataSpec,
  workdir: pathlib.Path,
  finetune_epochs: float | None,
  training: Mapping[str, Any],
) -> Network:
  """Opens a model of transformers; fine-tunes one without a classifier.

  `training` holds the fields of the fine-tuning that the user has set.

  Raises ValueError if the model cannot be the teacher, or if it has no
  classifier and `finetune_epochs` is not set.
  """
  with flags.named("teacher"):
    found = pretrained.huggingface_model(name)
  multi_label = found.problem_type.startswith("multi_label")
  if found.problem_type == "regression" or (
    multi_label and found.num_outputs != 1
  ):
    raise ValueError(
      f"{name} is a model of {found.problem_type.replace('_', ' ')}: a teacher "
      "has to predict one class per example."
    )
  load_tokenizer(name)  # Fail before any work if there is no tokenizer.
  spec = dataclasses.replace(
    _SPEC, model=found.model, options=found.options, init=name
  )
  max_length = _max_length(spec, data)
  if found.num_outputs is None:
    if not finetune_epochs:
      raise ValueError(
        f"{name} is an encoder without a classifier: set --finetune_epochs, "
        "such as --finetune_epochs=3, to train one on the labels first."
      )
    length = {"num_epochs": float(finetune_epochs), "num_steps": 0}
    settings = {**_FINETUNING, **training, **length}
    return _finetuned(name, spec, data, workdir, settings, max_length)
  if finetune_epochs:
    raise ValueError(
      f"--finetune_epochs is for an encoder without a classifier, and {name} "
      f"has one with {found.num_outputs} outputs: leave the flag out."
    )
  start = pretrained.load_pretrained(name, found.model, found.options)
  return Network(
    name,
    spec,
    Weights(start.params, start.model_state),
    found.class_names,
    name,
    max_length,
    start.digest,
    name,
  )


def _finetuned(
  name: str,
  spec: specs.ModelSpec,
  data: specs.DataSpec,
  workdir: pathlib.Path,
  settings: Mapping[str, Any],
  max_length: int,
) -> Network:
  """Trains an encoder with a new head on the training examples."""
  # The data with the teacher's tokens are prepared under a name of their own.
  data = dataclasses.replace(
    data, dataset="teacher", tokenizer=name, max_length=max_length
  )
  cell = _cell(data, spec, settings)
  splits = load.load(cell.data, cell.selection, workdir)
  trained = teacher_lib.load_or_train(cell, splits, workdir / "teachers")
  weights = jax.tree.map(np.asarray, trained.weights)
  return Network(
    name,
    spec,
    weights,
    splits.task.class_names,
    name,
    max_length,
    trained.parameters_sha256,
    name,
  )


def _cell(
  data: specs.DataSpec, spec: specs.ModelSpec, settings: Mapping[str, Any]
) -> specs.CellSpec:
  """Returns a cell whose teacher is an encoder to be fine-tuned."""
  teacher = {
    **settings,
    "model": spec.model,
    "init": spec.init,
    "eval_batch_size": _BATCH_SIZE,
    **{f"options.{name}": value for name, value in spec.options.items()},
  }
  fields = {f"teacher.{name}": value for name, value in teacher.items()}
  cell = specs.replace(candidates.own_cell({"method": "standard"}), fields)
  (cell,) = validate.completed([dataclasses.replace(cell, data=data)])
  validate.check_cell(cell)
  return cell


def teacher_of_run(folder: pathlib.Path) -> specs.TeacherSpec:
  """Returns the model and the training of the teacher of a finished run.

  Args:
    folder: The folder of the teacher: `teachers/<digest>` of a run.
  """
  config = json_files.read_json(folder / "config.json")
  # Fields that do not affect the teacher are not saved.
  fields = json_files.plain(specs.TeacherSpec()) | config["teacher"]
  return specs.from_plain(fields, specs.TeacherSpec, "config.teacher")


def finished_run(
  name: str, folder: pathlib.Path, data: specs.DataSpec
) -> Network:
  """Opens the teacher of a finished run.

  Args:
    name: Its folder, as the user gave it.
    folder: The folder of the teacher: `teachers/<digest>` of a run.
    data: `config.data`.
  """
  teacher = teacher_of_run(folder)
  if teacher.input_field != "inputs":
    raise ValueError(
      f"the teacher in {folder} reads precomputed embeddings, so that it "
      "cannot be run on other data: give the arrays that it was made from."
    )
  if teacher.subclass.num_subclasses > 1:
    raise ValueError(
      f"the teacher in {folder} predicts subclasses, as Subclass Distillation "
      "needs them: give a teacher that predicts classes."
    )
  spec = dataclasses.replace(
    _SPEC, model=teacher.model, options=teacher.options, init=str(folder)
  )
  start = pretrained.load_pretrained(spec.init, spec.model, spec.options)
  saved = json_files.read_json(folder / "config.json")["data"]
  tokenizer, max_length = "", 0
  if MODELS[spec.model].reads == "tokens":
    named = (saved.get("tokenizer"), teacher.init)
    tokenizer, max_length = _tokenizer(folder, named), _max_length(spec, data)
  return Network(
    name,
    spec,
    Weights(start.params, start.model_state),
    _class_names(folder, saved["dataset"]),
    tokenizer,
    max_length,
    start.digest,
    None,
  )


def _tokenizer(folder: pathlib.Path, names: Sequence[str | None]) -> str:
  """Returns the tokenizer of the teacher of a finished run.

  It is the first that exists among some names and the tokenizers that the
  configs of the teacher's students name.
  """
  named = [*names]
  for path in sorted(folder.parents[1].glob("cells/*/*/*/*/config.json")):
    named.append(json_files.read_json(path)["data"]["tokenizer"])
  for name in dict.fromkeys(named):
    if name and name != "random":
      with contextlib.suppress(FileNotFoundError, ValueError):
        load_tokenizer(name)
        return name
  raise ValueError(
    f"the tokenizer of the teacher in {folder} cannot be found where its run "
    "had it: put it back, or give the weights with their tokenizer in one "
    "folder."
  )


def _class_names(folder: pathlib.Path, dataset: str) -> tuple[str, ...]:
  """Returns the class names of a run's prepared data; empty without them."""
  try:
    manifest = read_manifest(folder.parents[1] / "data" / dataset)
  except FileNotFoundError:
    return ()
  return tuple(manifest["task"]["class_names"])


def _max_length(spec: specs.ModelSpec, data: specs.DataSpec) -> int:
  """Returns how many tokens of a text a model reads."""
  longest = MODELS[spec.model].max_length(**spec.options)
  return min(data.max_length, longest or data.max_length)


class Runner:
  """Runs a network on the examples of a prepared data set, by their ids.

  Attributes:
    bounds: The first example of each part that is computed at once, and N.
      Each part lies in one split. The last part of a split includes a remainder
      that is smaller than a batch.
  """

  def __init__(self, network: Network, prepared: Prepared):
    """Divides the examples into parts.

    Raises ValueError if the network cannot read the examples.
    """
    is_text = prepared.task.image_shape is None
    reads, found = (
      "texts" if each else "images"
      for each in (MODELS[network.spec.model].reads == "tokens", is_text)
    )
    if reads != found:
      raise ValueError(
        f"the teacher {network.name} reads {reads}, and the data are {found}."
      )
    self._max_length = network.max_length
    self._prepared = prepared
    self._tokenizer = load_tokenizer(network.tokenizer) if is_text else None
    self._model = FrozenModel(
      network.spec, network.weights, prepared.task.scale
    )
    # Number of examples and seconds of each computed part.
    self._times: list[tuple[int, float]] = []
    # Split and rows of each part, by its first example.
    self._parts: dict[int, tuple[str, range]] = {}
    first, step = 0, _BATCHES_PER_PART * _BATCH_SIZE
    for split, arrays in prepared.splits.items():
      size = len(arrays["labels"])
      cuts = (0, *range(step, size - _BATCH_SIZE + 1, step), size)
      for start, stop in itertools.pairwise(cuts):
        self._parts[first + start] = split, range(start, stop)
      first += size
    self.bounds = (*self._parts, first)

  @property
  def share_cut(self) -> float:
    """The share of a sample of texts that the maximal length cuts off."""
    if self._tokenizer is None:
      return 0.0
    texts = self._prepared.texts("train")
    step = max(1, len(texts) // _NUM_SAMPLED)
    sample = [texts[row] for row in range(0, len(texts), step)]
    rows = self._tokenizer.encode(sample, max_length=self._max_length + 1)
    return float(np.mean([len(row) > self._max_length for row in rows]))

  @property
  def examples_per_second(self) -> float | None:
    """The speed without the first part, whose time includes compilation.

    None before the second part is computed.
    """
    later = self._times[1:]
    examples, seconds = sum(n for n, _ in later), sum(x for _, x in later)
    return examples / seconds if later else None

  def embeddings(self, start: int, _: int) -> np.ndarray:
    """Returns the embeddings of the part from `start`, float32 ``[B, D]``."""
    begin = time.monotonic()
    split, rows = self._parts[start]
    if self._tokenizer is None:
      inputs = self._prepared.splits[split]["inputs"][rows.start : rows.stop]
    else:
      texts = self._prepared.texts(split)
      encoded = self._tokenizer.encode(
        [texts[row] for row in rows], max_length=self._max_length
      )
      inputs = Ragged.concatenate(encoded, encoded[0].dtype)
    outputs = self._model.outputs({"inputs": inputs})
    self._times.append((len(rows), time.monotonic() - begin))
    return np.asarray(outputs.embeddings, np.float32)
