"""Ordinary user modules, untouched, through both adapters."""

import contextlib
import functools
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.linen import module as linen_module

from lelp_jax.models import from_linen
from lelp_jax.models import from_nnx
from lelp_jax.models import Head

BATCH, FEATURES, CLASSES = 6, 5, 3


class LinenCompact(nn.Module):
  """Returns log probabilities, keeps BatchNorm and Dropout."""

  @nn.compact
  def __call__(self, x, train: bool):
    x = nn.Dense(8, name="body")(x)
    x = nn.BatchNorm(use_running_average=not train)(x)
    x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
    self.sow("losses", "activity", jnp.sum(x))
    return nn.log_softmax(nn.Dense(CLASSES, name="head")(x))


class LinenSetup(nn.Module):
  """Declares layers in setup; its flag is `deterministic`."""

  def setup(self):
    self.body = nn.Dense(8)
    self.norm = nn.BatchNorm()
    self.dropout = nn.Dropout(0.5)
    self.head = nn.Dense(CLASSES)

  def __call__(self, x, *, deterministic=True):
    x = self.norm(self.body(x), use_running_average=deterministic)
    x = self.dropout(nn.relu(x), deterministic=deterministic)
    return {"scores": self.head(x)}


class Classifier(nn.Module):
  @nn.compact
  def __call__(self, x, is_training):
    x = nn.Dropout(0.5)(x, deterministic=not is_training)
    return nn.Dense(CLASSES, use_bias=False, name="out")(inputs=x)


class LinenNested(nn.Module):
  """A head without bias, inside a block that is rematerialised."""

  @nn.compact
  def __call__(self, x, is_training=False):
    x = nn.BatchNorm(use_running_average=not is_training)(nn.Dense(8)(x))
    block = nn.remat(Classifier, static_argnums=(2,))
    return block(name="classifier")(nn.relu(x), is_training), x


class NnxFlat(nnx.Module):
  def __init__(self, rngs):
    self.body = nnx.Linear(FEATURES, 8, rngs=rngs)
    self.norm = nnx.BatchNorm(8, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)
    self.head = nnx.Linear(8, CLASSES, rngs=rngs)

  def __call__(self, x):
    x = self.dropout(nnx.relu(self.norm(self.body(x))))
    return jax.nn.log_softmax(self.head(x))


class NnxNested(nnx.Module):
  """Lists of layers, a head without bias, a flag of its own."""

  def __init__(self, rngs):
    self.blocks = nnx.List([nnx.Linear(FEATURES, 8, rngs=rngs)])
    self.net = nnx.Sequential(
      nnx.BatchNorm(8, rngs=rngs),
      nnx.relu,
      nnx.Linear(8, CLASSES, use_bias=False, rngs=rngs),
    )
    self.rngs = rngs

  def __call__(self, x, *, train=True):
    x = self.blocks[0](x)
    if train:
      x = x + self.rngs.normal(x.shape)
    return self.net(x), x


MODELS = {
  "linen compact": lambda: from_linen(LinenCompact(), head="head"),
  "linen setup": lambda: from_linen(LinenSetup(), head="head"),
  "linen nested": lambda: from_linen(LinenNested(), head="classifier/out"),
  "nnx constructor": lambda: from_nnx(NnxFlat, head="head"),
  "nnx instance": lambda: from_nnx(NnxFlat(nnx.Rngs(0)), head="head"),
  "nnx nested": lambda: from_nnx(NnxNested, head="net.layers.2"),
}


@functools.cache
def started_once(name):
  model = MODELS[name]()
  init = jax.jit(model.init)
  return model, *init(jax.random.key(0), jnp.ones([BATCH, FEATURES]))


@pytest.fixture(params=MODELS, name="started")
def fixture_started(request):
  """A model, its params and its state."""
  return started_once(request.param)


@functools.cache
def applied(model):
  """The model's `apply`, compiled once for all tests."""
  return jax.jit(model.apply, static_argnames="train")


@pytest.fixture(name="inputs")
def fixture_inputs(rng):
  return jnp.asarray(rng.normal(size=[BATCH, FEATURES]), jnp.float32)


