"""Teachers: trained once, kept by digest, frozen afterwards."""

import dataclasses
import functools
import operator
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import lelp_jax
from experiments import cells
from experiments.data.dataset import Splits
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from experiments.distributed.signals import Interrupts
from experiments.io import checkpoints
from experiments.io import digests
from experiments.io import json_files
from experiments.io import locks
from experiments.io import storage
from experiments.training import finished
from experiments.training import jobs
from experiments.training import loop
from experiments.training.cached_outputs import CachedOutputs
from experiments.training.fitting import TeacherStatistics
from experiments.training.program import build
from experiments.training.recipe import model_fns
from experiments.training.watch import Wanted
from lelp_jax.models import Outputs

# Of a teacher's result, in that of each cell.
_RECORDED = ("validation", "test", "num_parameters", "origin")


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A frozen teacher.

  Attributes:
    params: Its parameters.
    model_state: Its state.
    statistics: What methods prepare their targets from.
    summary: What results record of it, plain data.
    outputs: Its outputs on clean examples, from a cache.
    seconds: How long "training" and "moments" took.
  """

  params: Any
  model_state: Any
  statistics: TeacherStatistics
  summary: dict[str, Any]
  outputs: CachedOutputs
  seconds: dict[str, float | None]

  @functools.cached_property
  def parameters_sha256(self) -> str:
    """What tells it from another of the same config, trained elsewhere."""
    return digests.of_arrays((self.params, self.model_state))


def load_or_train(
  config: ConfigDict,
  splits: Splits,
  directory: pathlib.Path,
  signals: Interrupts | None = None,
) -> Teacher:
  """Returns the teacher of a config, training it if nobody has.

  Args:
    config: A cell's config; its teacher, data and selection matter.
    splits: The data.
    directory: Folder of teachers; this one's is named by its digest.
    signals: What was asked of the process.

  Returns:
    The teacher. Its embeddings are computed when something asks for them, or
    come from its cache if `config.teacher.outputs` says "cached".

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
  """
  signals = signals or Interrupts()
  digest = cells.teacher_digest(config)
  folder = directory / digest
  if config.teacher.reads != "embeddings":
    splits = splits.without_embeddings()  # For students that read them.
  own = _as_cell(config)
  job = jobs.make_job(
    [own], splits, train=splits.train, teacher=None, names=[digest]
  )
  parts = [folder / "parameters", folder / "result.json"]
  # Another process that shares the folder may be training it: wait for that.
  with locks.exclusive_run(folder, signals):
    if not processes.from_main(lambda: all(part.exists() for part in parts)):
      label = f"teacher of {config.column}"
      _train(own, job, splits, folder, label, signals)
    # Who finished it may have been killed before this.
    processes.from_main(lambda: storage.delete(folder / "checkpoints"))
  states = jax.eval_shape(
    functools.partial(job.program.init, sizes=job.sizes), job.trials
  )
  like = mesh_lib.on_host(
    {"params": states.params, "model_state": states.model_state}
  )
  # Training keeps a leading cell axis, of one.
  saved = checkpoints.load_tree(folder / "parameters", like)
  saved = jax.tree.map(lambda x: x[0], saved)
  params, model_state = saved["params"], saved["model_state"]
  summary: dict[str, Any] = {
    "digest": digest,
    "outputs": config.teacher.outputs,
  }
  result = json_files.read_json(folder / "result.json")
  _check_origin(result, splits, job.fingerprint["pretrained"], folder)
  summary |= {k: result[k] for k in _RECORDED}
  seconds = dict(result["seconds"])
  job = dataclasses.replace(job, teacher=(params, model_state))
  head = model_fns(job.spec.recipe, splits.task.num_classes).head(params)
  outputs = CachedOutputs(
    config.teacher.outputs,
    folder / "outputs",
    splits,
    functools.partial(_outputs, _alone(job)),
    teacher=(params, model_state),
    sizes=head.kernel.shape,
    batch_size=job.spec.recipe["eval_batch_size"],
    label=f"outputs of the teacher of {config.column}",
    signals=signals,
  )

  def moments() -> lelp_jax.ClassMoments:
    start = time.monotonic()
    found = jax.block_until_ready(_moments(job, splits, outputs))
    seconds["moments"] = round(time.monotonic() - start, 3)
    return found

  statistics = TeacherStatistics(
    moments,
    jnp.asarray(head.kernel),
    splits.transfer["labels"],
    lambda: outputs.on(splits.transfer),
  )
  return Teacher(params, model_state, statistics, summary, outputs, seconds)


def _as_cell(config: ConfigDict) -> ConfigDict:
  """A teacher is trained as a student is: from labels, without a teacher."""
  own = config.copy_and_resolve_references()
  own.row = cells.row_name(config)
  plain = config.teacher.subclass.num_subclasses == 1
  own.method = "standard" if plain else "subclass_teacher"
  own.trial = config.teacher.seed
  own.data.shared_batch_order = False
  own.teacher.outputs, own.teacher.num_coordinates = "inline", 0
  own.student = own.teacher
  return own


def _check_origin(
  result: dict[str, Any],
  splits: Splits,
  weights: str | None,
  folder: pathlib.Path,
) -> None:
  """Raises ValueError if what a teacher came from changed under its name."""
  for what, now in (("data", splits.digest), ("pretrained weights", weights)):
    if result["origin"][what] != now:
      raise ValueError(
        f"the teacher in {folder} was trained from other {what} than there are "
        "now under the same name: delete it, or give another --teacher_dir."
      )


def _train(
  config: ConfigDict,
  job: loop.Job,
  splits: Splits,
  folder: pathlib.Path,
  label: str,
  signals: Interrupts,
) -> None:
  """Trains a teacher and writes its folder; result.json comes last."""
  fields = cells.teacher_fields(config)
  # Who trains it: see `resuming`.
  fields["run"] = [config.column, cells.row_name(config)]
  processes.from_main(
    lambda: json_files.write_json(folder / "config.json", fields)
  )
  start = time.monotonic()
  trained = loop.train(
    job,
    checkpoint_directory=folder / "checkpoints",
    wanted=Wanted([config], [folder / "metrics.jsonl"], label),
    signals=signals,
  )
  states = trained.states
  checkpoints.save_tree(
    folder / "parameters",
    {"params": states.params, "model_state": states.model_state},
  )
  result = finished.results(job, trained, splits)[0]
  result["origin"] = {
    "data": splits.digest,
    "pretrained weights": job.fingerprint["pretrained"],
  }
  seconds = None if trained.continued else round(time.monotonic() - start, 3)
  result["seconds"] = {"training": seconds}
  processes.from_main(
    lambda: json_files.write_json(folder / "result.json", result)
  )


def _outputs(job: loop.Job, arrays: loop.Arrays) -> Outputs:
  """Outputs on clean examples, in their order, NumPy arrays."""
  parts, rows = [], []
  for batch, placed in loop.clean_batches(job, arrays):
    outputs = job.program.embed(*job.arguments[0], placed)
    outputs = mesh_lib.fetch(outputs, job.program.mesh)
    parts.append(jax.tree.map(operator.itemgetter(batch["mask"]), outputs))
    rows.append(batch["rows"][batch["mask"]])
  back = np.argsort(np.concatenate(rows))
  return jax.tree.map(lambda *x: np.concatenate(x)[back], *parts)


def _alone(job: loop.Job) -> loop.Job:
  """The job on this process's own devices: each computes other rows."""
  if jax.process_count() == 1:
    return job
  program = build(job.spec, tuple(jax.local_devices()))
  return dataclasses.replace(job, program=program)


def _moments(
  job: loop.Job, splits: Splits, cache: CachedOutputs
) -> lelp_jax.ClassMoments:
  """Moments of the embeddings: one clean pass over the training set (A-12)."""
  arrays, cached = splits.train, cache.has_embeddings()
  if cached:
    found = cache.of(cache.whole["embeddings"], arrays)
    arrays = {"labels": arrays["labels"], "teacher_embeddings": found}
  moments = None
  for _, placed in loop.clean_batches(job, arrays):
    part = lelp_jax.class_moments(
      placed["teacher_embeddings"]
      if cached
      else job.program.embed(*job.arguments[0], placed).embeddings,
      placed["labels"],
      num_classes=splits.task.num_classes,
      where=placed["mask"],
    )
    part = mesh_lib.settled(part, job.program.mesh)
    moments = part if moments is None else lelp_jax.merge_moments(moments, part)
    moments = mesh_lib.settled(moments, job.program.mesh)
  moments = mesh_lib.fetch(moments, job.program.mesh)
  return jax.tree.map(jnp.asarray, moments)
