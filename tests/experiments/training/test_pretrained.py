"""Pretrained weights: of transformers, and of finished cells and teachers."""

import hashlib
import json
import pathlib
import shutil

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from safetensors import numpy as safetensors

from experiments.io import checkpoints
from experiments.io import json_files
from experiments.io import students
from experiments.training import pretrained
from experiments.training.pretrained import weights_digest
from lelp_jax.models import MODELS
from lelp_jax.models import static_embeddings
from tests.experiments import huggingface_files

_CONFIG, _WEIGHTS = huggingface_files.golden("albert_classifier")
_OPTIONS = MODELS["albert_base"].huggingface.options(_CONFIG)
_FIELDS = {"model": "albert_base", "options": _OPTIONS}
_MLP = {"model": "mlp", "options": {"features": (4,)}}


def load_pretrained(init, model, options):
  return pretrained.load_pretrained(init, model, FrozenDict(options))


def _write(folder, weights, config=_CONFIG) -> pathlib.Path:
  return huggingface_files.write(folder, weights, config)


def _shard(folder: pathlib.Path, weights) -> pathlib.Path:
  """As `_write`, in two shards."""
  _write(folder, weights)
  (folder / "model.safetensors").unlink()
  names = sorted(weights)
  places = {}
  for number, part in enumerate((names[::2], names[1::2]), start=1):
    file = f"model-0000{number}-of-00002.safetensors"
    safetensors.save_file({n: weights[n] for n in part}, folder / file)
    places |= dict.fromkeys(part, file)
  index = {"metadata": {"total_size": 1}, "weight_map": places}
  (folder / "model.safetensors.index.json").write_text(json.dumps(index))
  return folder


def _assert_equal(found, expected) -> None:
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
  return dict(_WEIGHTS)


@pytest.fixture
def refused(tmp_path):
  """A function that loads a folder, and asserts that one line names it.

  Each folder has a name of its own: what was read is kept.
  """

  def refused(name, message, error=ValueError):
    with pytest.raises(error, match=message) as raised:
      load_pretrained(str(tmp_path / name), **_FIELDS)
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)

  return refused


def test_params_are_those_of_the_file_and_read_once(tmp_path, weights):
  folder = _write(tmp_path / "albert", weights)
  found = load_pretrained(str(folder), **_FIELDS)
  assert load_pretrained(str(folder), **_FIELDS) is found
  query = found.params["encoder"]["layer"]["query"]["kernel"]
  name = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query"
  np.testing.assert_array_equal(query, weights[f"{name}.weight"].T)
  assert found.model_state == {}
  data = (folder / "model.safetensors").read_bytes()
  assert found.digest == hashlib.sha256(data).hexdigest()
  assert found.digest == weights_digest(str(folder))


def test_shards_are_one_model(tmp_path, weights):
  whole = load_pretrained(str(_write(tmp_path / "whole", weights)), **_FIELDS)
  folder = _shard(tmp_path / "shards", weights)
  shards = load_pretrained(str(folder), **_FIELDS)
  _assert_equal(shards.params, whole.params)
  lines = [
    f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
    for file in sorted(folder.glob("*.safetensors"))
  ]
  assert len(lines) == 2
  assert shards.digest == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_bert_can_start_from_the_first_layers_of_a_file(tmp_path):
  config, weights = huggingface_files.golden("bert_classifier")
  folder = str(_write(tmp_path / "bert", weights, config))
  options = MODELS["bert"].huggingface.options(config) | {"num_layers": 2}
  found = load_pretrained(folder, "bert", options)
  assert {"layer_0", "layer_1"} == {
    name for name in found.params["encoder"] if name.startswith("layer_")
  }
  with pytest.raises(ValueError, match=r"num_layers is 4, .* at most 3"):
    load_pretrained(folder, "bert", options | {"num_layers": 4})
  with pytest.raises(ValueError, match="hidden_size: saved 12, now 24"):
    load_pretrained(folder, "bert", options | {"hidden_size": 24})
  with pytest.raises(ValueError, match=r"model_type .*'roberta'.*got 'bert'"):
    load_pretrained(folder, "roberta", options)


def test_the_published_size_is_named(tmp_path, weights):
  sizes = {"hidden_size": 1024, "num_hidden_layers": 24}
  sizes |= {"num_attention_heads": 16, "intermediate_size": 4096}
  sizes |= {"vocab_size": 30_000, "embedding_size": 128}
  sizes |= {"max_position_embeddings": 512, "type_vocab_size": 2}
  sizes |= {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12}
  folder = _write(tmp_path / "a", weights, _CONFIG | sizes)
  message = "'albert_large', but the config has model 'albert_base'"
  with pytest.raises(ValueError, match=message):
    load_pretrained(str(folder), "albert_base", {})


