"""Runs Python programs in several connected JAX processes."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

_SETUP = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", {devices})
jax.distributed.initialize("127.0.0.1:{port}", {count}, {index})
{body}
jax.distributed.shutdown()
"""


def free_port() -> int:
  """Returns a free port of this machine."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return free.getsockname()[1]


def start_together(
  body: str, *, count: int, devices: int, killed: bool = False
) -> list[subprocess.Popen[str]]:
  """Starts a program in several connected processes.

  The program comes without the start of JAX, and each process has so many
  virtual CPU devices. Processes that will be killed share no compiled programs,
  as they could leave a damaged one.
  """
  port = free_port()
  return [
    subprocess.Popen(
      [
        sys.executable,
        "-c",
        _SETUP.format(
          body=body, devices=devices, port=port, count=count, index=index
        ),
      ],
      cwd=ROOT,
      env=os.environ
      | {
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_ENABLE_COMPILATION_CACHE": str(not killed),
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]


def run_together(
  body: str, *, count: int, devices: int, timeout: float = 240
) -> list[str]:
  """Runs a program as `start_together` does; returns what each prints."""
  processes = start_together(body, count=count, devices=devices)
  printed = []
  try:
    for process in processes:
      output, errors = process.communicate(timeout=timeout)
      assert process.returncode == 0, errors
      printed.append(output)
  finally:
    for process in processes:
      process.kill()
      process.communicate()
  return printed
