"""Flags and error messages that the commands share."""

import contextlib
import ctypes
import errno
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple
from typing import NoReturn
from typing import overload

from absl import app
from absl import flags
from absl import logging
from etils import epath
from ml_collections import config_flags
from ml_collections import ConfigDict

from experiments import results
from experiments.distributed import startup
from experiments.distributed.signals import EXIT_INTERRUPTED
from experiments.distributed.signals import Interrupted
from experiments.io import programs
from experiments.io import storage
from experiments.io.quiet import quiet_orbax

# Errors that users can cause. Any other error is a bug and keeps its traceback.
_USER_ERRORS = (ValueError, FileNotFoundError, FloatingPointError, OSError)
# The disk is full, or the user's quota is used up.
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Seconds to wait for the other processes before exiting. They may still be
# writing, or may have been killed.
_PATIENCE, _PATIENCE_AFTER_ERRORS = 600.0, 5.0
# Parameters of `mallopt`, as in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def config_flag(*, required: bool = True) -> flags.FlagHolder[ConfigDict]:
  """Defines --config."""
  holder = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file, with its arguments after a colon; --config.FIELD=VALUE sets "
    "one of its fields.",
    lock_config=True,
  )
  if required:
    flags.mark_flag_as_required("config")
  return holder


def config_dict_flag(config: ConfigDict) -> flags.FlagHolder[ConfigDict]:
  """Defines --config.FIELD=VALUE for a command without a config file.

  Args:
    config: The config whose fields the flags set.
  """
  try:
    return config_flags.DEFINE_config_dict(
      "config",
      config,
      "--config.FIELD=VALUE sets a field; experiments/specs.py explains all of "
      "them.",
      lock_config=True,
      allow_override=True,  # A process may import two commands, as tests do.
    )
  # DEFINE_config_dict already looks for fields in the command line.
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    _exit_for_config(error)


def set_fields(config: flags.FlagHolder[ConfigDict]) -> dict[str, Any]:
  """Returns the fields that flags set, such as "student.batch_size"."""
  return dict(config_flags.get_override_values(flags.FLAGS[config.name]))


def workdir_flag(
  meaning: str = "Folder of results.",
) -> flags.FlagHolder[str]:
  """Defines --workdir."""
  return flags.DEFINE_string(
    "workdir",
    None,
    meaning,
    required=True,
    allow_override=True,  # A process may import two commands, as tests do.
  )


class DryRun(NamedTuple):
  """The flags --workdir, --dry_run and --list."""

  workdir: flags.FlagHolder[str | None]
  is_asked: flags.FlagHolder[bool]
  lists: flags.FlagHolder[bool]

  def required_workdir(self) -> pathlib.Path:
    """Returns the workdir of a command that trains.

    Raises ValueError if --workdir is missing or --list is set.
    """
    if self.lists.value:
      raise ValueError("--list is for --dry_run: give both.")
    if not self.workdir.value:
      raise ValueError(
        "--workdir is required: give a folder for the results, or --dry_run."
      )
    return folder(self.workdir.value)


def dry_run_flags() -> DryRun:
  """Defines --dry_run, --list, and --workdir, which dry runs do not need."""
  return DryRun(
    flags.DEFINE_string(
      "workdir",
      None,
      "Folder of results; --dry_run does without.",
      allow_override=True,
    ),
    flags.DEFINE_bool(
      "dry_run",
      False,
      "Print what would be trained and what it costs, and train nothing.",
    ),
    flags.DEFINE_bool("list", False, "With --dry_run: list each stack."),
  )


def teachers_flag() -> flags.FlagHolder[str | None]:
  """Defines --teacher_dir."""
  return flags.DEFINE_string(
    "teacher_dir",
    None,
    "Folder of teachers, to share them between workdirs. The default is "
    "`teachers` in the workdir.",
  )


def checkpoints_flag() -> flags.FlagHolder[str | None]:
  """Defines --checkpoint_dir."""
  return flags.DEFINE_string(
    "checkpoint_dir",
    None,
    "Folder of the checkpoints of unfinished stacks, which may be "
    "gs://BUCKET/FOLDER (extra `gcs`). Each workdir needs its own. The default "
    "is `checkpoints` in the workdir.",
  )


def processes_flags() -> Callable[[], None]:
  """Defines --coordinator_address and the other flags for several processes.

  Returns a function that connects this process with the others.
  """
  address = flags.DEFINE_string(
    "coordinator_address",
    None,
    "Host and port of process 0, if several processes work together. By "
    "default it is detected on Cloud TPU, GKE, SLURM and the like.",
  )
  number = flags.DEFINE_integer(
    "num_processes", None, "Number of processes; 1 turns the detection off."
  )
  index = flags.DEFINE_integer(
    "process_id", None, "Number of this process, from 0."
  )
  timeout = flags.DEFINE_integer(
    "initialization_timeout", 300, "Seconds to wait for the other processes."
  )

  def connect() -> None:
    startup.connect(
      address.value, number.value, index.value, timeout=timeout.value
    )

  return connect


@overload
def folder(path: str) -> pathlib.Path: ...
@overload
def folder(path: str | None) -> pathlib.Path | None: ...
def folder(path: str | None) -> pathlib.Path | None:
  """Returns the folder that a flag names, or None if the flag is not set.

  Raises ValueError for a URL.
  """
  if path is not None and "://" in path:
    raise ValueError(
      f"{path} must be a folder on a file system, since a bucket has no locks "
      "and cannot append to files; only --checkpoint_dir may be in a bucket."
    )
  return None if path is None else pathlib.Path(path).expanduser()


