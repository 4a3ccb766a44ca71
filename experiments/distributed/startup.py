"""Connects the processes of a run at the start, and disconnects them."""

import contextlib
import os
import sys
import threading

import jax

LOST = (
  "the connection to another process is lost: see the output of that process. "
  "Run the same command again in all processes to continue from the last "
  "checkpoint."
)
# The address of process 0, the number of processes and the number of this one.
_Given = tuple[str | None, int | None, int | None]
# The error of `jax.distributed.initialize` where it detects no cluster.
_NO_CLUSTER = "coordinator_address should be defined."
# JAX's own timeout prints a page of C++ traces. It is set this much later than
# ours, so that it is not reached.
_MARGIN_SECONDS = 60


def connect(
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
  *,
  timeout: int,
) -> None:
  """Connects this process to the other processes of its run, if there are any.

  Call this before any computation. Without `coordinator_address`, JAX detects a
  cluster: a Cloud TPU pod, TPUs on GKE, a Kubernetes job, SLURM or Open MPI. If
  there is no cluster, this function returns immediately. If the other processes
  do not connect in time, this process exits with code 1 and one line on
  standard error.

  Args:
    coordinator_address: Host and port of process 0, or None.
    num_processes: Number of processes, or None.
    process_id: Number of this process, or None.
    timeout: Number of seconds to wait for the other processes.

  Raises:
    ValueError: If an argument is invalid, or the connection fails.
  """
  given = (coordinator_address, num_processes, process_id)
  _check(given, timeout)
  if num_processes == 1 and coordinator_address is None:
    return
  # JAX's preemption service would handle SIGTERM in place of `signals`.
  jax.config.update("jax_enable_preemption_service", False)
  watch = threading.Timer(timeout, _give_up, (given, timeout))
  watch.daemon = True
  watch.start()
  try:
    jax.distributed.initialize(
      *given,
      initialization_timeout=timeout + _MARGIN_SECONDS,
      cluster_detection_method=coordinator_address and "deactivate",
    )
  except (RuntimeError, ValueError) as error:
    if coordinator_address is None and str(error) == _NO_CLUSTER:
      return
    reason = str(error).strip().partition("\n")[0]
    raise ValueError(
      f"this process cannot join the others ({reason}): check the addresses, "
      "or give --num_processes=1 to run it alone."
    ) from error
  finally:
    watch.cancel()


def leave(patience: float) -> bool:
  """Disconnects from the other processes, and returns whether all disconnected.

  This waits at most `patience` seconds for the other processes, since one of
  them may hang. If it returns False, end this process with `os._exit`, because
  a normal exit would wait again. The others notice the missing heartbeat.
  """
  if not jax.distributed.is_initialized():
    return True

  def shutdown() -> None:
    with contextlib.suppress(Exception):  # The run is over in any case.
      jax.distributed.shutdown()

  thread = threading.Thread(target=shutdown, daemon=True)
  thread.start()
  thread.join(patience)
  return not thread.is_alive()


def is_lost(error: Exception) -> bool:
  """Returns whether an error means that another process has ended.

  This detects errors on CPUs, where collectives fail as soon as a process ends.
  On accelerators they block, and JAX ends this process after its heartbeat
  timeout of 100 seconds.
  """
  return jax.distributed.is_initialized() and "Gloo" in str(error)


def _check(given: _Given, timeout: int) -> None:
  """Raises ValueError if the flags of several processes are invalid."""
  coordinator_address, num_processes, process_id = given
  if timeout < 1:
    raise ValueError(
      f"--initialization_timeout must be at least 1 second, got {timeout}."
    )
  if coordinator_address is None and process_id is None:
    if num_processes is None or num_processes == 1:
      return
  if coordinator_address is None or num_processes is None or process_id is None:
    raise ValueError(
      "--coordinator_address, --num_processes and --process_id must be given "
      f"together, got {coordinator_address}, {num_processes} and {process_id}: "
      "give all three, or none to detect a cluster."
    )
  host, _, port = coordinator_address.rpartition(":")
  if not host or not port.isdigit():
    raise ValueError(
      "--coordinator_address must be a host and a port, such as "
      f"10.0.0.1:8476, got {coordinator_address!r}."
    )
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f"--process_id must be at least 0 and less than --num_processes="
      f"{num_processes}, got {process_id}."
    )


def _give_up(given: _Given, timeout: int) -> None:
  """Ends this process. An exception would not reach its waiting main thread."""
  coordinator_address, num_processes, process_id = given
  if coordinator_address is None:
    where, who = "the detected address", "one of those detected"
  else:
    where, who = coordinator_address, f"process {process_id} of {num_processes}"
  print(
    f"error: not all processes have connected to {where} within {timeout} "
    f"seconds (this is {who}): check that all were started with the same "
    "address, that it is the machine of process 0, and that its port is open; "
    "--initialization_timeout sets a longer wait.",
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)
