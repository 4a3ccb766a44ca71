r"""Packs the results of a workdir into one file, and unpacks them.

  python -m experiments.pack --workdir=runs/clinc --file=clinc.parquet
  python -m experiments.pack --unpack --workdir=runs/again --file=clinc.parquet

The file holds the config and the result of each cell and teacher, but no
weights. If the teachers are in another folder, set `--teacher_dir` as in
training. A workdir with other results is never overwritten: unpacking stops
with an error. `experiments.report` also reads such a file, or a folder of
them: `--workdir=clinc.parquet --output=report`.
"""

from absl import flags

from experiments import cli
from experiments import results
from experiments.io import packed

_WORKDIR = cli.workdir_flag("Folder of the results.")
_TEACHERS = cli.teachers_flag()
_FILE = flags.DEFINE_string("file", None, "The Parquet file.", required=True)
_UNPACK = flags.DEFINE_bool(
  "unpack", False, "Write the contents of the file to the workdir."
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  """Packs the workdir, or unpacks the file."""
  with cli.reported():
    workdir, file = cli.folder(str(_WORKDIR.value)), cli.folder(_FILE.value)
    teachers = cli.folder(_TEACHERS.value)
    if _UNPACK.value:
      if teachers:
        raise ValueError(
          "--teacher_dir is for packing: --unpack writes teachers to --workdir."
        )
      packed.unpack(file, workdir)
      print(f"Unpacked {file} into {workdir}.")
    else:
      digests = {
        results.read(path.parent, results.CellResult).teacher.digest
        for path in workdir.glob(packed.RESULT)
      }
      number, missing = packed.pack(workdir, file, digests, teachers)
      print(f"Packed {number:,} files of {workdir} into {file}.")
      if missing:
        where = teachers or workdir / "teachers"
        print(
          f"It lacks {len(missing):,} of the cells' teachers, such as "
          f"{missing[0]}, which are not in {where}: to pack them too, set "
          "--teacher_dir as in training."
        )


if __name__ == "__main__":
  cli.run(main)