def checkpoint_folder(path: str | None) -> epath.Path | None:
  """Returns the folder that --checkpoint_dir names, or None if it is unset."""
  return None if path is None else storage.folder(os.path.expanduser(path))


def run(main: Callable[[], None]) -> None:
  """Runs a command: parses the flags and calls `main`."""
  reuse_freed_memory()
  programs.keep()
  try:
    app.run(lambda _: main(), flags_parser=_parsed)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    if flags.FLAGS.is_parsed():
      raise
    _exit_for_config(error)


def reuse_freed_memory() -> None:
  """Makes the C library reuse freed memory for new arrays.

  On a CPU, XLA allocates the arrays of each step anew. By default glibc gets
  memory for large arrays from the kernel, which clears every page, and returns
  it after the step. This took half of the training time of a static student,
  and a tenth of that of a MiniLM.
  """
  libc = ctypes.CDLL(None) if sys.platform == "linux" else None
  if not hasattr(libc, "mallopt"):  # Not glibc.
    return
  for parameter, value in (
    (_M_MMAP_MAX, 0),
    (_M_TRIM_THRESHOLD, -1),  # Never.
    (_M_ARENA_MAX, 1),
  ):
    libc.mallopt(parameter, value)


def _exit_for_config(error: Exception) -> NoReturn:
  """Exits with the message of an error in the config."""
  message = str(error)
  own = error if isinstance(error, KeyError) else next(iter(error.args), None)
  if isinstance(own, KeyError):  # An unknown field: "'name'\nDid you mean ...".
    name, *guess = own.args[0].splitlines()
    message = " ".join([f"there is no field {name}.", *guess])
  sys.exit(f"error: --config: {message}")


def _parsed(argv: list[str]) -> list[str]:
  """Parses the flags, or exits with a one-line error message."""
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    text = str(error)
    if missing := re.findall(r"flag (--\w+)=None: .* than None\.", text):
      *others, last = missing
      names = f"{', '.join(others)} and {last} are" if others else f"{last} is"
      sys.exit(f"error: {names} required: see --help.")
    if "Error whilst parsing config file" not in text:
      sys.exit(f"error: {text}")
    # The text of this error holds a whole traceback. Report its cause.
    cause: BaseException = error
    while cause.__context__ is not None and not cause.__suppress_context__:
      cause = cause.__context__
    sys.exit(f"error: --config: {cause}")
  if len(rest) > 1:
    sys.exit(f"error: unexpected argument {rest[1]!r}; give --flag=value.")
  if "config" in flags.FLAGS and flags.FLAGS["config"].present:
    given = config_flags.get_config_filename(flags.FLAGS["config"])
    # For a command without a config file the flag holds a config, not a path.
    text = given if isinstance(given, str) else ""
    path = text.partition(":")[0]  # The arguments of the file follow the colon.
    if path and not os.path.exists(path):
      sys.exit(f"error: --config: there is no file {path}.")
  return rest


@contextlib.contextmanager
def reported(connect: Callable[[], None] = lambda: None) -> Iterator[None]:
  """Turns errors that a user can cause into one line and an exit code.

  Args:
    connect: Connects this process with other processes. On exit, also after an
      error, the process waits for the others for a limited time and then
      disconnects.
  """
  logging.set_verbosity(logging.WARNING)  # Orbax logs each of its steps.
  code, patience = 1, _PATIENCE_AFTER_ERRORS
  try:
    with quiet_orbax():
      connect()
      yield
    code, patience = 0, _PATIENCE
  except Interrupted as stop:
    print(stop, file=sys.stderr)
    code, patience = EXIT_INTERRUPTED, _PATIENCE
  except KeyboardInterrupt:
    print("stopped at once; the last checkpoint is kept.", file=sys.stderr)
    code = EXIT_INTERRUPTED
  except Exception as error:
    if startup.is_lost(error):
      print(f"error: {startup.LOST}", file=sys.stderr)
    elif isinstance(error, _USER_ERRORS):
      text = str(error)
      if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}."
      if any(os.strerror(number) in text for number in _FULL):
        text = f"{text.rstrip('.')}. Make room, and run the same command again."
      # The message may quote the contents of a damaged file.
      text = "".join(c if c.isprintable() else "?" for c in text)
      print(f"error: {text}", file=sys.stderr)
    else:
      traceback.print_exc()
  if not startup.leave(patience):
    sys.stderr.flush()
    os._exit(code)
  if code:
    sys.exit(code)


def print_result(directory: pathlib.Path) -> None:
  """Prints the scores of a finished cell, and its folder."""
  result = results.read(directory, results.CellResult)
  print(
    f"{result.method}, {result.column}, "
    f"{result.hyperparameters or 'no hyperparameters'}"
  )
  for name, own, teacher in (
    ("validation", result.validation, result.teacher.validation),
    ("test", result.test, result.teacher.test),
  ):
    text = f"{100 * own.accuracy:.2f} % accuracy"
    text += f" (teacher {100 * teacher.accuracy:.2f} %)"
    if own.agreement is not None:
      text += f", agrees with the teacher on {100 * own.agreement:.2f} %"
    print(f"  {name}: {text}")
  print(f"  in {directory}")