@pytest.fixture(name="run")
def fixture_run(started, inputs):
  """The started model on the inputs."""
  model, started_params, model_state = started

  def run(*, train, seed=1, params=started_params):
    key = jax.random.key(seed)
    return applied(model)(params, model_state, inputs, train=train, key=key)

  return run


def logits_of(outputs, head):
  logits = outputs.embeddings @ head.kernel
  return logits if head.bias is None else logits + head.bias[None, :]


def test_apply_logits_are_the_heads(started, run, rng):
  model, params, _ = started
  params = jax.tree.map(  # Biases start at zero.
    lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), params
  )
  for train in (False, True):
    outputs, _ = run(train=train, params=params)
    assert outputs.embeddings.shape == (BATCH, 8)
    assert outputs.logits.shape == (BATCH, CLASSES)
    chex.assert_trees_all_close(
      outputs.logits, logits_of(outputs, model.head(params)), rtol=1e-5
    )


def test_apply_equals_the_module_itself(inputs):
  model, params, model_state = started_once("linen compact")

  @jax.jit
  def both(params, model_state, seed):
    outputs, new_state = model.apply(
      params, model_state, inputs, train=True, key=jax.random.key(seed)
    )
    expected = LinenCompact().apply(
      {"params": params, **model_state},
      inputs,
      True,
      rngs={"dropout": jax.random.key(seed)},
      mutable=["batch_stats"],
    )
    return (jax.nn.log_softmax(outputs.logits), new_state), expected

  (log_probs, new_state), (expected, updates) = both(params, model_state, 1)
  chex.assert_trees_all_close(log_probs, expected)
  chex.assert_trees_all_equal(new_state, dict(updates))


def test_apply_equals_the_nnx_module_itself(inputs):
  module = NnxFlat(nnx.Rngs(0))
  model = from_nnx(module, head="head")
  params, model_state = model.init(jax.random.key(0), inputs)
  outputs, _ = model.apply(params, model_state, inputs)
  module.eval()
  chex.assert_trees_all_close(
    jax.nn.log_softmax(outputs.logits), module(inputs)
  )


def test_apply_updates_state_only_in_training(started, run):
  _, _, model_state = started
  _, same = run(train=False)
  chex.assert_trees_all_equal(same, model_state)
  _, new = run(train=True)
  chex.assert_trees_all_equal_shapes_and_dtypes(new, model_state)
  changed = jax.tree.map(
    lambda a, b: bool(np.any(a != b)), *jax.device_get((new, model_state))
  )
  assert jax.tree.leaves(changed) == [True, True]  # Mean and variance.


def test_apply_draws_from_the_key_in_training(run):
  first, again, other = (
    np.asarray(run(train=True, seed=seed)[0].embeddings) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)
  chex.assert_trees_all_equal(run(train=False), run(train=False, seed=2))


def test_apply_without_the_key_it_needs(started, inputs):
  model, *values = started
  jax.eval_shape(model.apply, *values, inputs)
  train = functools.partial(model.apply, train=True)
  with pytest.raises(ValueError, match="key"):
    jax.eval_shape(train, *values, inputs)


def test_params_train_with_optax_jit_and_donation(started, inputs):
  model, *_ = started
  init = jax.jit(model.init)
  params, model_state = init(jax.random.key(0), inputs)
  tx = optax.adam(0.05)

  @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
  def step(params, model_state, opt_state, key):
    def loss_of(params):
      outputs, new_state = model.apply(
        params, model_state, inputs, train=True, key=key
      )
      return jnp.mean(outputs.logits**2), new_state

    grad = jax.value_and_grad(loss_of, has_aux=True)
    (loss, model_state), gradient = grad(params)
    updates, opt_state = tx.update(gradient, opt_state)
    return optax.apply_updates(params, updates), model_state, opt_state, loss

  carry, losses = (params, model_state, tx.init(params)), []
  for i in range(20):
    *carry, loss = step(*carry, jax.random.key(i))
    losses.append(float(loss))
  assert losses[-1] < 0.5 * losses[0]
  # The user's module was not donated: it can be initialized again.
  chex.assert_tree_all_finite(init(jax.random.key(0), inputs))


