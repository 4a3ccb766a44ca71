"""Writers of metrics: `metrics.jsonl`, TensorBoard and Weights & Biases."""

import importlib
import json
import math
import os
import pathlib
import time
import uuid
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Union

from experiments.io import json_files

PathLike = str | os.PathLike[str]

Writer = Union["MetricWriter", "_TensorBoard", "_WandB"]

# The module that each value of config.loggers needs.
_MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


class MetricWriter:
  """Appends metrics to a file: one JSON object per line.

  A line has the step, the wall time and scalars by name. It is in the file when
  `write` returns, so a killed process loses no lines. NaN and infinity are
  written as null, since JSON has neither.
  """

  def __init__(self, path: pathlib.Path, resume_step: int = 0):
    """Opens the file, and creates its folder.

    Args:
      path: The file.
      resume_step: The step from which the run continues. Lines of later steps
        are deleted, since the run will write them again.
    """
    kept = []
    if path.exists():
      kept = [m for m in _parse(path) if m["step"] <= resume_step]
    json_files.replace(path, "".join(_line(metrics) for metrics in kept))
    self._file = path.open("a", encoding="utf-8")

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Appends one line of metrics.

    Args:
      step: The number of updates before the metrics were measured.
      scalars: Numbers by name.
    """
    metrics = {"step": step, "wall_time": time.time(), **scalars}
    with json_files.named(self._file.name):
      self._file.write(_line(json_files.plain(metrics)))
      self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    with json_files.named(self._file.name):
      self._file.close()


def read_metrics(path: PathLike) -> list[dict[str, Any]]:
  """Returns the lines of a metrics file, with NaN for null.

  The last line is left out if it is incomplete, because the disk was full or
  the line is still being written.
  """
  nan = math.nan
  return [
    {name: nan if value is None else value for name, value in metrics.items()}
    for metrics in _parse(pathlib.Path(path))
  ]


def _parse(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the complete lines of a metrics file."""
  # The last element is empty or an incomplete line.
  lines = json_files.read_text(path).split("\n")[:-1]
  metrics = []
  for number, line in enumerate(lines, start=1):
    try:
      metrics.append(json.loads(line))
    except json.JSONDecodeError as error:
      raise ValueError(
        f"line {number} of {path} is not JSON ({error.msg}): delete that line."
      ) from None
  return metrics


def _line(metrics: Mapping[str, Any]) -> str:
  return json.dumps(metrics, allow_nan=False) + "\n"


def check_loggers(names: Sequence[str]) -> None:
  """Raises ValueError for a logger that is unknown or not installed."""
  for name in names:
    if name not in _MODULES:
      raise ValueError(
        f"config.loggers may name {sorted(_MODULES)}, got {name!r}."
      )
    try:
      importlib.import_module(_MODULES[name])
    except ImportError as error:
      raise ValueError(
        f"config.loggers names {name!r}, which is not installed: pip install "
        f"'.[{name}]'."
      ) from error


def open_writers(
  path: pathlib.Path,
  names: Sequence[str],
  *,
  resume_step: int,
  config: Mapping[str, Any],
) -> list[Writer]:
  """Opens the file and the loggers of a run, which get the same scalars.

  Args:
    path: The file of metrics, in the folder of the run.
    names: The values of config.loggers.
    resume_step: The step from which the run continues, and with it its previous
      logs. Later steps are logged again.
    config: The config as JSON data.
  """
  folder = path.parent
  return [
    MetricWriter(path, resume_step),
    *(
      _TensorBoard(folder, resume_step)
      if name == "tensorboard"
      else _WandB(folder, config)
      for name in names
    ),
  ]


class _TensorBoard:
  """Writes an event file in `tensorboard/` in the run's folder."""

  def __init__(self, folder: pathlib.Path, resume_step: int):
    import tensorboardX

    self._writer = tensorboardX.SummaryWriter(
      str(folder / "tensorboard"), purge_step=resume_step + 1
    )

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    for name, value in scalars.items():
      self._writer.add_scalar(name, float(value), step)
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


class _WandB:
  """Logs to Weights & Biases, in the project that WANDB_PROJECT names.

  The run in W&B is named after the folder. Its id is stored in the folder, so
  that the same cell in another workdir is a different run.
  """

  def __init__(self, folder: pathlib.Path, config: Mapping[str, Any]):
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    id_file = folder / "wandb_id.txt"
    if not id_file.exists():
      id_file.write_text(uuid.uuid4().hex)
    # The folder is cells/<column>/<row>/<digest>/trial<k>.
    self._run = wandb.init(
      project=os.environ.get("WANDB_PROJECT", "lelp_jax"),
      dir=folder,
      id=id_file.read_text(),
      name="-".join(folder.parts[-4:]),
      group="-".join(folder.parts[-4:-2]),
      config=dict(config),
      resume="allow",  # W&B ignores steps that it already has.
      reinit="create_new",  # The cells of a stack log at the same time.
      settings=wandb.Settings(console="off", silent=True),
    )

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    values = {name: float(value) for name, value in scalars.items()}
    self._run.log(values, step=step)

  def close(self) -> None:
    self._run.finish()
