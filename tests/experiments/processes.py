"""Runs Python programs in processes of their own, which may be connected.

A new Python imports JAX and the experiments for seconds. These processes are
forked from one that has imported them and has done nothing else.
"""

import dataclasses
import functools
import multiprocessing
import os
import pathlib
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver

ROOT = pathlib.Path(__file__).parents[2]
# JAX reads these when it is imported: they are the same for all.
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  "PYTHONPATH": str(ROOT),
}

_SETUP = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", {devices})
jax.config.update("jax_enable_compilation_cache", {cached})
jax.distributed.initialize("127.0.0.1:{port}", {count}, {index})
{body}
jax.distributed.shutdown()
"""


@dataclasses.dataclass
class Program:
  """A running program, whose output goes to files."""

  process: multiprocessing.process.BaseProcess
  folder: pathlib.Path

  @property
  def pid(self) -> int:
    assert self.process.pid is not None
    return self.process.pid

  @property
  def stdout(self) -> str:
    return self._read("stdout")

  @property
  def stderr(self) -> str:
    return self._read("stderr")

  def _read(self, name: str) -> str:
    path = self.folder / name
    return path.read_text() if path.exists() else ""

  def wait_for(self, line: str, timeout: float = 120) -> None:
    """Waits until the program has printed a line."""
    deadline = time.monotonic() + timeout
    while line not in self.stdout.splitlines():
      assert self.process.is_alive(), self.stderr
      assert time.monotonic() < deadline, self.stderr
      time.sleep(0.01)

  def finish(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Waits for the end, kills a program that takes longer, and tidies up."""
    self.process.join(timeout)
    if is_late := self.process.is_alive():
      self.process.kill()
      self.process.join()
    code, out, err = self.process.exitcode, self.stdout, self.stderr
    shutil.rmtree(self.folder)
    assert not is_late, f"no end in {timeout} seconds: {err}"
    assert code is not None
    return subprocess.CompletedProcess(self.process.name, code, out, err)


def start(*argv: str, code: str | None = None) -> Program:
  """Starts `python -m argv[0] argv[1:]...` or, given code, `python -c`."""
  folder = pathlib.Path(tempfile.mkdtemp())
  process = _context().Process(target=_run, args=(folder, argv, code))
  process.start()
  return Program(process, folder)


def command(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
  """Runs a command of the experiments, which has to succeed."""
  done = start(f"experiments.{name}", *flags).finish()
  assert done.returncode == 0, done.stderr
  return done


def refused(name: str, *flags: str) -> str:
  """Runs a command that has to print one line of error; returns the error."""
  done = start(f"experiments.{name}", *flags).finish()
  assert (done.returncode, done.stdout) == (1, "")
  (line,) = done.stderr.splitlines()
  assert line.startswith("error: "), line
  return line.removeprefix("error: ")


def command_anew(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
  """Runs a command as `command` does, in a new Python without its imports."""
  done = subprocess.run(
    [sys.executable, "-m", f"experiments.{name}", *flags],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    timeout=3600,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done


@functools.cache
def _context() -> multiprocessing.context.ForkServerContext:
  """The server, which is started at its first use."""
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(["tests.experiments.imported"])
  before, folder = dict(os.environ), os.getcwd()
  os.environ.update(_ENVIRONMENT)
  os.chdir(ROOT)
  try:
    forkserver.ensure_running()
  finally:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)
  return context


def _run(folder: pathlib.Path, argv: tuple[str, ...], code: str | None) -> None:
  """Runs a program in the process that was forked for it."""
  for number, name in ((1, "stdout"), (2, "stderr")):
    with open(folder / name, "wb") as file:
      os.dup2(file.fileno(), number)
  os.chdir(ROOT)
  if code is None:
    sys.argv = list(argv)
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
  else:
    sys.argv = ["-c", *argv]
    exec(code, {"__name__": "__main__"})


# --- Connected processes ------------------------------------------------------


def free_port() -> int:
  """Returns a free port of this machine."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return free.getsockname()[1]


def start_together(
  body: str, *, count: int, devices: int, killed: bool = False
) -> list[Program]:
  """Starts a program in several connected processes.

  The program comes without the start of JAX, and each process has so many
  virtual CPU devices. Processes that will be killed share no compiled programs,
  as they could leave a damaged one.
  """
  port = free_port()
  return [
    start(
      code=_SETUP.format(
        body=body,
        cached=not killed,
        devices=devices,
        port=port,
        count=count,
        index=index,
      )
    )
    for index in range(count)
  ]


def run_together(
  body: str, *, count: int, devices: int, timeout: float = 240
) -> list[str]:
  """Runs a program as `start_together` does; returns what each prints."""
  programs = start_together(body, count=count, devices=devices)
  try:
    finished = [program.finish(timeout) for program in programs]
  finally:
    for program in programs:
      program.process.kill()
  for each in finished:
    assert each.returncode == 0, each.stderr
  return [each.stdout for each in finished]