@pytest.mark.parametrize("name", ["linen nested", "nnx nested"])
def test_vmap_over_stacked_models_equals_each(name, inputs):
  model, *values = started_once(name)
  values = jax.device_get(values)
  stack = jax.tree.map(lambda x: np.stack([x, np.float32(1.5) * x]), values)

  def objective(params, model_state, key):
    outputs, model_state = model.apply(
      params, model_state, inputs, train=True, key=key
    )
    return jnp.mean(outputs.logits**2), (outputs, model_state)

  grad = jax.jit(jax.grad(objective, has_aux=True))
  stacked = jax.device_get(
    jax.jit(jax.vmap(grad))(*stack, jax.random.split(jax.random.key(1), 2))
  )
  for i, key in enumerate(jax.random.split(jax.random.key(1), 2)):
    one = grad(*jax.tree.map(lambda x, i=i: x[i], stack), key)
    chex.assert_trees_all_close(
      one, jax.tree.map(lambda x, i=i: x[i], stacked), rtol=1e-4, atol=1e-6
    )


def test_init_keys(inputs):
  model = from_nnx(NnxFlat, head="head")
  first, again, other = (
    model.init(jax.random.key(seed), inputs)[0] for seed in (0, 0, 1)
  )
  chex.assert_trees_all_equal(first, again)
  assert jnp.any(model.head(first).kernel != model.head(other).kernel)
  given = from_nnx(NnxFlat(nnx.Rngs(7)), head="head")
  chex.assert_trees_all_equal(
    given.init(jax.random.key(0), inputs), given.init(jax.random.key(1), inputs)
  )


def test_init_has_shapes_without_values(started, inputs):
  model, *values = started
  shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
  chex.assert_trees_all_equal_shapes_and_dtypes(shapes, tuple(values))
  keys = jax.random.split(jax.random.key(0), 2)
  stacked = jax.eval_shape(jax.vmap(model.init, (0, None)), keys, inputs)
  for stack, one in zip(*map(jax.tree.leaves, (stacked, shapes)), strict=True):
    assert stack.shape == (2, *one.shape)


def test_with_head_round_trip_leaves_its_argument(started, run):
  model, params, _ = started
  before = jax.tree.map(np.array, params)
  old = model.head(params)
  new = jax.tree.map(lambda x: x + 1, old)
  replaced = model.with_head(params, new)
  chex.assert_trees_all_equal(model.head(replaced), new)
  chex.assert_trees_all_equal(params, before)
  chex.assert_trees_all_equal(model.with_head(replaced, old), params)
  outputs, _ = run(train=False, params=replaced)
  chex.assert_trees_all_close(
    outputs.logits, logits_of(outputs, new), rtol=1e-5
  )


def test_with_head_takes_more_outputs_and_stacks(started):
  model, params, _ = started
  wider = jax.tree.map(
    lambda x: jnp.concatenate([x, x], axis=-1), model.head(params)
  )
  assert model.head(model.with_head(params, wider)).kernel.shape == (8, 6)
  stack = jax.tree.map(lambda x: jnp.stack([x, x]), (params, wider))
  stacked = model.head(model.with_head(*stack))
  assert stacked.kernel.shape == (2, 8, 6)
  chex.assert_trees_all_equal(
    stacked, model.head(jax.vmap(model.with_head)(*stack))
  )


def test_with_head_refuses_what_does_not_fit(inputs):
  model, params, _ = started_once("linen compact")
  kernel, bias = model.head(params)
  with pytest.raises(ValueError, match=r"\(5, 3\)"):
    model.with_head(params, Head(kernel[:5], bias))
  with pytest.raises(ValueError, match=r"\(2,\)"):
    model.with_head(params, Head(kernel, bias[:2]))
  with pytest.raises(ValueError, match=r"'head'.*bias.*none"):
    model.with_head(params, Head(kernel, None))
  model = from_linen(LinenNested(), head="classifier.out")
  params, _ = jax.jit(model.init)(jax.random.key(0), inputs)
  with pytest.raises(ValueError, match=r"'classifier.out'.*bias.*one"):
    model.with_head(params, Head(model.head(params).kernel, bias))


