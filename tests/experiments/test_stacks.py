"""Stacks of cells, and parts of a sweep."""

import typing

import pytest

from experiments import cells
from experiments import specs
from experiments.stacks import selected
from experiments.stacks import stacks
from tests.experiments import tiny


def expanded(**changes):
  named = {name.replace("__", "."): value for name, value in changes.items()}
  return [specs.replace(c, named) for c in cells.expand(tiny.config())]


def sizes(found):
  return sorted(len(stack.cells) for stack in stacks(found))


def test_stacks_hold_cells_that_differ_in_arrays_alone():
  # Per split: standard and oracle, 2 temperatures of vanilla, 2 S of LELP.
  assert sizes(expanded()) == 2 * [2] + 2 * [2] + 4 * [4]
  # Trials that see other batches cannot share a program's batches.
  found = sizes(expanded(data__shared_batch_order=False))
  assert found == 8 * [1] + 8 * [2]


@pytest.mark.parametrize(
  "name",
  [field for field, _ in specs.flat(tiny.cell().loss, "loss.")]
  + [field for field, _ in specs.flat(tiny.cell().subspace, "subspace.")],
)
def test_fields_are_stacked_as_declared(name):
  section, field = name.split(".")
  kind = type(getattr(tiny.cell(), section))
  (declared,) = [f for f in specs.fields_of(kind) if f.name == field]
  value = dict(specs.flat(tiny.cell()))[name]
  if isinstance(value, str):
    other = next(x for x in typing.get_args(declared.type) if x != value)
  else:
    other = value + 1
  pair = [tiny.cell(), specs.replace(tiny.cell(), {name: other})]
  assert len(stacks(pair)) == (1 if declared.is_stacked else 2)


def test_coordinates_of_different_null_spaces_are_not_stacked():
  pair = [tiny.cell(), tiny.cell(subspace__null_space="none")]
  assert len(stacks(pair)) == 1
  pair = [specs.replace(c, {"teacher.outputs": "coordinates"}) for c in pair]
  assert len(stacks(pair)) == 2


def test_stacks_follow_from_the_cells_and_are_cut_at_the_largest():
  found = expanded(stack__max_cells=3)
  first = stacks(found)
  assert sizes(found) == 4 * [1] + 4 * [2] + 4 * [3]
  assert stacks(found) == first
  assert len({stack.digest for stack in first}) == len(first)
  assert [c for stack in first for c in stack.cells] == found


def names(found):
  return {f"{c.column}/{c.row}" for c in found}


def test_patterns_are_of_column_and_row_or_of_either():
  chosen = selected(expanded(), only=["split0/l*", "oracle"])
  assert names(chosen) == {"split0/lelp", "split0/oracle", "split1/oracle"}
  chosen = selected(expanded(), only=["split1"], skip=["*/vanilla"])
  assert names(chosen) == {"split1/lelp", "split1/oracle", "split1/standard"}


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"only": ["split7"]}, "--only=split7 .*'split0'"),
    ({"skip": ["lepl"]}, "--skip=lepl .*'lelp'"),
    ({"only": ["lelp"], "skip": ["split?"]}, "--only and --skip"),
    ({"shard": "0/2"}, "--shard .*'0/2'"),
    ({"shard": "3/2"}, "--shard .*'3/2'"),
    ({"shard": "2"}, "--shard .*'2'"),
  ],
)
def test_parts_that_are_none_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    selected(expanded(), **arguments)


def test_shards_are_whole_stacks_and_make_up_the_sweep():
  found = expanded(stack__max_cells=3)  # Cuts the four cells of LELP.
  whole = [stack.digest for stack in stacks(found)]
  parts = [
    [
      stack.digest
      for stack in stacks(selected(found, shard=f"{i}/3", skip=["vanilla"]))
    ]
    for i in (1, 2, 3)
  ]
  together = [digest for part in parts for digest in part]
  assert len(together) == len(set(together))
  assert set(together) < set(whole)
  assert max(map(len, parts)) - min(map(len, parts)) <= 1
