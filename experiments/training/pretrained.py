"""Pretrained weights of Hugging Face's transformers and of finished runs.

`config.teacher.init` and `config.student.init` name one of

* a folder with `config.json` and `model.safetensors`, whole or in shards, as
  transformers saves a model, fine-tuned or not;
* the id of such a model on the hub, such as "albert/albert-base-v2", from which
  only these files are downloaded;
* the folder of a finished cell or of a finished teacher, for any model.

A model that averages token embeddings loads only the token embeddings of
transformers' weights. Its other layers are initialized at random.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from experiments.data.dataset import Task
from experiments.data.examples import label_name
from experiments.io import checkpoints
from experiments.io import digests
from experiments.io import hub
from experiments.io import json_files
from experiments.io import safetensors_files
from experiments.io import students
from experiments.specs import ModelSpec
from experiments.training.models import Weights
from lelp_jax.models import MODELS

_HUB_FILES = ("config.json", *safetensors_files.PATTERNS)
_CONVERT = (
  'python -c "import safetensors.torch as s, torch; '
  "w = torch.load('pytorch_model.bin', weights_only=True); "
  "s.save_file({k: v.clone() for k, v in w.items()}, 'model.safetensors')\""
)


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """Weights that a training starts from.

  Attributes:
    params: Nested dicts of arrays. They have a head, of any width (see
      `graft_pretrained`), if the source has one. A layer that is an empty dict
      is initialized at random.
    model_state: State such as BatchNorm's statistics, as nested dicts.
    digest: SHA-256 of the weight file. For several files it is the SHA-256 of
      the lines "digest  name" that sha256sum prints.
    class_names: Names of the head's outputs; empty if the source has none.
  """

  params: Any
  model_state: Any
  digest: str
  class_names: tuple[str, ...] = ()


class HuggingFaceModel(NamedTuple):
  """A model that transformers saved.

  Attributes:
    model: A key of `MODELS`.
    options: Its options, which follow from the sizes in its config.json.
    num_outputs: Number of outputs of its classifier; None for an encoder
      without one, whose tokens are averaged (`pooling="mean"`).
    class_names: Names of the outputs in its config.json; empty if there are
      none.
    problem_type: The `problem_type` of its config.json, such as
      "single_label_classification", or "".
  """

  model: str
  options: FrozenDict[str, Any]
  num_outputs: int | None
  class_names: tuple[str, ...]
  problem_type: str = ""


def huggingface_model(init: str) -> HuggingFaceModel:
  """Describes the model in a folder of transformers or on the hub.

  Raises ValueError if `saved_model` does, or if the weights do not fit.
  """
  folder = _folder(init)
  name, options = saved_model(init)
  form = MODELS[name].huggingface
  assert form is not None
  try:
    num_outputs = form.num_outputs(safetensors_files.read(folder))
  except (TypeError, ValueError) as error:
    raise ValueError(f"{folder}: {error}") from error
  if num_outputs is None:
    options["pooling"] = "mean"
  config = _config(folder)
  return HuggingFaceModel(
    name,
    FrozenDict(options),
    num_outputs,
    _class_names(config),
    str(config.get("problem_type") or ""),
  )


def saved_model(init: str) -> tuple[str, dict[str, Any]]:
  """Returns the name and the options of a model that transformers saved.

  Raises ValueError if the folder holds no such model, or a model of a type that
  is not implemented here.
  """
  folder = _folder(init)
  if (kind := _kind(folder)) != "huggingface":
    raise ValueError(f"{folder} holds a {kind}, not a model of transformers.")
  config = _config(folder)
  readable = set()
  for name, architecture in MODELS.items():
    form = architecture.huggingface
    if form is None:
      continue
    if form.model_type == config.get("model_type"):
      try:
        return name, dict(form.options(config))
      except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}: {error}") from error
    readable.add(form.model_type)
  raise ValueError(
    f"{folder} holds a model of type {config.get('model_type')!r}, but only "
    f"{', '.join(sorted(readable))} are implemented here. A teacher of another "
    "type can be given as a folder of arrays, computed with its framework."
  )


def starting_weights(
  spec: ModelSpec, task: Task, path: str
) -> Pretrained | None:
  """Returns the pretrained weights of a model, or None with init="random".

  With init_head="fresh" they have no head. If the names of the head's outputs
  are the classes of the task in another order, the outputs are put into the
  order of the task.

  Args:
    spec: The model.
    task: The task.
    path: Section of the model in the config, for messages.

  Raises:
    ValueError: If the outputs have other names than the classes, unless the
      model is trained and `init_labels` is empty.
  """
  if spec.init == "random":
    return None
  start = load_pretrained(spec.init, spec.model, spec.options)
  body = {name: part for name, part in start.params.items() if name != "head"}
  if spec.init_head != "pretrained":
    return dataclasses.replace(start, params=body)
  if "head" not in start.params:
    return start
  order = _order_of_outputs(start, spec, task, path)
  head = jax.tree.map(lambda x: x[..., order], start.params["head"])
  return dataclasses.replace(start, params={**body, "head": head})


def _order_of_outputs(
  start: Pretrained, spec: ModelSpec, task: Task, path: str
) -> np.ndarray:
  """Returns the output of a pretrained head for each class of a task."""
  width = start.params["head"]["kernel"].shape[-1]
  as_they_are = np.arange(width)
  names = spec.init_labels or start.class_names
  saved, needed = spelled(names), spelled(task.class_names)
  if sorted(saved) == sorted(needed) and len(set(saved)) == width:
    return np.array([saved.index(name) for name in needed], int)
  is_numbered = needed == [str(number) for number in range(width)]
  is_trained = bool(spec.num_steps or spec.num_epochs)
  named = bool(names) and bool(needed) and width == len(needed)
  if not named or (is_trained and not spec.init_labels):
    return as_they_are  # Training learns the order, or a new head is needed.
  if is_numbered and not spec.init_labels:
    return as_they_are  # The labels are the numbers of the outputs.
  raise ValueError(
    f"the outputs of {path}.init={spec.init!r} are named {', '.join(names)}, "
    f"but the labels of the data are {', '.join(task.class_names)}: set "
    f"{path}.init_labels to the label of each output, in the order of the "
    "outputs."
  )


def spelled(names: Sequence[str]) -> list[str]:
  """Returns names of classes in the spelling in which they are compared."""
  return [(label_name(name) or name).lower() for name in names]


def check_head(
  start: Pretrained | None, spec: ModelSpec, num_outputs: int, path: str
) -> None:
  """Raises ValueError if a model that is not trained would need a new head."""
  head = start.params.get("head", {}) if start else {}
  width = head["kernel"].shape[-1] if head else 0
  if width == num_outputs:
    return
  if start and spec.init_head != "pretrained":
    raise ValueError(
      f"{path} is not trained, but {path}.init_head={spec.init_head!r} gives "
      f"it new outputs: set {path}.init_head=pretrained, or {path}.num_epochs "
      "above 0."
    )
  names = start.class_names if start else ()
  listed = f" ({', '.join(names[:10])})" if 0 < len(names) == width else ""
  raise ValueError(
    f"{path}.init={spec.init!r} has {width or 'no'} outputs{listed}, but the "
    f"data need {num_outputs}: set {path}.num_epochs above 0 to train the "
    "model, or give data with these labels."
  )


@functools.lru_cache(maxsize=2)  # One for the teacher and one for the student.
def load_pretrained(
  init: str, model: str, options: FrozenDict[str, Any]
) -> Pretrained:
  """Reads the weights that a model starts from, once for many cells.

  `init` may be the id of a model on the hub followed by "@" and a revision.
  """
  folder = _folder(init)
  if (kind := _kind(folder)) == "huggingface":
    weights = _huggingface(folder, model, options)
    names = _class_names(_config(folder))
  else:
    weights, names = _finished(folder, kind, model, options), ()
  return Pretrained(*weights, weights_digest(init), names)


@functools.lru_cache(maxsize=8)
def weights_digest(init: str) -> str:
  """Returns `Pretrained.digest` from the files alone, at about 1 GB/s."""
  folder = _folder(init)
  if (kind := _kind(folder)) == "huggingface":
    files = safetensors_files.files(folder)
  else:
    # The seal of a checkpoint holds the digests of its files.
    names = {"cell": "student.msgpack", "teacher": "parameters/seal.json"}
    files = [folder / names[kind]]
  found = [digests.of_file(file) for file in files]
  if len(files) == 1:
    return found[0]
  pairs = zip(found, files, strict=True)
  lines = "".join(f"{digest}  {file.name}\n" for digest, file in pairs)
  return hashlib.sha256(lines.encode()).hexdigest()


def _folder(init: str) -> pathlib.Path:
  """Returns the folder that `init` names, downloading it if necessary."""
  path = pathlib.Path(init).expanduser()
  if path.is_file():
    raise ValueError(f"init must name a folder, got the file {path}.")
  return path if path.is_dir() else hub.download(init, _HUB_FILES)


def _kind(folder: pathlib.Path) -> str:
  """Returns the kind of weights in a folder: cell, teacher or huggingface."""
  if (folder / "student.msgpack").is_file():
    return "cell"
  if (folder / "parameters" / "seal.json").is_file():
    return "teacher"
  if safetensors_files.files(folder):
    return "huggingface"
  if any(folder.glob("pytorch_model*.bin")):
    raise ValueError(
      f"{folder} has its weights in pytorch_model.bin, but only "
      "model.safetensors is read. To convert them, install torch and run in "
      f"that folder: {_CONVERT}"
    )
  raise ValueError(
    f"{folder} holds no weights: expected model.safetensors, whole or in "
    "shards, student.msgpack of a finished cell, or parameters of a finished "
    "teacher."
  )


def _config(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the config.json that belongs to the weights."""
  if not (folder / "config.json").is_file():
    raise FileNotFoundError(
      f"{folder} has weights but no config.json, which says which model they "
      "belong to: add the config.json of these weights."
    )
  config = json_files.read_json(folder / "config.json")
  if not isinstance(config, dict):
    raise ValueError(f"{folder}/config.json must hold a JSON object.")
  return config


