"""Errors of commands, and flags that name folders."""

import errno
import os
import re
import resource
import sys

import pytest
from ml_collections import config_flags

from experiments import cli
from experiments.configs.base import base_config
from experiments.distributed.signals import EXIT_INTERRUPTED
from experiments.distributed.signals import Interrupted


def _reported(error, capsys):
  """Exit code and text of a command that raises an error."""
  with pytest.raises(SystemExit) as caught, cli.reported():
    raise error
  return caught.value.code, capsys.readouterr().err


def test_errors_of_users_are_one_line(capsys):
  for error in (ValueError, FileNotFoundError):
    assert _reported(error("x is 3"), capsys) == (1, "error: x is 3\n")


def test_a_full_disk_is_named(capsys):
  error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  code, text = _reported(error, capsys)
  assert code == 1
  assert "run the same command again" in text


def test_an_interrupt_has_an_exit_code_of_its_own(capsys):
  code, text = _reported(Interrupted("SIGTERM", "step 4 is saved"), capsys)
  assert code == EXIT_INTERRUPTED
  assert "step 4 is saved" in text
  assert _reported(KeyboardInterrupt(), capsys)[0] == EXIT_INTERRUPTED


def test_defects_keep_their_traceback(capsys):
  code, text = _reported(ZeroDivisionError("x"), capsys)
  assert code == 1
  assert text.startswith("Traceback")


def test_only_checkpoints_may_be_in_a_bucket(tmp_path):
  with pytest.raises(ValueError, match=r"gs://b/x .*--checkpoint_dir"):
    cli.folder("gs://b/x")
  with pytest.raises(ValueError, match=r"s3://b/x"):
    cli.checkpoint_folder("s3://b/x")
  assert cli.folder(str(tmp_path)) == tmp_path
  assert str(cli.checkpoint_folder("~/x")) == os.path.expanduser("~/x")


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("student.num_step=3", "no field 'num_step'. Did you mean \"num_steps\""),
    ("student.options.depth=3", "no field 'depth'"),
    ("students.num_steps=3", "no field 'students'"),
  ],
)
def test_unknown_fields_are_one_line(monkeypatch, flag, message):
  """They are looked up when the flag is defined, before anything catches."""
  monkeypatch.setattr(sys, "argv", ["distill", f"--config.{flag}"])
  monkeypatch.setattr(cli.flags, "FLAGS", cli.flags.FlagValues())
  with pytest.raises(SystemExit) as caught:
    cli.config_dict_flag(base_config())
  text = str(caught.value)
  assert text.startswith("error: --config: ")
  assert message in text
  assert "\n" not in text


def test_missing_flags_are_named_in_one_line(monkeypatch):
  values = cli.flags.FlagValues()
  for name in ("file", "workdir"):
    cli.flags.DEFINE_string(name, None, "", required=True, flag_values=values)
  monkeypatch.setattr(cli.flags, "FLAGS", values)
  with pytest.raises(SystemExit) as caught:
    cli._parsed(["pack"])
  assert re.fullmatch(r".*--file and --workdir .*", str(caught.value))


def test_a_config_that_is_not_required_may_be_missing(monkeypatch):
  values = cli.flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=values)
  monkeypatch.setattr(cli.flags, "FLAGS", values)
  assert cli._parsed(["plan"]) == ["plan"]
  # Arguments without a flag are refused.
  with pytest.raises(SystemExit, match="'extra'"):
    cli._parsed(["plan", "extra"])


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux.")
def test_commands_reuse_freed_memory_without_asking_the_kernel():
  def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
      _ = b"1" * (5 * 2**28)  # As much as a step of a MiniLM needs.
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

  cli.reuse_freed_memory()
  page_faults()  # The first is new memory.
  # New memory would be 327,680 pages each time.
  assert page_faults() < 1000