class Bad(nn.Module):
  """Layers that cannot be a head, each for a reason of its own."""

  kind: str

  @nn.compact
  def __call__(self, x):
    x = nn.Dense(8, name="body")(x)
    head = nn.Dense(8, name="head")
    if self.kind == "twice":
      return head(head(x))
    if self.kind == "rank 3":
      return head(jnp.stack([x, x], axis=1)).mean(axis=1)
    if self.kind == "activation":
      return Activated(8, name="relu")(x)
    return nn.LayerNorm(name="norm")(head(x))


class Activated(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x):
    init = nn.initializers.lecun_normal()
    kernel = self.param("kernel", init, (x.shape[-1], self.features))
    return nn.relu(x @ kernel)


@pytest.mark.parametrize(
  ("kind", "head", "message"),
  [
    ("", "heads", r"head='heads'.*: body, head, norm"),
    ("", "body/kernel", r"head='body/kernel'.*linear"),
    ("", "norm", r"head='norm'.*linear.*: body, head"),
    ("twice", "head", r"head='head'.* 2 .*: body, he"),
    ("rank 3", "head", r"head='head'.*\[B, D\].*: body, head"),
    ("activation", "relu", r"head='relu'.*embeddings @ kernel"),
  ],
)
def test_from_linen_refuses_head(kind, head, message, inputs):
  with pytest.raises(ValueError, match=message):
    from_linen(Bad(kind), head=head).init(jax.random.key(0), inputs)


@pytest.mark.parametrize(
  ("adapter", "module", "other"),
  [
    (from_linen, Bad, "from_nnx"),
    (from_linen, NnxFlat, "from_nnx"),
    (from_linen, {"kernel": 0}, "from_nnx"),
    (from_nnx, Bad(""), "from_linen"),
    (from_nnx, {"kernel": 0}, "from_linen"),
  ],
)
def test_adapters_refuse_what_is_not_their_module(adapter, module, other):
  with pytest.raises(TypeError, match=f"module must .*{other}"):
    adapter(module, head="head")


def test_from_linen_apply_refuses_head(inputs):
  params, state = jax.jit(from_linen(Bad(""), head="head").init)(
    jax.random.key(0), inputs
  )
  with pytest.raises(ValueError, match=r"head='head'.* 0 "):
    from_linen(BodyOnly(), head="head").apply(params, state, inputs)
  with pytest.raises(ValueError, match="head='top'"):
    from_linen(Bad(""), head="top").head(params)