def _finished(
  folder: pathlib.Path, kind: str, model: str, options: Mapping[str, Any]
) -> Weights:
  """Reads the student of a finished cell, or the parameters of a teacher."""
  saved = _config(folder).get("student" if kind == "cell" else "teacher")
  if not saved:
    raise ValueError(
      f"{folder}/config.json describes no model, so it is not the config of a "
      "cell or a teacher."
    )
  attributes = MODELS[saved["model"]].weight_attributes(**saved["options"])
  _check_fit(folder, attributes, model, options)
  if kind == "cell":
    return Weights(*students.load_student(folder / "student.msgpack"))
  tree = checkpoints.load_tree(folder / "parameters")
  # Drop the cell axis, which has length one.
  tree = jax.tree.map(lambda x: x[0], tree)
  # An empty model state is not saved.
  return Weights(tree["params"], tree.get("model_state", {}))


def _huggingface(
  folder: pathlib.Path, model: str, options: Mapping[str, Any]
) -> Weights:
  """Reads weights that transformers saved."""
  architecture = MODELS[model]
  form = architecture.huggingface
  if architecture.from_token_embeddings is not None:
    encoder = huggingface_model(str(folder))
    body, _ = _huggingface(folder, encoder.model, encoder.options)
    table = token_embeddings(body)
    if table is None:
      raise ValueError(
        f"{folder} has no token embeddings, from which model {model!r} starts."
      )
    try:
      attributes = architecture.attributes(**options)
      params = architecture.from_token_embeddings(table, attributes)
    except ValueError as error:
      # The message starts with the name of the option.
      raise ValueError(
        f"{folder}, for model {model!r}: options.{error}"
      ) from error
    return Weights(params, {})
  if form is None:
    readable = [name for name in MODELS if MODELS[name].huggingface]
    raise ValueError(
      f"{folder} holds Hugging Face weights, which model {model!r} cannot "
      f"load: set model to one of {readable}, or init to the folder of a "
      "finished cell or teacher."
    )
  try:
    saved = architecture.weight_attributes(**form.options(_config(folder)))
  except (TypeError, ValueError) as error:
    raise ValueError(f"{folder}/config.json: {error}") from error
  _check_fit(folder, saved, model, options, form.undecided)
  arrays = safetensors_files.read(folder)
  try:
    params = form.params(arrays, architecture.attributes(**options))
  except ValueError as error:
    raise ValueError(f"{folder}: {error}") from error
  return Weights(params, {})


