r"""Examines a teacher and its data before any student is trained.

  python -m experiments.diagnose --teacher=TEACHER --data=reviews.csv \
    --workdir=runs/reviews

The command reports how good the teacher is, whether the data look unusual, and
whether the teacher's embeddings hold structure that LELP can transfer. It keeps
the teacher's outputs in the workdir, where `experiments.distill` finds them,
and writes a page with pictures to `diagnosis/` in the workdir.
"""

import shutil

from absl import flags

from experiments import cli
from experiments.configs import candidates
from experiments.distillation import diagnosis
from experiments.distillation import diagnosis_page
from experiments.distillation import flags as own_flags
from experiments.distillation import teachers

_CONFIG = cli.config_dict_flag(candidates.own_config())
_OWN = own_flags.own_flags()
_WORKDIR = cli.workdir_flag("Folder of everything that the command writes.")
flags.adopt_module_key_flags(cli)  # So that --help shows them.
flags.adopt_module_key_flags(own_flags)


def main() -> None:
  """Examines the teacher that the flags name."""
  with cli.reported():
    given = cli.set_fields(_CONFIG)
    cell = candidates.own_cell(_OWN.with_data(given))
    workdir = cli.folder(_WORKDIR.value)
    teacher = teachers.prepare_teacher(
      _OWN.teacher.value,
      cell.data,
      workdir,
      finetune_epochs=_OWN.finetune_epochs.value,
      id_column=_OWN.id_column.value or "",
      labels=own_flags.names(_OWN.teacher_labels.value),
      given=given,
    )
    result = diagnosis.diagnose(teacher, cell.data, workdir, cell.selection)
    folder = workdir / "diagnosis"
    files = diagnosis_page.write_page(result, folder)
    columns = shutil.get_terminal_size().columns
    print(diagnosis_page.summary(result, columns))
    print(f"\nin {folder / files[0]}")


if __name__ == "__main__":
  cli.run(main)