def test_other_models_do_not_take_an_albert(tmp_path, weights):
  folder = _write(tmp_path / "a", weights)
  with pytest.raises(ValueError, match="model 'mlp' cannot load"):
    load_pretrained(str(folder), **_MLP)


@pytest.mark.parametrize(
  ("case", "table"),
  [
    ("bert_encoder", "embeddings.word_embeddings.weight"),
    ("bert_classifier", "bert.embeddings.word_embeddings.weight"),
    (
      "bert_distilbert_classifier",
      "distilbert.embeddings.word_embeddings.weight",
    ),
    ("albert_classifier", "albert.embeddings.word_embeddings.weight"),
  ],
)
def test_a_static_model_takes_the_token_embeddings_of_an_encoder(
  tmp_path, case, table
):
  config, weights = huggingface_files.golden(case)
  folder = str(_write(tmp_path / "encoder", weights, config))
  options = {"vocab_size": 20, "width": 4, "features": (8, 6)}
  found = load_pretrained(folder, "static", options)
  expected = static_embeddings(jnp.asarray(weights[table]), 4)
  assert found.params.keys() == {"word_embeddings", "Dense_0", "Dense_1"}
  np.testing.assert_array_equal(
    found.params["word_embeddings"]["embedding"], expected
  )
  assert not jax.tree.leaves([found.params["Dense_0"], found.model_state])
  assert found.digest == weights_digest(folder)
  # They are params of the model.
  inputs = {"input_ids": jnp.zeros([1, 1], int)}
  params, _ = MODELS["static"](3, **options).init(jax.random.key(0), inputs)
  assert params.keys() - found.params.keys() == {"head"}


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"width": 4}, "options.vocab_size .*20, .*got 30522"),
    ({"vocab_size": 20}, "options.width .*12, .*got 128"),
  ],
)
def test_token_embeddings_of_another_size_are_refused(
  tmp_path, options, message
):
  config, weights = huggingface_files.golden("bert_encoder")
  folder = str(_write(tmp_path / "encoder", weights, config))
  with pytest.raises(ValueError, match=message) as error:
    load_pretrained(folder, "static", options)
  assert str(error.value).startswith(f"{folder}, for model 'static': ")


def test_a_damaged_folder_is_named(tmp_path, weights, refused):
  file = _write(tmp_path / "cut", weights) / "model.safetensors"
  file.write_bytes(file.read_bytes()[:-9])
  refused("cut", r"model\.safetensors cannot be read .*: download it again")
  (_write(tmp_path / "lone", weights) / "config.json").unlink()
  refused("lone", r"no config\.json", FileNotFoundError)
  _write(tmp_path / "list", weights, [])
  refused("list", r"config\.json must hold")
  _write(tmp_path / "bert", weights, {"model_type": "bert"})
  refused("bert", r"bert/config\.json: model_type must be 'albert', got 'bert'")
  _write(tmp_path / "groups", weights, _CONFIG | {"num_hidden_groups": 2})
  refused("groups", r"groups/config\.json: num_hidden_groups must be 1")
  (tmp_path / "empty").mkdir()
  refused("empty", r"holds no weights: expected model\.safetensors")
  (tmp_path / "old").mkdir()
  (tmp_path / "old" / "pytorch_model.bin").touch()
  refused("old", r"pytorch_model\.bin.*python -c .*save_file")
  (tmp_path / "file").touch()
  refused("file", "must name a folder, got the file")
  del weights["albert.pooler.bias"]
  _write(tmp_path / "poor", weights)
  refused("poor", r"'pooler\.bias'")


def test_damaged_shards_are_named(tmp_path, weights, refused):
  part = "model-00002-of-00002.safetensors"
  (_shard(tmp_path / "one", weights) / part).unlink()
  refused("one", f"lacks {part}, which", FileNotFoundError)
  folder = _shard(tmp_path / "other", weights)
  shutil.copy(folder / "model-00001-of-00002.safetensors", folder / part)
  refused("other", "albert")
  for number, index in enumerate(({}, [], {"weight_map": []})):
    folder = _shard(tmp_path / f"index{number}", weights)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    refused(folder.name, r"index\.json is not an index")


