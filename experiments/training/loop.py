"""The training loop of teachers, single cells and stacks of cells.

The loop runs compiled chunks of steps. After each chunk it evaluates on
held-out data, writes one line of metrics per cell and saves a checkpoint. A run
that was interrupted continues from its last checkpoint, with results that are
bitwise equal to those of a run without interruption.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import pathlib
import platform
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments import results
from experiments.data.dataset import Arrays
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from experiments.distributed import signals
from experiments.io import checkpoints as checkpoints_lib
from experiments.io import json_files
from experiments.io import locks
from experiments.io import storage
from experiments.training.forecast import Watch
from experiments.training.inference import evaluation_batches
from experiments.training.monitor import Monitor
from experiments.training.states import num_parameters
from experiments.training.step import FIRST_NONFINITE
from experiments.training.types import Run
from experiments.training.types import Trained
from lelp_jax import metrics as metrics_lib
from lelp_jax.train_step import TrainState

# A result lists this number of the most confident mistakes.
_NUM_MISTAKES = 12


def train(
  run: Run,
  *,
  checkpoint_directory: pathlib.PurePath,
  metric_paths: Sequence[pathlib.Path | None],
  label: str,
  watch: Watch | None = None,
) -> Trained:
  """Trains a stack to its last step, from its last checkpoint if it has one.

  Signals are handled after each chunk except the last one, after which the
  caller first writes the results.

  Args:
    run: The stack.
    checkpoint_directory: Folder of its checkpoints.
    metric_paths: See `Monitor`, as for the next two.
    label: Label of the progress display.
    watch: Forecasts the time that the whole command has left.

  Returns:
    The states and the metrics of the last chunk.

  Raises:
    FloatingPointError: If a loss or a state is not finite. Such a state is
      never saved.
    Interrupted: On SIGINT or SIGTERM, after saving.
  """
  student, program = run.spec.student, run.program
  num_steps, mesh = student.num_steps, program.mesh
  states = program.init(
    run.trials,
    sizes=run.sizes,
    pretrained=run.pretrained,
    loss_params=run.loss_params,
  )
  states = mesh_lib.place(states, mesh_lib.cell_sharding(mesh))
  data = run.data()
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(
      checkpoints_lib.Checkpoints(
        checkpoint_directory, fingerprint=dict(run.fingerprint)
      )
    )
    shapes = program.metric_shapes(states, run.inputs, data, np.int32(0))
    shapes = mesh_lib.place(shapes, mesh_lib.cell_sharding(mesh))
    like: dict[str, Any] = {"states": states, "metrics": shapes}
    step, train_metrics = 0, {}
    restored = checkpoints.restore(like)
    if restored is not None:
      step, saved = restored
      states, metrics = saved["states"], saved["metrics"]
      train_metrics = mesh_lib.fetch(metrics, mesh)
    monitor = stack.enter_context(
      Monitor(run, metric_paths, label, step=step, watch=watch)
    )
    while step < num_steps:
      length = min(student.steps_per_chunk, num_steps - step)
      with monitor.chunk(step, length):
        states, metrics = program.train_chunk(
          states,
          run.inputs,
          data,
          np.int32(step),
          length=length,
          after_step=monitor.after_step,
        )
        metrics = dict(metrics)
        # Fetching the values waits for the end of the chunk.
        first_bad = mesh_lib.fetch(metrics.pop(FIRST_NONFINITE), mesh)
      if first_bad.any():
        checkpoints.close()
        raise monitor.nonfinite_error(
          first_bad, checkpoint_directory / f"{step}" if step else None
        )
      train_metrics = mesh_lib.fetch(metrics, mesh)
      step += length
      held_out, _ = evaluate(run, states, run.validation)
      monitor.write(step, train_metrics, held_out)
      checkpoints.save(step, {"states": states, "metrics": metrics})
      if step < num_steps and processes.any_process(
        signals.requested() is not None
      ):
        checkpoints.close()
        signals.stop_if_asked(f"step {step} is saved in {checkpoint_directory}")
  return Trained(
    states, train_metrics, monitor.step_seconds, restored is not None
  )


def train_once(
  run: Run,
  folder: pathlib.Path,
  kind: type[results.Record],
  *,
  settings: dict[str, Any],
  kept: Callable[[TrainState], Any],
  record: Callable[[Trained, float | None], results.Record],
  label: str,
  watch: Watch | None = None,
) -> tuple[Any, results.Record]:
  """Trains a stack of one cell once for all commands that share its folder.

  The first command trains it and the others wait for its result.

  Args:
    run: The stack.
    folder: Folder of the parameters, the record and the metrics.
    kind: Class of the record.
    settings: Contents of `config.json`.
    kept: Returns the part of the state that is saved as parameters.
    record: Makes the record from the trained stack and the seconds, None if
      the training was interrupted.
    label: Label of the progress display.
    watch: See `Monitor`.

  Returns:
    The saved part of the state, without the cell axis, and the record.
  """
  parts = [folder / "parameters", results.path_of(folder, kind)]
  with locks.exclusive_when_free(folder):
    if not processes.from_main(lambda: all(part.exists() for part in parts)):
      path = folder / "config.json"
      processes.from_main(lambda: json_files.write_json(path, settings))
      start = time.monotonic()
      trained = train(
        run,
        checkpoint_directory=folder / "checkpoints",
        metric_paths=[folder / "metrics.jsonl"],
        label=label,
        watch=watch,
      )
      checkpoints_lib.save_tree(folder / "parameters", kept(trained.states))
      seconds = round(time.monotonic() - start, 3)
      made = record(trained, None if trained.continued else seconds)
      processes.from_main(lambda: results.write(folder, made))
    # A command that finished the training may have been killed before this.
    processes.from_main(lambda: storage.delete(folder / "checkpoints"))
  shapes = jax.eval_shape(
    functools.partial(run.program.init, sizes=run.sizes), run.trials
  )
  like = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), kept(shapes))
  saved = checkpoints_lib.load_tree(folder / "parameters", like)
  # Drop the cell axis, which has length one.
  return jax.tree.map(lambda x: x[0], saved), results.read(folder, kind)


def evaluate(
  run: Run, states: TrainState, arrays: Arrays, predict: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
  """Evaluates all cells on a set of examples, each exactly once.

  Returns:
    A dict with the accuracy, the loss and, if there is a teacher, the agreement
    with it, ``[cells]`` each. With `predict` also the log probabilities of the
    classes, ``[cells, N, C]``, otherwise None.
  """
  means: dict[str, metrics_lib.Mean] = {}
  mesh, size = run.program.mesh, run.spec.student.eval_batch_size
  shape = run.spec.num_cells, len(arrays["labels"]), run.spec.num_classes
  predictions = np.zeros(shape, np.float32) if predict else None
  for batch, placed in evaluation_batches(arrays, size, mesh):
    part, log_probs = run.program.eval_batch(states, run.inputs, placed)
    means = metrics_lib.merge(means, mesh_lib.settled(part, mesh))
    if predictions is not None:
      real = batch["mask"]
      on_host = mesh_lib.fetch(log_probs, mesh)
      predictions[:, batch["rows"][real]] = on_host[:, real]
  return mesh_lib.fetch(metrics_lib.compute(means), mesh), predictions


def model_results(run: Run, trained: Trained) -> list[results.ModelResult]:
  """Evaluates each cell of a trained stack on validation and test examples."""
  spec, shares = run.spec, run.targets.get("variance_share")
  validation, _ = evaluate(run, trained.states, run.validation)
  test, predictions = evaluate(run, trained.states, run.test, predict=True)
  assert predictions is not None
  sizes = {size: num_parameters(spec, size) for size in set(run.sizes)}
  learned = jax.tree.leaves(trained.states.loss_params)
  return [
    results.ModelResult(
      validation=_evaluation(validation, cell, run.validation),
      test=with_predictions(
        _evaluation(test, cell, run.test), predictions[cell], run.test
      ),
      train={k: float(v[cell]) for k, v in trained.train_metrics.items()},
      num_parameters=sizes[size],
      num_extra_parameters=sum(x.size // spec.num_cells for x in learned),
      num_steps=spec.student.num_steps,
      num_train_examples=spec.num_examples,
      num_unlabelled_examples=run.num_unlabelled,
      variance_share=None
      if shares is None
      else tuple(float(share) for share in shares[cell]),
      versions=_versions(),
    )
    for cell, size in enumerate(run.sizes)
  ]


def _evaluation(
  scores: Mapping[str, np.ndarray], cell: int, arrays: Arrays
) -> results.Evaluation:
  agreement = scores.get("agreement")
  return results.Evaluation(
    accuracy=float(scores["accuracy"][cell]),
    loss=float(scores["loss"][cell]),
    agreement=None if agreement is None else float(agreement[cell]),
    num_examples=len(arrays["labels"]),
  )


def with_predictions(
  evaluation: results.Evaluation, log_probs: np.ndarray, arrays: Arrays
) -> results.Evaluation:
  """Adds the scores and counts that need the predictions of all examples.

  Args:
    evaluation: Scores on some examples.
    log_probs: Log probabilities of the classes, ``[N, C]``.
    arrays: The examples.
  """
  labels = np.asarray(arrays["labels"])
  counts = jax.device_get(_counts(log_probs, labels))
  predicted = log_probs.argmax(axis=1)
  confidence = np.exp(log_probs.max(axis=1))
  wrong = np.flatnonzero(predicted != labels)
  # The most confident come first, and equally confident ones in split order.
  wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:_NUM_MISTAKES]
  ids = np.asarray(arrays["ids"] if "ids" in arrays else np.arange(len(labels)))
  confusion = tuple(map(tuple, counts["confusion"].tolist()))
  return dataclasses.replace(
    evaluation,
    macro_f1=float(counts["macro_f1"]),
    matthews_correlation=float(counts["matthews_correlation"]),
    calibration_error=float(counts["calibration_error"]),
    predictions=results.Predictions(
      correct=np.packbits(predicted == labels).tobytes().hex(),
      calibration=tuple(map(tuple, counts["calibration"].tolist())),
      loss_deviation=float(counts["loss_deviation"]),
      confusion=confusion if len(confusion) <= results.MOST_CLASSES else None,
      mistakes=tuple(
        results.Mistake(
          id=int(ids[row]),
          label=int(labels[row]),
          predicted=int(predicted[row]),
          probability=float(confidence[row]),
        )
        for row in wrong
      ),
    ),
  )


@jax.jit
def _counts(log_probs: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
  """Returns scores of log probabilities ``[N, C]`` over all examples."""
  confusion = metrics_lib.confusion_matrix(log_probs, labels)
  calibration = metrics_lib.calibration_bins(log_probs, labels)
  return {
    "confusion": confusion,
    "macro_f1": metrics_lib.macro_f1(confusion),
    "matthews_correlation": metrics_lib.matthews_correlation(confusion),
    "calibration": calibration,
    "calibration_error": metrics_lib.expected_calibration_error(calibration),
    "loss_deviation": metrics_lib.log_loss(log_probs, labels).std(ddof=1),
  }


@functools.cache
def _versions() -> dict[str, str]:
  """Returns the versions of the packages, and the kind of device."""
  names = ("lelp-jax", "jax", "jaxlib", "flax", "optax")
  versions = {name: importlib.metadata.version(name) for name in names}
  versions["python"] = platform.python_version()
  versions["device"] = jax.devices()[0].device_kind
  return versions
