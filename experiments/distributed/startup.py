"""Several processes that work as one: how they find each other, and part."""

import contextlib
import os
import sys
import threading

import jax

LOST = (
  "the connection to another process is lost: see what that one printed. The "
  "same command, started again in all, goes on from the last checkpoint."
)
# What `jax.distributed.initialize` raises where it detects no cluster.
_NO_CLUSTER = "coordinator_address should be defined."
# JAX's own end of patience is a page of C++: ours has to come first.
_MARGIN_SECONDS = 60


def connect(
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
  *,
  timeout: int,
) -> None:
  """Makes this process one of several, or leaves it alone.

  Without addresses JAX looks for a cluster: a Cloud TPU pod, TPUs on GKE, a
  Kubernetes job, SLURM, Open MPI. Where there is none it looks at a few
  environment variables, and the process stays alone. To be called before
  anything is computed. Processes that do not come end this one: with one line
  on standard error and exit code 1.

  Args:
    coordinator_address: Host and port of process 0, free there and reachable
      from all; None to detect all three.
    num_processes: How many there are; 1 without an address stays alone, and
      detects nothing.
    process_id: Which one this is, from 0.
    timeout: For how many seconds to wait for the others.

  Raises:
    ValueError: If an argument is missing or out of range, or the address
      cannot be used.
  """
  given = (coordinator_address, num_processes, process_id)
  _check(*given, timeout)
  if num_processes == 1 and coordinator_address is None:
    return
  # It would take SIGTERM for itself; see `interrupts` for what is done about
  # that, and `processes.any_process`.
  jax.config.update("jax_enable_preemption_service", False)
  watch = threading.Timer(timeout, _give_up, (*given, timeout))
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
  """Parts from the other processes, when they do so too.

  Args:
    patience: For how many seconds to wait for them. Who waits without end for
      one that hangs, hangs with it.

  Returns:
    Whether all came. If not, only `os._exit` ends this process without another
    wait, and the others learn of it by its silence.
  """
  if not jax.distributed.is_initialized():
    return True

  def shutdown() -> None:
    with contextlib.suppress(Exception):  # There is nobody left to tell.
      jax.distributed.shutdown()

  thread = threading.Thread(target=shutdown, daemon=True)
  thread.start()
  thread.join(patience)
  return not thread.is_alive()


def is_lost(error: Exception) -> bool:
  """Whether an error says that another process is gone.

  On CPUs collectives fail at once when a process goes. Elsewhere they wait,
  and JAX ends this process after 100 seconds without a sign of the other.

  Args:
    error: What was raised.
  """
  return jax.distributed.is_initialized() and "Gloo" in str(error)


def _check(
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
  timeout: int,
) -> None:
  """Raises ValueError for flags that do not fit together."""
  if timeout < 1:
    raise ValueError(
      f"--initialization_timeout must be at least 1 second, got {timeout}."
    )
  if coordinator_address is None and process_id is None:
    if num_processes is None or num_processes == 1:
      return
  if coordinator_address is None or num_processes is None or process_id is None:
    raise ValueError(
      "--coordinator_address, --num_processes and --process_id belong "
      f"together, got {coordinator_address}, {num_processes} and {process_id}: "
      "give all three, or none where a cluster is detected."
    )
  host, _, port = coordinator_address.rpartition(":")
  if not host or not port.isdigit():
    raise ValueError(
      "--coordinator_address must be a host and a port, such as "
      f"10.0.0.1:8476, got {coordinator_address!r}."
    )
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f"--process_id must lie in [0, {num_processes}), --num_processes being "
      f"{num_processes}, got {process_id}."
    )


def _give_up(
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
  timeout: int,
) -> None:
  """Ends a process whose main thread waits where no exception reaches it."""
  if coordinator_address is None:
    where, who = "the detected address", "one of the detected ones"
  else:
    where, who = coordinator_address, f"process {process_id} of {num_processes}"
  print(
    f"error: after {timeout} seconds not all processes have met at {where} "
    f"(this is {who}): check that all were started, that they give the same "
    "address, that it is process 0's machine and that its port is open there; "
    "--initialization_timeout waits longer.",
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)