def test_the_hub_is_asked_for_weights_and_config_alone(
  tmp_path, monkeypatch, weights
):
  _write(tmp_path / "a", weights)
  asked = []

  def download(repository, **arguments):
    asked.append((repository, arguments))
    return str(tmp_path / "a")

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  name = f"someone/{tmp_path.name}"  # Results are kept by name.
  found = load_pretrained(f"{name}@main", **_FIELDS)
  expected = load_pretrained(str(tmp_path / "a"), **_FIELDS)
  _assert_equal(found.params, expected.params)
  patterns = ["config.json", "model.safetensors"]
  patterns += ["model.safetensors.index.json", "model-*.safetensors"]
  arguments = {"revision": "main", "allow_patterns": patterns}
  assert set(map(repr, asked)) == {repr((name, arguments))}


# --- Finished cells and teachers ----------------------------------------------


def _tree(rng) -> tuple[dict, dict]:
  """Parameters and state as a model might have them."""
  params = {
    "body": {"kernel": rng.standard_normal((3, 4)).astype(np.float32)},
    "head": {"kernel": np.ones([4, 2], np.float32), "bias": np.zeros(2)},
  }
  return params, {"batch_stats": {"norm": {"mean": np.arange(4.0)}}}


def _save_cell(folder, params, model_state, fields=_MLP) -> str:
  json_files.write_json(folder / "config.json", {"student": fields})
  students.save_student(folder / "student.msgpack", params, model_state)
  return str(folder)


def _save_teacher(folder, params, model_state, fields=_MLP) -> str:
  json_files.write_json(folder / "config.json", {"teacher": fields})
  # Training keeps a leading axis of cells.
  tree = {"params": params, "model_state": model_state}
  tree = jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
  checkpoints.save_tree(folder / "parameters", tree)
  return str(folder)


@pytest.mark.parametrize("save", [_save_cell, _save_teacher])
@pytest.mark.parametrize("stateful", [True, False])
def test_our_own_runs_are_read(tmp_path, rng, save, stateful):
  params, model_state = _tree(rng)
  folder = save(tmp_path / "a", params, model_state if stateful else {})
  found = load_pretrained(folder, **_MLP)
  _assert_equal(found.params, jax.tree.map(np.float32, params))
  expected = jax.tree.map(np.float32, model_state) if stateful else {}
  _assert_equal(found.model_state, expected)
  params["body"]["kernel"][0, 0] += 1
  other = save(tmp_path / "b", params, model_state if stateful else {})
  assert len(found.digest) == 64
  assert weights_digest(other) != found.digest


@pytest.mark.parametrize("save", [_save_cell, _save_teacher])
def test_runs_of_another_model_are_refused(tmp_path, rng, save):
  folder = save(tmp_path / "a", *_tree(rng))
  for fields, message in [
    ({"model": "cnn", "options": {"features": (4,)}}, "module: saved 'Mlp'"),
    ({"model": "mlp", "options": {}}, r"features: saved \[4\]"),
    ({"model": "albert_base", "options": {}}, "model 'albert_base'"),
  ]:
    with pytest.raises(ValueError, match=message):
      load_pretrained(folder, **fields)
  options = {"features": (4,), "dropout_rate": 0.5, "compute_dtype": "bfloat16"}
  load_pretrained(folder, "mlp", options)


def test_our_own_alberts_are_compared_by_architecture(tmp_path, rng):
  saved = {"model": "albert_base", "options": _OPTIONS}
  folder = _save_cell(tmp_path / "a", *_tree(rng), saved)
  options = _OPTIONS | {"classifier_dropout": 0.0, "hidden_dropout": 0.5}
  load_pretrained(folder, "albert_large", options)
  options |= {"num_layers": 9}
  with pytest.raises(ValueError, match="num_layers: saved 3, now 9"):
    load_pretrained(folder, "albert_large", options)


def test_damaged_runs_are_named(tmp_path, rng):
  folder = _save_teacher(tmp_path / "a", *_tree(rng))
  shutil.copytree(folder, tmp_path / "b")
  (file,) = list((tmp_path / "b/parameters").rglob("_METADATA"))[:1]
  file.write_bytes(b"")
  with pytest.raises(ValueError, match="_METADATA was altered"):
    load_pretrained(str(tmp_path / "b"), **_MLP)
  (tmp_path / "a/parameters/seal.json").unlink()
  with pytest.raises(ValueError, match="holds no weights"):
    load_pretrained(folder, **_MLP)
  folder = _save_cell(tmp_path / "c", *_tree(rng))
  json_files.write_json(tmp_path / "c/config.json", {"method": "lelp"})
  with pytest.raises(ValueError, match="describes no model"):
    load_pretrained(folder, **_MLP)
  folder = _save_cell(tmp_path / "d", *_tree(rng))
  (tmp_path / "d/student.msgpack").write_bytes(b"\x81")
  with pytest.raises(ValueError, match="is not a student"):
    load_pretrained(folder, **_MLP)
