r"""Packs the results of a workdir into one file, and unpacks them.

  python -m experiments.pack --workdir=runs/clinc --file=clinc.parquet
  python -m experiments.pack --unpack --workdir=runs/again --file=clinc.parquet

The file holds the config and the result of each cell and teacher, and no
weights. It is not unpacked into a workdir that has other results.
`experiments.report` also reads such a file, or a folder of them:
`--workdir=clinc.parquet --output=report`.
"""

from absl import flags

from experiments import cli
from experiments.io import packed

_WORKDIR = cli.workdir_flag("Folder of the results.")
_FILE = flags.DEFINE_string("file", None, "The Parquet file.", required=True)
_UNPACK = flags.DEFINE_bool(
  "unpack", False, "Whether to write the file's records to the workdir."
)
flags.adopt_module_key_flags(cli)


def main(argv: list[str]) -> None:
  """Packs or unpacks."""
  cli.no_arguments(argv)
  with cli.reported():
    workdir, file = cli.folder(str(_WORKDIR.value)), cli.folder(_FILE.value)
    if _UNPACK.value:
      packed.unpack(file, workdir)
      print(f"Unpacked {file} into {workdir}.")
    else:
      number = packed.pack(workdir, file)
      print(f"Packed {number:,} files of {workdir} into {file}.")


if __name__ == "__main__":
  cli.run(main)