class BodyOnly(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(8, name="body")(x)


class NnxLifted(nnx.Module):
  """A head inside a module that Flax jits and rematerialises."""

  class Block(NnxFlat):
    @nnx.jit
    def __call__(self, x):
      scale = jnp.linalg.norm(self.head.kernel[...])
      return super().__call__(x) * scale

  def __init__(self, rngs):
    self.block = self.Block(rngs)

  def __call__(self, x):
    return nnx.remat(lambda block, x: block(x))(self.block, x)


def test_from_nnx_hears_a_layer_inside_jit_and_remat(inputs):
  model = from_nnx(NnxLifted, head="block.head")
  params, model_state = jax.jit(model.init)(jax.random.key(0), inputs)

  @jax.jit
  @jax.grad
  def gradient(params):
    outputs, _ = model.apply(
      params, model_state, inputs, train=True, key=jax.random.key(1)
    )
    assert outputs.embeddings.shape == (BATCH, 8)
    return jnp.sum(outputs.logits**2)

  found = jax.device_get(gradient(params))
  chex.assert_tree_all_finite(found)
  assert np.any(found["block"]["body"]["kernel"])


class NnxTwice(NnxFlat):
  def __call__(self, x):
    self.head(self.dropout(self.norm(self.body(x))))
    return self.head(self.body(x))


class NnxNormalised(NnxFlat):
  class Cosine(nnx.Linear):
    def __call__(self, x):
      return super().__call__(x / jnp.linalg.norm(x, axis=-1, keepdims=True))

  def __init__(self, rngs):
    super().__init__(rngs)
    self.head = self.Cosine(8, CLASSES, rngs=rngs)


def test_from_nnx_refuses_head(inputs):
  with pytest.raises(ValueError, match=r"head='top'.* body, head, norm"):
    from_nnx(NnxFlat, head="top")
  with pytest.raises(ValueError, match=r"head='norm'.*linear"):
    from_nnx(NnxFlat, head="norm")
  init = from_nnx(NnxTwice, head="head").init
  with pytest.raises(ValueError, match=r"head='head'.* 2 "):
    jax.eval_shape(init, jax.random.key(0), inputs)
  with pytest.raises(ValueError, match=r"head='head'.*embeddings @ kernel"):
    from_nnx(NnxNormalised, head="head").init(jax.random.key(0), inputs)


class Jitted(nn.Module):
  """A head that extends Dense, inside a block that Flax jits."""

  class Head(nn.Dense):
    @nn.compact
    def __call__(self, x):
      return super().__call__(x)

  @nn.jit
  @nn.compact
  def __call__(self, x):
    return self.Head(CLASSES, name="out")(nn.Dense(8)(x))


def test_from_linen_hears_an_extended_layer_inside_jit(inputs):
  Jitted().init(jax.random.key(0), inputs)  # Fills Flax's cache, unheard.
  model = from_linen(Jitted(), head="out")
  params, model_state = model.init(jax.random.key(0), inputs)
  for _ in range(2):
    outputs, _ = model.apply(params, model_state, inputs)
    assert outputs.embeddings.shape == (BATCH, 8)


class LinenKeywords(nn.Module):
  """Inputs as parameters of its call, a flag as in Equinox."""

  @nn.compact
  def __call__(self, input_ids, attention_mask=None, *, inference=True):
    x = nn.Embed(10, 8)(input_ids)
    if attention_mask is not None:
      x = x * attention_mask[..., None]
    x = nn.Dropout(0.5)(x.mean(axis=1), deterministic=inference)
    return nn.Dense(CLASSES, name="head")(x)


class NnxKeywords(nnx.Module):
  """The same."""

  def __init__(self, rngs):
    self.embed = nnx.Embed(10, 8, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)
    self.head = nnx.Linear(8, CLASSES, rngs=rngs)

  def __call__(self, input_ids, attention_mask=None, *, inference=True):
    x = self.embed(input_ids)
    if attention_mask is not None:
      x = x * attention_mask[..., None]
    return self.head(self.dropout(x.mean(axis=1), deterministic=inference))


KEYWORDS = {
  "linen": lambda: from_linen(LinenKeywords(), head="head"),
  "nnx": lambda: from_nnx(NnxKeywords, head="head"),
}


@pytest.mark.parametrize("adapter", KEYWORDS)
def test_inputs_are_given_by_name_where_the_module_takes_them_so(adapter):
  model = KEYWORDS[adapter]()
  ids = jnp.arange(8).reshape(2, 4)
  inputs = {"input_ids": ids, "attention_mask": ids % 2}
  params, state = jax.jit(model.init)(jax.random.key(0), inputs)

  def embed(inputs, **options):
    outputs, _ = applied(model)(params, state, inputs, **options)
    return np.asarray(outputs.embeddings)

  whole = embed({"input_ids": ids})
  np.testing.assert_array_equal(embed(ids), whole)
  assert np.all(embed(inputs) != whole)
  kept = embed(inputs, train=True, key=jax.random.key(1)) != 0
  assert 0 < kept.sum() < kept.size
  with pytest.raises(ValueError, match=r"'input_ids'.*'position_ids'"):
    model.apply(params, state, {"input_ids": ids, "position_ids": ids})


def test_any_name_is_taken_by_a_module_with_keyword_arguments():
  class Open(nn.Module):
    @nn.compact
    def __call__(self, *, x, **more):
      return nn.Dense(CLASSES, name="head")(x + more["y"])

  model = from_linen(Open(), head="head")
  inputs = {"x": jnp.ones([2, 5]), "y": jnp.ones([2, 5])}
  params, state = model.init(jax.random.key(0), inputs)
  outputs, _ = model.apply(params, state, inputs)
  chex.assert_trees_all_equal(outputs.embeddings, 2 * inputs["x"])


def test_linen_models_leave_no_interceptor(inputs, monkeypatch):
  """Flax takes its interceptors off in an assert, which may not run."""

  @contextlib.contextmanager
  def intercept_methods(interceptor):
    linen_module._global_interceptor_stack.push(interceptor)
    yield

  monkeypatch.setattr(nn, "intercept_methods", intercept_methods)
  model = from_linen(BodyOnly(), head="body")
  values = model.init(jax.random.key(0), inputs)
  model.apply(*values, inputs)
  assert not len(linen_module._global_interceptor_stack)


def test_from_linen_unboxes_partitioned_params(inputs):
  class Partitioned(nn.Module):
    @nn.compact
    def __call__(self, x):
      init = nn.with_partitioning(nn.initializers.ones, (None, "model"))
      return nn.Dense(CLASSES, kernel_init=init, name="head")(x)

  model = from_linen(Partitioned(), head="head")
  params, model_state = model.init(jax.random.key(0), inputs)
  assert isinstance(model.head(params).kernel, jax.Array)
  outputs, _ = model.apply(params, model_state, inputs)
  np.testing.assert_allclose(
    outputs.logits[:, 0], inputs.sum(axis=1), rtol=1e-5, atol=1e-6
  )


def test_from_nnx_leaves_the_module_as_it_is(inputs):
  module = NnxFlat(nnx.Rngs(0))

  def arrays():
    parts = nnx.state(module, nnx.Param, nnx.BatchStat)
    return [nnx.to_pure_dict(jax.tree.map(jnp.copy, part)) for part in parts]

  before = arrays()
  model = from_nnx(module, head="head")
  params, model_state = model.init(jax.random.key(0), inputs)
  model.apply(params, model_state, inputs, train=True, key=jax.random.key(1))
  chex.assert_trees_all_equal(arrays(), before)
  assert type(module.head) is nnx.Linear
  assert not module.dropout.deterministic


def test_from_nnx_constructor_with_a_plain_array_and_named_rngs():
  """Constants that are no variables, and `rngs` by keyword alone."""

  class Centred(nnx.Module):
    def __init__(self):
      self.mean = jnp.full((5,), 0.5)

    def __call__(self, x):
      return x - self.mean[None]

  class Normalised(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
      self.body = nnx.Sequential(Centred(), nnx.Linear(5, 4, rngs=rngs))
      self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
      return self.out(nnx.relu(self.body(x)))

  model = from_nnx(Normalised, head="out")
  inputs, key = jnp.ones((4, 5)), jax.random.key(0)
  params, state = model.init(key, inputs)
  traced = jax.jit(lambda key: model.init(key, inputs)[1])(key)
  chex.assert_trees_all_equal(traced, state)
  _, after = jax.eval_shape(
    functools.partial(model.apply, train=True),
    params,
    state,
    inputs,
    key=jax.random.key(1),
  )
  assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.slow
def test_linen_models_run_without_asserts():
  """`python -O` drops assert statements, and Flax's have side effects."""
  program = (
    "import jax, jax.numpy as jnp\n"
    "from lelp_jax.models import MODELS\n"
    "from flax.linen import module\n"
    "model = MODELS['mlp'](2, features=(4,))\n"
    "values = model.init(jax.random.key(0), jnp.eye(3))\n"
    "for _ in range(2):\n"
    "  model.apply(*values, jnp.eye(3))\n"
    "print(__debug__, len(module._global_interceptor_stack))\n"
  )
  command = [sys.executable, "-O", "-c", program]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.split() == ["False", "0"]
