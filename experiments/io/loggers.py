"""Where else metrics can go, beside metrics.jsonl: TensorBoard, W&B."""

import importlib
import os
import pathlib
import uuid
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

# What --config.loggers may name, and what has to be installed for it.
_MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


class Logger(Protocol):
  """Takes scalars, as a `MetricWriter` does."""

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Takes the scalars of a step."""

  def close(self) -> None:
    """Finishes what was taken."""


def check(names: Sequence[str]) -> None:
  """Raises unless there are such loggers and what they need.

  Args:
    names: Of "tensorboard" and "wandb".

  Raises:
    ValueError: If one is not known or not installed.
  """
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


def loggers(
  names: Sequence[str],
  folder: pathlib.Path,
  *,
  resume_step: int,
  config: Mapping[str, Any],
) -> list[Logger]:
  """Opens loggers of one run; a run that continues is one run in them.

  Args:
    names: As for `check`.
    folder: The run's own folder.
    resume_step: The step of the checkpoint that the run continues from: what
      was logged later is logged again.
    config: What the run is, plain data.

  Returns:
    The loggers, open.
  """
  makers = {"tensorboard": _TensorBoard, "wandb": _WandB}
  return [makers[name](folder, resume_step, config) for name in names]


class _TensorBoard:
  """An event file in `tensorboard/` of the run's folder."""

  def __init__(
    self, folder: pathlib.Path, resume_step: int, config: Mapping[str, Any]
  ):
    del config  # It is beside the events, in config.json.
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
  """A run named by its folder, in the project of WANDB_PROJECT, or lelp_jax.

  Its id is in the folder: another workdir may have a folder of the same name.
  """

  def __init__(
    self, folder: pathlib.Path, resume_step: int, config: Mapping[str, Any]
  ):
    del resume_step  # W&B itself leaves out steps that it has.
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    # cells/<column>/<method>/<digest>/trial<k>
    name = "-".join(folder.parts[-4:])
    self._run = wandb.init(
      project=os.environ.get("WANDB_PROJECT", "lelp_jax"),
      dir=folder,
      id=_run_id(folder),
      name=name,
      group="-".join(folder.parts[-4:-2]),
      config=dict(config),
      resume="allow",
      reinit="create_new",  # The cells of a stack are runs of one process.
      settings=wandb.Settings(console="off", silent=True),
    )

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    values = {name: float(value) for name, value in scalars.items()}
    self._run.log(values, step=step)

  def close(self) -> None:
    self._run.finish()


def _run_id(folder: pathlib.Path) -> str:
  """Returns the id of a folder's run, the same when that continues."""
  path = folder / "wandb_id.txt"
  if not path.exists():
    path.write_text(uuid.uuid4().hex)
  return path.read_text()
