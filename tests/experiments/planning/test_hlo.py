"""Costs in the text of compiled programs: loops, collectives, operations."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from experiments.distributed import mesh as mesh_lib
from experiments.planning import hlo
from experiments.training.flops import matmul_flops

_HEAD = "HloModule m\n\n"


def _compiled(function, *arguments):
  return hlo.costs(jax.jit(function).lower(*arguments).compile().as_text())


def _entry(lines):
  return hlo.costs(
    f"{_HEAD}ENTRY %main (p: f32[4]) -> f32[4] {{\n  {lines}\n}}"
  )


@pytest.mark.parametrize(
  ("exchange", "kind", "size"),
  [
    (lambda x: jax.lax.psum(x, ("cell", "data")), "all-reduce", 16),
    (lambda x: jax.lax.all_gather(x, "data"), "all-gather", 64),
    (
      lambda x: jax.lax.ppermute(x, "cell", [(0, 1), (1, 0)]),
      "collective-permute",
      16,
    ),
    (lambda x: jax.lax.all_to_all(x, "data", 0, 0), "all-to-all", 16),
  ],
)
def test_collectives_are_counted(exchange, kind, size):
  function = jax.shard_map(
    lambda x: exchange(x).reshape(-1),
    mesh=mesh_lib.make_mesh(2, 4),
    in_specs=P(("cell", "data")),
    out_specs=P(("cell", "data")),
    check_vma=False,
  )
  found = _compiled(function, jnp.zeros(32))
  assert (found.counts, found.sizes) == ({kind: 1}, {kind: size})


def test_a_collective_in_a_loop_counts_as_often_as_it_runs():
  def body(carry, _):
    return jax.lax.psum(jnp.sin(carry), "data"), None

  function = jax.shard_map(
    lambda x: jax.lax.scan(body, x, length=7)[0],
    mesh=mesh_lib.make_mesh(2, 4),
    in_specs=P("cell"),
    out_specs=P("cell"),
    check_vma=False,
  )
  found = _compiled(function, jnp.zeros(8))
  assert found.counts == {"all-reduce": 7}
  assert not found.unknown_loops


def test_only_the_results_of_a_started_collective_count():
  found = _entry(
    "%s = (f32[4]{0}, f32[16]{0}) all-gather-start(%p), dimensions={0}\n"
    "  ROOT %d = f32[16]{0} all-gather-done(%s)"
  )
  assert (found.counts, found.sizes) == ({"all-gather": 1}, {"all-gather": 64})


def test_products_convolutions_and_loops_are_counted():
  def function(x, kernel, images):
    def body(carry, _):
      return jnp.tanh(carry @ x), None

    carry, _ = jax.lax.scan(body, jnp.ones((3, 5)), length=7)
    convolution = functools.partial(
      jax.lax.conv_general_dilated,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    out = convolution(images, kernel, (2, 2), "VALID", feature_group_count=2)
    return carry.sum() + out.sum()

  arguments = jnp.ones((5, 5)), jnp.ones((3, 3, 1, 4)), jnp.ones((1, 9, 9, 2))
  # Seven products of 3 x 5 by 5 x 5; 4 x 4 x 4 outputs of nine weights each.
  expected = 7 * 2 * 3 * 5 * 5 + 2 * 9 * 4 * 4 * 4
  assert _compiled(function, *arguments).flops == expected
  assert matmul_flops(jax.jit(function), *arguments) == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_weights_on_padding_and_gaps_do_not_count(stride):
  # Compilers for TPUs write a gradient as a convolution with gaps.
  out = 4 * stride
  found = _entry(
    f"%p = f32[1,4,3] parameter(0)\n  %k = f32[3,3,5] parameter(1)\n"
    f"  ROOT %c = f32[1,{out},5] convolution(%p, %k), window={{size=3 "
    f"pad=1_1 lhs_dilate={stride}}}, dim_labels=b0f_0io->b0f"
  )
  pairs = sum(
    0 <= o + k - 1 <= 3 * stride and (o + k - 1) % stride == 0
    for o in range(out)
    for k in range(3)
  )
  assert found.flops == 2 * pairs * 3 * 5


@pytest.mark.parametrize(
  ("limit", "times"), [("constant(6)", 6), ("copy(%a)", 1)]
)
def test_cycles_count_as_often_as_their_loop_runs(limit, times):
  found = hlo.costs(f"""{_HEAD}%x (a: s32[]) -> s32[] {{
  ROOT %n = s32[] negate(%a)
}}

%body (a: s32[]) -> s32[] {{
  ROOT %f = s32[] fusion(%a), calls=%x, config={{"estimated_cycles":"10"}}
}}

%condition (a: s32[]) -> pred[] {{
  %limit = s32[]{{:T(128)}} {limit}
  ROOT %c = pred[] compare(%a, %limit), direction=LT
}}

ENTRY %main (a: s32[]) -> s32[] {{
  %s = s32[] add(%a, %a), config={{"estimated_cycles":"3"}}
  ROOT %w = s32[] while(%s), condition=%condition, body=%body
}}
""")
  assert found.cycles == 3 + times * 10
  assert found.unknown_loops == (times == 1)
  assert _entry("ROOT %s = f32[4] add(%p, %p)").cycles == 0
