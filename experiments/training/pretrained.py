"""Pretrained weights: Hugging Face's ALBERT, and what was trained here.

`config.teacher.init` and `config.student.init` name one of

* a folder with `config.json` and `model.safetensors`, whole or in shards, as
  transformers writes an ALBERT, fine-tuned or not;
* the id of such a model on the hub, "albert/albert-base-v2", of which nothing
  else is downloaded;
* the folder of a finished cell or of a teacher, for any model.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.io import checkpoints
from experiments.io import hub
from experiments.io import json_files
from experiments.io import plain_trees
from experiments.io import safetensors_files
from experiments.io import students
from lelp_jax.models import albert

_HUB_FILES = ("config.json", *safetensors_files.PATTERNS)
# What a model may be fine-tuned with that it was not trained with before.
_FREE = (
  "compute_dtype",
  "remat",
  "attention_implementation",
  "dropout_rate",
  "hidden_dropout",
  "attention_dropout",
  "classifier_dropout",
  "initializer_range",
)
_CONVERT = (
  'python -c "import safetensors.torch as s, torch; '
  "w = torch.load('pytorch_model.bin', weights_only=True); "
  "s.save_file({k: v.clone() for k, v in w.items()}, 'model.safetensors')\""
)


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """Weights to start from.

  Attributes:
    params: Nested dicts of NumPy arrays, with the head where the source has
      one, of whatever width (see `graft_pretrained`).
    model_state: State such as BatchNorm's statistics, likewise.
    digest: SHA-256 of the weight file; of several, that of the lines
      "digest  name" that sha256sum prints.
    class_names: Of the head's outputs, where the source names them.
  """

  params: Any
  model_state: Any
  digest: str
  class_names: tuple[str, ...] = ()


def load_pretrained(init: str, fields: Mapping[str, Any]) -> Pretrained:
  """Reads the weights that a model starts from, once for many cells.

  Args:
    init: A folder or a hub id, as above; "@" and a revision may follow an id.
    fields: `model` and `options`, as in a config: what has to fit.

  Returns:
    The weights.

  Raises:
    FileNotFoundError: If there is no such folder or model.
    ValueError: If it holds no weights, those of another model, or damaged ones.
  """
  model = {name: fields[name] for name in ("model", "options")}
  return _load(init, json.dumps(model, sort_keys=True))


@functools.lru_cache(maxsize=2)  # A teacher's and a student's.
def _load(init: str, model: str) -> Pretrained:
  fields = json.loads(model)
  folder = _folder(init)
  read = {"cell": _cell, "teacher": _teacher, "huggingface": _huggingface}
  kind = _kind(folder)
  params, model_state = read[kind](folder, fields)
  names = _class_names(_config(folder)) if kind == "huggingface" else ()
  return Pretrained(params, model_state, weights_digest(init), names)


@functools.lru_cache(maxsize=8)
def weights_digest(init: str) -> str:
  """Returns `Pretrained.digest` without reading the arrays, about 1 GB/s.

  Args:
    init: As for `load_pretrained`.

  Raises:
    FileNotFoundError: If there is no such folder or model.
    ValueError: If it holds no weights.
  """
  folder = _folder(init)
  if (kind := _kind(folder)) == "huggingface":
    files = safetensors_files.files(folder)
  else:
    # A seal holds the digests of all that was saved.
    names = {"cell": "student.msgpack", "teacher": "parameters/seal.json"}
    files = [folder / names[kind]]
  digests = {}
  for file in files:
    with file.open("rb") as stream:
      digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
  if len(digests) == 1:
    return digests[files[0].name]
  lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
  return hashlib.sha256(lines.encode()).hexdigest()


def _folder(init: str) -> pathlib.Path:
  """Returns the folder that `init` names, downloaded if need be."""
  path = pathlib.Path(init).expanduser()
  if path.is_file():
    raise ValueError(f"init must name a folder, got the file {path}.")
  return path if path.is_dir() else hub.download(init, _HUB_FILES)


def _kind(folder: pathlib.Path) -> str:
  """Tells what a folder holds."""
  if (folder / "student.msgpack").is_file():
    return "cell"
  if (folder / "parameters" / "seal.json").is_file():
    return "teacher"
  if safetensors_files.files(folder):
    return "huggingface"
  if any(folder.glob("pytorch_model*.bin")):
    raise ValueError(
      f"{folder} has its weights as pytorch_model.bin, and safetensors are "
      f"read. Where torch is installed, run in that folder: {_CONVERT}"
    )
  raise ValueError(
    f"{folder} holds no weights: expected model.safetensors of an ALBERT, "
    "whole or in shards, student.msgpack of a finished cell, or parameters of "
    "a finished teacher."
  )


def _config(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the config.json beside weights."""
  if not (folder / "config.json").is_file():
    raise FileNotFoundError(
      f"{folder} has weights and no config.json: add the file that belongs to "
      "them, without which nobody can tell what model they are of."
    )
  config = json_files.read_json(folder / "config.json")
  if not isinstance(config, dict):
    raise ValueError(f"{folder}/config.json must hold an object of JSON.")
  return config