def token_embeddings(params: Mapping[str, Any]) -> jax.Array | None:
  """Returns the table of token embeddings ``[V, D]`` of an encoder.

  Returns None for a model that has none.
  """
  table = params.get("encoder", {}).get("word_embeddings")
  return None if table is None else jnp.asarray(table["embedding"])


def _check_fit(
  folder: pathlib.Path,
  saved: Mapping[str, Any],
  model: str,
  options: Mapping[str, Any],
  undecided: Collection[str] = (),
) -> None:
  """Raises ValueError if saved weights do not fit a model.

  Args:
    folder: Folder of the weights.
    saved: Attributes of the model that they belong to.
    model: The model to load them into, a key of `MODELS`.
    options: Its options.
    undecided: Attributes that the weights do not determine, and which are not
      compared.
  """

  def differences(attributes: Mapping[str, Any]) -> list[str]:
    pair = [
      {k: v for k, v in each.items() if k not in undecided}
      for each in (saved, attributes)
    ]
    return json_files.differences(*pair)

  different = differences(MODELS[model].weight_attributes(**options))
  if different:
    same = [
      repr(name)
      for name, other in MODELS.items()
      if not differences(other.weight_attributes())
    ]
    raise ValueError(
      f"{folder} holds the weights of {(*same, 'another model')[0]}, but the "
      f"config has model {model!r}: {'; '.join(different)}. Set model and "
      "options to those of the weights, or init to another folder."
    )


def _class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the names of outputs in a config.json of transformers.

  Returns () if there are only the default names, such as "LABEL_0".
  """
  names = config.get("id2label") or {}
  ordered = tuple(str(names[i]) for i in sorted(names, key=int))
  return () if any(name.startswith("LABEL_") for name in ordered) else ordered
