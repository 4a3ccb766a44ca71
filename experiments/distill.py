r"""Distils your own classifier into a small, fast student.

  python -m experiments.distill --teacher=TEACHER --data=reviews.csv \
    --student=static --workdir=runs/reviews

The teacher is a fine-tuned Hugging Face model, or a folder of arrays that any
framework can write. The command compares LELP with vanilla distillation, with
clusters of the teacher's embeddings, with their centroids in place of LELP's
directions (our variant) and with training on labels alone. It chooses the
settings and the student on held-out data, writes a report, and exports the
student to `student/` in the workdir. You can interrupt it at any time; the same
command continues.
"""

from absl import flags

from experiments import cli
from experiments.configs import candidates
from experiments.distillation import flags as own_flags
from experiments.distillation import pipeline
from experiments.distillation import student_models

_CONFIG = cli.config_dict_flag(candidates.own_config())
_OWN = own_flags.own_flags()
_STUDENT = own_flags.string_flag(
  "student",
  "The student: static, bert:layers=2, mlp, cnn, resnet20, albert_base, "
  "mobilenet or another model of docs/models.md, or MODULE:FACTORY for one of "
  "your own. Fields of it follow after a colon: static:width=64.",
  required=True,
)
_TOKENIZER = own_flags.string_flag(
  "tokenizer",
  "The student's tokenizer: a tokenizer.json, a folder or a hub id. By default "
  "the teacher's; for a teacher of arrays, a new one of 8,000 word pieces.",
)
_EXPORT = flags.DEFINE_enum(
  "export",
  None,
  candidates.METHODS,
  "The method whose student is exported. By default held-out data choose it. A "
  "finished command that is repeated with or without the flag exports again, "
  "without training.",
)
_WORKDIR = cli.workdir_flag("Folder of everything that the command writes.")
flags.adopt_module_key_flags(cli)  # So that --help shows them.
flags.adopt_module_key_flags(own_flags)


def main() -> None:
  """Distils the teacher that the flags name."""
  with cli.reported():
    given = cli.set_fields(_CONFIG)
    student = student_models.parse(_STUDENT.value, given)
    request = pipeline.Request(
      teacher=_OWN.teacher.value,
      student=student,
      fields=_OWN.with_data(given),
      given=given,
      workdir=cli.folder(_WORKDIR.value),
      finetune_epochs=_OWN.finetune_epochs.value,
      id_column=_OWN.id_column.value or "",
      labels=own_flags.names(_OWN.teacher_labels.value),
      tokenizer=own_flags.value_of(_TOKENIZER, "data.tokenizer", given) or "",
      export=_EXPORT.value or "",
    )
    print(pipeline.distill(request), flush=True)


if __name__ == "__main__":
  cli.run(main)