def _cell(folder: pathlib.Path, fields: Mapping[str, Any]) -> tuple[Any, Any]:
  """Reads the student of a finished cell."""
  _check_model(folder, _config(folder).get("student"), fields)
  return students.load_student(folder / "student.msgpack")


def _teacher(
  folder: pathlib.Path, fields: Mapping[str, Any]
) -> tuple[Any, Any]:
  """Reads the parameters of a finished teacher."""
  _check_model(folder, _config(folder).get("teacher"), fields)
  path = folder / "parameters"
  like = traverse_util.unflatten_dict(
    {
      tuple(name.split("/")): _described(text)
      for name, text in json_files.read_json(path / "structure.json").items()
    }
  )
  # Without arrays in it, a state is not saved at all.
  saved = checkpoints.load_tree(path, {"model_state": {}, **like})
  # Training keeps a leading cell axis, of one.
  saved = jax.tree.map(lambda x: x[0], saved)
  return saved["params"], saved["model_state"]


def _described(text: str) -> np.ndarray:
  """Makes an array as `plain_trees.described` says: "float32[1, 8]"."""
  dtype, _, shape = text.partition("[")
  return np.empty(json.loads(f"[{shape}"), jnp.dtype(dtype))


def _check_model(
  folder: pathlib.Path, there: Mapping[str, Any] | None, here: Mapping[str, Any]
) -> None:
  """Raises ValueError unless a run's model is the one that fields describe."""
  if not there:
    raise ValueError(
      f"{folder}/config.json describes no model: it is not that of a cell or a "
      "teacher."
    )
  if _is_albert(there) and _is_albert(here):
    descriptions = [_architecture(_albert_config(f)) for f in (there, here)]
  else:
    descriptions = [_model_and_options(fields) for fields in (there, here)]
  _check_same(folder, f"model {there['model']!r}", here, *descriptions)


def _model_and_options(fields: Mapping[str, Any]) -> dict[str, Any]:
  """What of a model its weights are bound to."""
  options = {
    name: value
    for name, value in fields["options"].items()
    if name not in _FREE
  }
  return {"model": fields["model"], "options": options}


def _check_same(
  folder: pathlib.Path,
  held: str,
  here: Mapping[str, Any],
  saved: Mapping[str, Any],
  expected: Mapping[str, Any],
) -> None:
  """Raises ValueError unless two descriptions of models are the same."""
  differences = plain_trees.differences(
    plain_trees.flat(saved), plain_trees.flat(expected)
  )
  if differences:
    raise ValueError(
      f"{folder} holds {held}, and the config names {here['model']!r}: "
      f"{'; '.join(differences)}. Set model and options to what is there, or "
      "init to another folder."
    )


def _huggingface(
  folder: pathlib.Path, fields: Mapping[str, Any]
) -> tuple[Any, Any]:
  """Reads an ALBERT as transformers writes it."""
  if not _is_albert(fields):
    raise ValueError(
      f"{folder} holds weights of Hugging Face, which are read into ALBERT "
      f"alone, and the config names {fields['model']!r}: set model to an "
      "albert_*, or init to the folder of a finished cell or teacher."
    )
  config = _albert_config(fields)
  try:
    there = albert.config_from_huggingface(_config(folder))
  except (TypeError, ValueError) as error:
    raise ValueError(f"{folder}/config.json: {error}") from error
  # A body has both poolings.
  there = dataclasses.replace(there, pooling=config.pooling)
  _check_same(
    folder,
    f"an ALBERT {_size(there)}",
    fields,
    _architecture(there),
    _architecture(config),
  )
  arrays = safetensors_files.read(folder)
  try:
    return albert.params_from_huggingface(arrays, config), {}
  except ValueError as error:
    raise ValueError(f"{folder}: {error}") from error


def _class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Names of outputs, if they are more than transformers' "LABEL_0"."""
  names = config.get("id2label") or {}
  ordered = tuple(str(names[i]) for i in sorted(names, key=int))
  return () if any(name.startswith("LABEL_") for name in ordered) else ordered


def _is_albert(fields: Mapping[str, Any]) -> bool:
  return fields["model"].startswith("albert_")


def _albert_config(fields: Mapping[str, Any]) -> albert.AlbertConfig:
  """The config of the ALBERT that fields describe."""
  names = {field.name for field in dataclasses.fields(albert.AlbertConfig)}
  options = {
    name: value
    for name, value in fields["options"].items()
    if name in names or name == "version"
  }
  return albert.albert_config(
    fields["model"].removeprefix("albert_"), **options
  )


def _architecture(config: albert.AlbertConfig) -> dict[str, Any]:
  """What of an ALBERT its weights are bound to."""
  values = dataclasses.asdict(config)
  return {k: v for k, v in values.items() if k not in _FREE}


def _size(config: albert.AlbertConfig) -> str:
  """Names a published size; others by their width and depth."""
  for size in albert.ALBERT_SIZES:
    published = albert.albert_config(size)
    names = ("hidden_size", "num_layers", "num_heads", "intermediate_size")
    if all(getattr(config, n) == getattr(published, n) for n in names):
      return size
  return f"of {config.num_layers} layers of width {config.hidden_size}"
