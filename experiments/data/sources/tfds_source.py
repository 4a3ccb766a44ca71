"""Datasets that TensorFlow Datasets has prepared, read without TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data.sources import files
from experiments.data.sources.column_source import checked_index

# Where the parts of an example stand among a dataset's features: the first row
# whose text or image, and label, are there.
FIELDS: tuple[dict[str, str], ...] = (
  # cifar10, cifar100
  {"id": "id", "image": "image", "label": "label"},
  # glue/cola, glue/sst2
  {"id": "idx", "text": "sentence", "label": "label"},
  # imdb_reviews
  {"text": "text", "label": "label"},
  # sentiment140
  {"text": "text", "label": "polarity"},
  # amazon_us_reviews
  {
    "id": "data/review_id",
    "headline": "data/review_headline",
    "text": "data/review_body",
    "label": "data/star_rating",
  },
)


class TfdsSource:
  """A split of a dataset in TFDS's ArrayRecord form (`types.Source`).

  An example's "id" is the dataset's own where it has one, else its position in
  the prepared files. Unlabelled examples, which TFDS gives the label -1, have
  no "label". Amazon's have a "headline" as well.

  Attributes:
    name: The dataset and the split.
    class_names: TFDS's names of the classes, () where it has none.
  """

  def __init__(
    self,
    name: str,
    split: str,
    data_dir: files.Path | None = None,
    *,
    fields: Mapping[str, str] | None = None,
  ):
    """Opens a split of a prepared dataset; nothing is downloaded or made.

    Args:
      name: The dataset as TFDS calls it, such as "glue/cola".
      split: Such as "train" or "train[:10%]".
      data_dir: TFDS's folder; by default the one that it uses itself.
      fields: The feature of each part of an example, "/" for features inside
        others, such as {"text": "review/body", "label": "stars"}. By default
        those in `FIELDS`.

    Raises:
      FileNotFoundError: If the dataset is not prepared.
      ValueError: If it has another form than ArrayRecord, there is no such
        dataset, split or feature, or the features have other names.
    """
    builder = _builder(name, data_dir)
    self.name = f"{name} {split}"
    try:
      self._examples = builder.as_data_source(split)
    except (KeyError, NotImplementedError, ValueError) as error:
      raise _explained(error, builder, name, split) from error
    self._folder = builder.data_dir
    features = _flat(builder.info.features)
    self._fields = _fields(name, features, fields)
    label = features.get(self._fields.get("label", ""))
    self.class_names = tuple(getattr(label, "names", None) or ())

  def __str__(self) -> str:
    return self.name

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> dict[str, Any]:
    index = checked_index(self, index)
    try:
      record = self._examples[index]
    except RuntimeError as error:  # What ArrayRecord finds wrong in a file.
      raise self._damaged(index, str(error)) from error
    example = {"id": index}
    for key, path in self._fields.items():
      example[key] = _plain(record, path)
      if example[key] is None:  # What it finds where a file is cut short.
        raise self._damaged(index, f"no {path!r}")
    if example.get("label") == -1:
      del example["label"]
    return example

  def _damaged(self, index: int, reason: str) -> ValueError:
    return ValueError(
      f"{self}: cannot read example {index} ({_first_line(reason)}): prepare "
      f"{self._folder} again."
    )


def _builder(name: str, data_dir: files.Path | None) -> Any:
  """Returns TFDS's builder of a dataset."""
  # Takes half a second, and only this source needs it.
  import tensorflow_datasets as tfds

  # Without it, or h5py, TFDS does not find its older text datasets.
  import tensorflow_datasets.text

  try:
    return tfds.builder(name, data_dir=data_dir)
  except Exception as error:  # It raises all kinds, some of many lines.
    where = "its own folder" if data_dir is None else data_dir
    raise ValueError(
      f"TFDS cannot open {name!r} in {where}: {_first_line(str(error))}."
    ) from error


def _explained(
  error: Exception, builder: Any, name: str, split: str
) -> Exception:
  """Returns the error that says why a dataset cannot be read."""
  root = builder.data_dir_root
  if not builder.info.splits:
    return FileNotFoundError(
      f"{name} is not prepared in {root}: run `tfds build {name} "
      f"--file_format=array_record --data_dir={root}`, which needs the "
      f"`prepare` extra, or use its original files: `python -m "
      f"experiments.prepare --dataset=ID --source=DIR --data_dir=DIR`."
    )
  formats = sorted(f.value for f in builder.info.available_file_formats())
  if not {"array_record", "parquet"}.intersection(formats):
    return ValueError(
      f"{name} is prepared as {formats[0]} in {builder.data_dir}, and only "
      f"array_record can be read: run `tfds convert_format "
      f"--dataset_version_dir={builder.data_dir} "
      f"--out_file_format=array_record`, which needs the `prepare` extra."
    )
  if split.partition("[")[0] not in builder.info.splits:
    return ValueError(
      f"{name} has no split {split!r}: it has {sorted(builder.info.splits)}."
    )
  return ValueError(
    f"cannot read the split {split!r} of {name}: {_first_line(str(error))}."
  )


def _first_line(message: str) -> str:
  return message.strip().partition("\n")[0].rstrip(".:")


def _fields(
  name: str, features: Mapping[str, Any], fields: Mapping[str, str] | None
) -> dict[str, str]:
  """Returns which feature is which part of an example."""
  if fields is not None:
    for feature in fields.values():
      if feature not in features:
        raise ValueError(
          f"{name} has no feature {feature!r}: it has {sorted(features)}."
        )
    return dict(fields)
  for row in FIELDS:
    present = {key: path for key, path in row.items() if path in features}
    if row.keys() - present.keys() <= {"id"}:
      return present
  raise ValueError(
    f"{name} has the features {sorted(features)}: say which is which, as "
    f"fields={{'text': ..., 'label': ...}}."
  )


def _flat(features: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns features by their paths, such as "data/star_rating"."""
  flat = {}
  for key, feature in features.items():
    inner = hasattr(feature, "items")
    flat |= (
      _flat(feature, f"{prefix}{key}/") if inner else {prefix + key: feature}
    )
  return flat


def _plain(record: Any, path: str) -> Any:
  """Returns a feature of a record as a str, an int or an image."""
  for key in path.split("/"):
    record = record[key]
  if isinstance(record, bytes):  # Text of real data; mocked ones have str.
    return record.decode()
  if isinstance(record, np.ndarray | np.generic) and record.ndim == 0:
    return record.item()
  return record
