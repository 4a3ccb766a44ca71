"""Reading compiled programs: loops, collectives, operations."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from benchmarks.flops import matmul_flops
from experiments.distributed import mesh as mesh_lib
from experiments.planning import costs
from experiments.planning import hlo
from experiments.planning.collectives import collectives

_MESH = {"cell": 2, "data": 4}
_HEAD = "HloModule m\n\n"


def _compiled(function, *arguments):
  text = jax.jit(function).lower(*arguments).compile().as_text()
  return hlo.parse(text)


def _entry(line: str) -> hlo.Module:
  return hlo.parse(f"{_HEAD}ENTRY %main (p: f32[4]) -> f32[4] {{\n  {line}\n}}")


@pytest.mark.parametrize(
  ("axes", "exchange", "kind"),
  [
    (("data",), lambda x: jax.lax.psum(x, "data"), "all-reduce"),
    (("cell",), lambda x: jax.lax.psum(x, "cell"), "all-reduce"),
    (("cell", "data"), lambda x: jax.lax.psum(x, tuple(_MESH)), "all-reduce"),
    (("data",), lambda x: jax.lax.all_gather(x, "data"), "all-gather"),
    (
      ("cell",),
      lambda x: jax.lax.ppermute(x, "cell", [(0, 1), (1, 0)]),
      "collective-permute",
    ),
    (
      ("data",),
      lambda x: jax.lax.all_to_all(x, "data", 0, 0),
      "all-to-all",
    ),
  ],
)
def test_collectives_are_found_with_their_axes(axes, exchange, kind):
  mesh = mesh_lib.make_mesh(2, 4)
  assert dict(mesh.shape) == _MESH
  function = jax.shard_map(
    lambda x: exchange(x).reshape(-1),
    mesh=mesh,
    in_specs=P(("cell", "data")),
    out_specs=P(("cell", "data")),
    check_vma=False,
  )
  module = _compiled(function, jnp.zeros(32))
  (found,) = collectives(module, 8)
  assert (found.kind, found.axes(_MESH), found.times) == (kind, axes, 1)
  assert found.size == 4 * 4 * (4 if kind == "all-gather" else 1)


def test_an_exchange_in_a_loop_counts_as_often_as_it_runs():
  mesh = mesh_lib.make_mesh(2, 4)

  def body(carry, _):
    return jax.lax.psum(jnp.sin(carry), "data"), None

  function = jax.shard_map(
    lambda x: jax.lax.scan(body, x, length=7)[0],
    mesh=mesh,
    in_specs=P("cell"),
    out_specs=P("cell"),
    check_vma=False,
  )
  module = _compiled(function, jnp.zeros(8))
  (found,) = collectives(module, 8)
  assert (found.times, found.axes(_MESH)) == (7, ("data",))
  assert module.unknown_loops == 0


@pytest.mark.parametrize(
  ("groups", "axes"),
  [
    ("{{0,1,2,3},{4,5,6,7}}", ("data",)),
    ("{{0,4},{1,5},{2,6},{3,7}}", ("cell",)),
    ("{}", ("cell", "data")),
    ("[2,4]<=[8]", ("data",)),
    ("[4,2]<=[2,4]T(1,0)", ("cell",)),
    ("[8,1]<=[8]", ()),
    ("mesh['a'=2,'b'=4] {'b'}", ("data",)),
    ("mesh['axis_0'=2,'axis_1'=2,'c'=2] {'axis_1','c'}", ("data",)),
    ("mesh['a'=2,'b'=4] {'a'}", ("cell",)),
    ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", ("cell", "data")),
    ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}", ("cell",)),
    ("mesh['a'=2,'b'=4], device_ids=(0,4,1,5,2,6,3,7) {'a'}", ("data",)),
  ],
)
def test_groups_in_every_form(groups, axes):
  line = (
    "ROOT %r = f32[4]{0:T(128)S(1)} all-reduce(%p), channel_id=2, "
    f"replica_groups={groups}, use_global_device_ids=true, to_apply=%add, "
    'metadata={op_name="jit(f)/sum"}'
  )
  (found,) = collectives(_entry(line), 8)
  assert found.axes(_MESH) == axes
  assert (found.size, found.origin) == (16, "jit(f)/sum")


def test_groups_in_an_unknown_form_are_an_error():
  module = _entry("ROOT %r = f32[4] all-reduce(%p), replica_groups=iota:8")
  with pytest.raises(ValueError, match=r"unknown form: .*iota:8"):
    collectives(module, 8)


def test_of_a_started_exchange_the_results_count_once():
  line = (
    "%s = (f32[4]{0}, f32[16]{0}) all-gather-start(%p), "
    "replica_groups=[2,4]<=[8], dimensions={0}\n"
    "  ROOT %d = f32[16]{0} all-gather-done(%s)"
  )
  (found,) = collectives(_entry(line), 8)
  assert (found.kind, found.size) == ("all-gather", 64)


def test_operations_are_those_of_the_jaxpr():
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
  module = _compiled(function, *arguments)
  assert costs.flops(module) == matmul_flops(function, *arguments)


@pytest.mark.parametrize("stride", [1, 2])
def test_weights_on_padding_do_not_count(stride):
  # Written as a TPU's compiler does: a gradient is a convolution with gaps.
  out = 4 * stride
  line = (
    f"%p = f32[1,4,3] parameter(0)\n  %k = f32[3,3,5] parameter(1)\n"
    f"  ROOT %c = f32[1,{out},5] convolution(%p, %k), window={{size=3 "
    f"pad=1_1 lhs_dilate={stride}}}, dim_labels=b0f_0io->b0f"
  )
  pairs = sum(
    0 <= o + k - 1 <= 3 * stride and (o + k - 1) % stride == 0
    for o in range(out)
    for k in range(3)
  )
  assert costs.flops(_entry(line)) == 2 * pairs * 3 * 5


def test_cycles_count_as_often_as_their_loop_runs():
  text = f"""{_HEAD}%x (a: s32[]) -> s32[] {{
  ROOT %n = s32[] negate(%a)
}}

