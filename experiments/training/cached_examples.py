"""Examples with a teacher's cached outputs beside them, for a stack."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.data.dataset import Arrays
from experiments.data.dataset import Splits
from experiments.methods import method_named
from experiments.training import fitting


def resolved(configs: Sequence[ConfigDict]) -> list[ConfigDict]:
  """Returns configs that say how many coordinates they share.

  Args:
    configs: Configs of single cells. Where `config.teacher.num_coordinates`
      is 0 it becomes the largest S of those with the same null space.
  """
  most: dict[str, int] = {}
  for config in configs:
    if method_named(config.method).reads(config) == "coordinates":
      space, size = fitting.null_space(config.subspace), config.subspace
      most[space] = max(size.num_subclasses, most.get(space, 1))
  result = []
  for config in configs:
    fields = config.teacher
    if fields.outputs == "coordinates" and not fields.num_coordinates:
      config = config.copy_and_resolve_references()
      space = fitting.null_space(config.subspace)
      config.teacher.num_coordinates = most.get(space, 1)
    result.append(config)
  return result


def with_outputs(config: ConfigDict, splits: Splits, teacher: Any) -> Any:
  """Adds what a stack reads of a teacher's cached outputs to its examples.

  Args:
    config: A cell of the stack, from `resolved`.
    splits: The examples.
    teacher: A `teacher.Teacher`.

  Returns:
    ``(splits, teacher)``: with "teacher_logits" in each split, in `transfer`
    "teacher_embeddings" too where the method reads them, and the statistics
    that fit; as they were where the teacher is run inline.
  """
  cache = teacher.outputs
  if cache.mode == "inline":
    return splits, teacher
  if cache.mode == "cached":
    arrays = cache.whole
  else:
    principal, arrays = cache.coordinates(
      teacher.statistics,
      fitting.null_space(config.subspace),
      config.teacher.num_coordinates,
      config.subspace.rtol,
    )
    arrays = {"embeddings": arrays["coordinates"], "logits": arrays["logits"]}
    statistics = teacher.statistics.in_coordinates(principal)
    teacher = dataclasses.replace(teacher, statistics=statistics)

  def added(part: Arrays, *names: str) -> Arrays:
    found = {f"teacher_{k}": cache.of(arrays[k], part) for k in names}
    return part | found

  reads = method_named(config.method).reads(config)
  names = ("logits",) if reads == "logits" else ("logits", "embeddings")
  splits = dataclasses.replace(
    splits,
    transfer=added(splits.transfer, *names),
    validation=added(splits.validation, "logits"),
    test=added(splits.test, "logits"),
  )
  return splits, teacher
