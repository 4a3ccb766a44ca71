"""Flags of a user's own data and teacher, which several commands share.

Every field of `experiments.specs` can be set by --config.FIELD=VALUE. The flags
for the data are short names of the fields that most users need.
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from absl import flags

from experiments.configs import candidates
from experiments.data import tables
from experiments.specs import DataSpec

# Usual names of columns, in the order in which they are looked for.
_TEXT_COLUMNS = (
  "text sentence review document content message query question utterance "
  "comment tweet"
).split()
_LABEL_COLUMNS = "label labels class category target intent sentiment".split()
# Fields without effect, and why.
_WITHOUT_EFFECT = {
  "method": "experiments.distill compares several methods",
  "trial": "experiments.distill trains several trials of each method",
  "data.embeddings": "the embeddings are the outputs of --teacher",
}


def string_flag(
  name: str, meaning: str, *, required: bool = False
) -> flags.FlagHolder[Any]:
  """Defines a string flag that several commands share.

  Args:
    name: Name of the flag.
    meaning: Description of the flag for --help.
    required: Whether the command needs it.
  """
  return flags.DEFINE_string(
    name, None, meaning, required=required, allow_override=True
  )


@contextlib.contextmanager
def named(flag: str) -> Iterator[None]:
  """Adds the name of a flag to a FileNotFoundError."""
  try:
    yield
  except FileNotFoundError as error:
    raise FileNotFoundError(f"--{flag}: {error}") from error


def names(text: str | None) -> tuple[str, ...]:
  """Splits the value of a flag at its commas."""
  return tuple(name.strip() for name in text.split(",")) if text else ()


def value_of(
  holder: flags.FlagHolder[Any], field: str, given: Mapping[str, Any]
) -> Any:
  """Returns the value of a flag, or of the config field that it stands for.

  Args:
    holder: The flag.
    field: Dotted name of the field.
    given: Fields that --config.FIELD=VALUE sets, by dotted name.

  Returns:
    The value, or None if neither is set.

  Raises:
    ValueError: If both are set.
  """
  if holder.value is None:
    return given.get(field)
  if field in given:
    raise ValueError(
      f"--{holder.name} and --config.{field} set the same field: leave one of "
      "them out."
    )
  return holder.value


class OwnFlags(NamedTuple):
  """The flags of a user's own data and teacher.

  Attributes:
    data: The flags that set fields of `config.data`, by the name of the field.
    id_column: The flag --id_column.
    teacher: The flag --teacher.
    teacher_labels: The flag --teacher_labels.
    finetune_epochs: The flag --finetune_epochs.
  """

  data: Mapping[str, flags.FlagHolder[Any]]
  id_column: flags.FlagHolder[str | None]
  teacher: flags.FlagHolder[str]
  teacher_labels: flags.FlagHolder[str | None]
  finetune_epochs: flags.FlagHolder[float | None]

  def with_data(self, given: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the fields of `config.data` that flags set, and the usual columns.

    Args:
      given: Fields that --config.FIELD=VALUE sets, by dotted name.

    Returns:
      These fields and the added ones.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If a field is set twice or has no effect, a file cannot be
        read, or its columns have no usual names.
    """
    for name, reason in _WITHOUT_EFFECT.items():
      if name in given:
        raise ValueError(f"--config.{name} has no effect here: {reason}.")
    fields = dict(given)
    for name, holder in self.data.items():
      value = value_of(holder, f"data.{name}", given)
      if value is not None:
        fields[f"data.{name}"] = value
    found = _found_columns(candidates.own_cell(fields).data)
    return fields | {f"data.{name}": column for name, column in found.items()}


def own_flags() -> OwnFlags:
  """Defines the flags of a user's own data and teacher."""
  data = {
    "train": string_flag(
      "data",
      "Your examples: tables (.csv, .tsv, .jsonl, .parquet, text files also "
      "compressed), several of them separated by commas, a pattern or a folder "
      "of them; or a folder with one folder of images per class.",
      required=True,
    ),
    "test": string_flag(
      "test",
      "Examples to test on, in the form of --data. By default a fifth of "
      "--data, in which each class has its share, is held out.",
    ),
    "unlabelled_files": string_flag(
      "unlabelled",
      "More examples without labels, in the form of --data. The student learns "
      "from the teacher's outputs on them, as on the rows of --data that have "
      "no label.",
    ),
    "text_column": string_flag(
      "text_column",
      "Column of the texts. By default a usual name, such as text or sentence.",
    ),
    "image_column": string_flag(
      "image_column",
      "Column of images in a table: their bytes, or paths relative to the "
      "table's folder.",
    ),
    "label_column": string_flag(
      "label_column",
      "Column of the labels. By default a usual name, such as label or class.",
    ),
    "image_size": flags.DEFINE_integer(
      "image_size",
      None,
      "Height and width that images are resized to. By default they keep "
      "their size, which has to be the same.",
      lower_bound=1,
      allow_override=True,
    ),
  }
  return OwnFlags(
    data=data,
    id_column=string_flag(
      "id_column",
      "Column of the ids in ids.npy, for a teacher given as arrays. By default "
      "the rows of the arrays are those of --data, then those of --unlabelled, "
      "then those of --test.",
    ),
    teacher=string_flag(
      "teacher",
      "The teacher: a folder or a hub id of a Hugging Face sequence "
      "classifier; a folder of arrays of any framework (embeddings.npy, "
      "logits.npy, head_kernel.npy, optionally head_bias.npy and ids.npy); or "
      "the folder of a finished run or of its teacher.",
      required=True,
    ),
    teacher_labels=string_flag(
      "teacher_labels",
      "The label of each output of the teacher, in their order, separated by "
      "commas. By default the names that the teacher comes with, or the order "
      "of the labels: numbers by value, names by alphabet.",
    ),
    finetune_epochs=flags.DEFINE_float(
      "finetune_epochs",
      None,
      "Number of epochs for which an encoder without a classifier is "
      "fine-tuned on the labels, such as 3.",
      lower_bound=0.0,
      allow_override=True,
    ),
  )


def _found_columns(data: DataSpec) -> dict[str, str]:
  """Finds the columns that no flag sets by their usual names, by field."""
  path = tables.find_files(data.train)[0]
  wanted: dict[str, Sequence[str]] = {}
  if not data.text_column and not data.image_column:
    wanted["text_column"] = _TEXT_COLUMNS
  if not data.label_column:
    wanted["label_column"] = _LABEL_COLUMNS
  is_table = tables.format_suffix(path) in tables.SUFFIXES and path.is_file()
  if not wanted or not data.header or not is_table:
    return {}
  names = tables.column_names(path, **tables.text_options(vars(data)))
  found = {
    field: _usual(path, field, names, usual) for field, usual in wanted.items()
  }
  for field, name in found.items():
    print(f"--{field}={name}, found by its name", file=sys.stderr, flush=True)
  return found


def _usual(
  path: pathlib.Path, field: str, names: Sequence[str], usual: Sequence[str]
) -> str:
  """Returns the column with the first of the usual names that occurs."""
  by_lower = {str(name).lower(): name for name in names}
  for name in usual:
    if name in by_lower:
      return by_lower[name]
  raise ValueError(
    f"--{field} is not set, and no column of {path} is called "
    f"{', '.join(usual[:3])} or the like: set it to one of {list(names)}."
  )