%body (a: s32[]) -> s32[] {{
  ROOT %f = s32[] fusion(%a), calls=%x, config={{"estimated_cycles":"10"}}
}}

%condition (a: s32[]) -> pred[] {{
  %limit = s32[]{{:T(128)}} constant(6)
  ROOT %c = pred[] compare(%a, %limit), direction=LT
}}

ENTRY %main (a: s32[]) -> s32[] {{
  %s = s32[] add(%a, %a), config={{"estimated_cycles":"3"}}
  ROOT %w = s32[] while(%s), condition=%condition, body=%body
}}
"""
  assert costs.cycles(hlo.parse(text)) == 3 + 6 * 10
  assert costs.cycles(_entry("ROOT %s = f32[4] add(%p, %p)")) is None


def test_a_cut_out_of_an_array_counts_by_itself():
  text = f"""{_HEAD}%cut (a: f32[100,8], i: s32[]) -> f32[8] {{
  %a = f32[100,8] parameter(0)
  %i = s32[] parameter(1)
  %d = f32[1,8] dynamic-slice(%a, %i, %i), dynamic_slice_sizes={{1,8}}
  ROOT %b = f32[8] bitcast(%d)
}}

ENTRY %main (x: f32[100,8], i: s32[]) -> f32[8] {{
  %x = f32[100,8] parameter(0)
  %i = s32[]{{:T(128)S(6)}} parameter(1)
  %c = f32[8]{{0:T(128)}} fusion(%x, %i), kind=kLoop, calls=%cut
  ROOT %e = f32[8]{{0:T(128)S(1)}} negate(%c)
}}
"""
  # A row read, a row written; read again, and the result stays on the chip.
  assert costs.traffic(hlo.parse(text)) == 3 * 32


def test_text_without_an_entry_is_an_error():
  with pytest.raises(ValueError, match="no ENTRY"):
    hlo.parse("HloModule m\n")
