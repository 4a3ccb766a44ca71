"""The steps, with losses written here: cross entropy and KL to a teacher."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lelp_jax import metrics as metrics_lib
from lelp_jax.models import MODELS
from lelp_jax.models import Outputs
from lelp_jax.train_step import make_distill_step
from lelp_jax.train_step import make_eval_step
from lelp_jax.train_step import make_train_step
from lelp_jax.train_step import teacher_outputs
from lelp_jax.train_step import TrainState
from tests import jaxprs

CLASSES, BATCH = 3, 24
TX = optax.sgd(0.1, momentum=0.9)
OPTIONS = {
  "mlp": {"features": (8,), "dropout_rate": 0.2},
  "cnn": {"features": (4,), "width": 8},
}


def cross_entropy(inputs):
  losses = optax.softmax_cross_entropy_with_integer_labels(
    inputs.student.logits, inputs.batch["labels"]
  )
  weight = inputs.hyperparameters["weight"]
  return weight * losses.mean(), ({}, inputs.loss_state)


def kl(inputs):
  """KL to shifted teacher logits: one use of every input of a loss."""
  student, teacher = inputs.student, inputs.teacher
  temperature = inputs.hyperparameters["temperature"]
  noise = 0.1 * jax.random.normal(inputs.key, teacher.logits.shape)
  shifted = (teacher.logits + noise + inputs.targets[None, :]) / temperature
  losses = optax.losses.kl_divergence_with_log_targets(
    jax.nn.log_softmax(student.logits / temperature),
    jax.nn.log_softmax(shifted),
  )
  projected = student.embeddings @ inputs.loss_params["projection"]
  hint = jnp.mean((projected - teacher.embeddings) ** 2)
  loss = temperature**2 * losses.mean() + hint
  seen = inputs.loss_state["seen"] + len(inputs.batch["labels"])
  return loss, ({"hint": hint}, {"seen": seen})


@pytest.fixture(name="batch")
def fixture_batch(rng):
  return {
    "inputs": jnp.asarray(rng.normal(size=[BATCH, 4, 4, 1]), jnp.float32),
    "labels": jnp.asarray(rng.integers(CLASSES, size=BATCH)),
  }


@functools.cache
def model_and_init(name):
  model = MODELS[name](CLASSES, **OPTIONS[name])
  return model, jax.jit(model.init)


def start(name, tx, *, seed=0, **losses):
  model, init = model_and_init(name)
  student = init(jax.random.key(seed), jnp.ones([BATCH, 4, 4, 1]))
  key = jax.random.key(seed + 100)
  return model, TrainState.create(*student, tx, key, **losses)


def start_distilling(name, tx, *, seed=0):
  losses = {
    "loss_params": {"projection": 0.1 * jnp.eye(8, 12) * (seed + 1)},
    "loss_state": {"seen": jnp.zeros((), jnp.int32)},
  }
  return start(name, tx, seed=seed, **losses)


@functools.cache
def teacher_and_targets():
  model = MODELS["mlp"](CLASSES, features=(20, 12), dropout_rate=0.5)
  params, state = jax.jit(model.init)(jax.random.key(9), jnp.ones([1, 4, 4, 1]))
  return model, (params, state, jnp.array([0.5, 0.0, -0.5]))


@pytest.fixture(name="teacher")
def fixture_teacher():
  return teacher_and_targets()


@functools.cache
def train_step(name):
  """The step on `cross_entropy`, compiled once for all tests."""
  model, _ = model_and_init(name)
  return jax.jit(make_train_step(model.apply, cross_entropy, TX))


@functools.cache
def distill_step(name):
  """The step on `kl`, compiled once for all tests."""
  student, teacher = model_and_init(name)[0], teacher_and_targets()[0]
  return jax.jit(make_distill_step(student.apply, teacher.apply, kl, TX))


@pytest.mark.parametrize("name", OPTIONS)
def test_train_step_equals_a_loop_written_by_hand(name, batch):
  # With weight decay, the parameters that the optimizer gets matter.
  tx = optax.chain(optax.add_decayed_weights(0.1), TX)
  model, state = start(name, tx)
  step = jax.jit(make_train_step(model.apply, cross_entropy, tx))

  @jax.jit
  def by_hand(params, model_state, opt_state, i):
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(100), i))

    def objective(params):
      outputs, new = model.apply(
        params, model_state, batch["inputs"], train=True, key=key
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(
        outputs.logits, batch["labels"]
      )
      return 2.0 * losses.mean(), new

    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, model_state), gradient = grad(params)
    updates, opt_state = tx.update(gradient, opt_state, params)
    params = optax.apply_updates(params, updates)
    return params, model_state, opt_state, (loss, optax.tree.norm(gradient))

  hand = (state.params, state.model_state, tx.init(state.params))
  for i in range(4):
    state, metrics = step(state, batch, {"weight": 2.0})
    *hand, (loss, norm) = by_hand(*hand, i)
    assert metrics.keys() == {"loss", "gradient_norm"}
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-4)
  assert int(state.step) == 4
  chex.assert_trees_all_close(state.params, hand[0], rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(state.model_state, hand[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  "tx",
  [
    optax.chain(optax.sgd(0.5), optax.contrib.reduce_on_plateau()),
    pytest.param(
      optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(5)),
      marks=pytest.mark.slow,
    ),
  ],
  ids=["plateau", "lbfgs"],
)
def test_optimizers_get_the_loss_and_its_function(tx, batch):
  model, state = start("mlp", tx)
  step = jax.jit(make_train_step(model.apply, cross_entropy, tx))
  losses = []
  for _ in range(5):
    state, metrics = step(state, batch, {"weight": 1.0})
    losses.append(float(metrics["loss"]))
  assert losses[-1] < losses[0]


def test_the_value_function_repeats_the_loss(batch, teacher):
  """It draws the same numbers as the step, at the same point."""

  def update(gradient, opt_state, params, *, value, grad, value_fn):
    chex.assert_trees_all_equal_structs(gradient, grad)
    values = jnp.stack([value, value_fn(params)])
    return jax.tree.map(jnp.zeros_like, gradient), values

  tx = optax.GradientTransformationExtraArgs(lambda _: jnp.zeros(2), update)
  model, state = start_distilling("mlp", tx)
  frozen, values = teacher
  step = jax.jit(make_distill_step(model.apply, frozen.apply, kl, tx))
  new, _ = step(state, values, batch, {"temperature": 2.0})
  value, again = np.asarray(new.opt_state)
  assert value == again != 0


def test_optimizers_choose_parameters_by_name(batch):
  def labels(params):
    return {name: "head" if name == "head" else "body" for name in params}

  tx = optax.multi_transform(
    {"head": optax.sgd(0.1), "body": optax.set_to_zero()}, labels
  )
  model, state = start("mlp", tx)
  step = jax.jit(make_train_step(model.apply, cross_entropy, tx))
  new, _ = step(state, batch, {"weight": 1.0})
  moved = jax.tree.map(
    lambda a, b: bool(np.any(a != b)),
    *jax.device_get((new.params, state.params)),
  )
  for path, leaf in jax.tree.leaves_with_path(moved):
    assert leaf == ("head" in jax.tree_util.keystr(path))


def test_optimizers_choose_the_parameters_of_the_loss_by_name(batch, teacher):
  tx = optax.multi_transform(
    {"student": optax.set_to_zero(), "loss": optax.sgd(0.1)},
    {"params": "student", "loss_params": "loss"},
  )
  model, state = start_distilling("mlp", tx)
  frozen, values = teacher
  step = make_distill_step(model.apply, frozen.apply, kl, tx)
  new, _ = jax.jit(step)(state, values, batch, {"temperature": 2.0})
  chex.assert_trees_all_equal(new.params, state.params)
  assert np.any(
    new.loss_params["projection"] != state.loss_params["projection"]
  )


def test_train_step_is_traced_once(batch):
  tx = optax.adamw(optax.cosine_decay_schedule(0.1, 10))
  model, state = start("cnn", tx)
  step = make_train_step(model.apply, cross_entropy, tx)
  step = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
  for i in range(4):
    state, _ = step(state, batch, {"weight": jnp.float32(i)})
  assert int(state.step) == 4


@pytest.mark.parametrize("taken", ["loss", "gradient_norm"])
def test_train_step_refuses_metrics_of_its_own_names(taken, batch):
  def loss(inputs):
    metrics = {taken: 0.0}
    return inputs.student.logits.mean(), (metrics, inputs.loss_state)

  tx = optax.sgd(0.1)
  model, state = start("mlp", tx)
  with pytest.raises(ValueError, match=taken):
    jax.eval_shape(make_train_step(model.apply, loss, tx), state, batch, {})


def test_train_step_passes_the_teacher_in_the_batch_without_gradient(batch):
  given = Outputs(jnp.ones([BATCH, 12]), jnp.ones([BATCH, CLASSES]))
  tx = optax.sgd(0.1)
  model, state = start("mlp", tx)

  def loss(inputs):
    student, teacher = inputs.student, inputs.teacher
    assert isinstance(teacher, Outputs)
    chex.assert_trees_all_equal_shapes(teacher, given)
    return (student.logits * teacher.logits).mean(), ({}, inputs.loss_state)

  step = make_train_step(model.apply, loss, tx)

  def loss_after_a_step(teacher):
    return step(state, {**batch, "teacher": teacher}, {})[1]["loss"]

  gradient = jax.jit(jax.grad(loss_after_a_step))(given)
  chex.assert_trees_all_equal(gradient, jax.tree.map(np.zeros_like, given))


def test_distill_step_equals_train_step_on_teacher_outputs(batch, teacher):
  teacher_model, (params, model_state, targets) = teacher
  model, state = start_distilling("mlp", TX)
  scales = {"temperature": 2.0}
  distill = distill_step("mlp")
  train = jax.jit(make_train_step(model.apply, kl, TX))
  outputs = jax.jit(functools.partial(teacher_outputs, teacher_model.apply))(
    params, model_state, batch["inputs"]
  )
  inline = distill(state, (params, model_state, targets), batch, scales)
  cached = train(state, {**batch, "teacher": outputs}, scales, targets)
  chex.assert_trees_all_close(inline[1], cached[1], rtol=1e-5)
  chex.assert_trees_all_close(
    (inline[0].params, inline[0].loss_params),
    (cached[0].params, cached[0].loss_params),
    rtol=1e-3,
    atol=1e-5,
  )


def test_distill_step_trains_student_and_loss_and_nothing_else(batch, teacher):
  _, frozen = teacher
  _, state = start_distilling("cnn", TX)
  step = distill_step("cnn")
  before = jax.tree.map(np.asarray, frozen)
  new, metrics = step(state, frozen, batch, {"temperature": 2.0})
  chex.assert_trees_all_equal(frozen, before)

  def moved(name):
    pairs = zip(
      jax.tree.leaves(jax.device_get(getattr(new, name))),
      jax.tree.leaves(jax.device_get(getattr(state, name))),
      strict=True,
    )
    return [np.any(a != b) for a, b in pairs]

  for name in ("params", "model_state", "loss_params", "loss_state"):
    assert moved(name)
    assert all(moved(name)), name
  assert int(new.loss_state["seen"]) == BATCH
  assert metrics.keys() == {"loss", "gradient_norm", "hint"}

  def loss_of(params, model_state):
    teacher = (params, model_state, frozen[2])
    return step(state, teacher, batch, {"temperature": 2.0})[1]["loss"]

  gradient = jax.jit(jax.grad(loss_of))(*frozen[:2])
  chex.assert_trees_all_equal(gradient, jax.tree.map(np.zeros_like, gradient))


def test_gradient_norm_is_over_all_that_is_trained(batch, teacher):
  _, frozen = teacher
  _, state = start_distilling("mlp", TX)
  new, metrics = distill_step("mlp")(state, frozen, batch, {"temperature": 2.0})
  before, after = (
    jax.tree.leaves(jax.device_get((s.params, s.loss_params)))
    for s in (state, new)
  )
  steps = [(a - b).ravel() for a, b in zip(before, after, strict=True)]
  # The first step goes a tenth of the gradient's length.
  np.testing.assert_allclose(
    0.1 * metrics["gradient_norm"],
    np.linalg.norm(np.concatenate(steps)),
    rtol=1e-4,
  )


def test_teacher_outputs_are_those_of_inference(batch, teacher):
  model, (params, model_state, _) = teacher

  def total(params):
    inputs = batch["inputs"]
    outputs = teacher_outputs(model.apply, params, model_state, inputs)
    return outputs.logits.sum(), outputs

  gradient, outputs = jax.jit(jax.grad(total, has_aux=True))(params)
  expected, _ = jax.jit(model.apply)(params, model_state, batch["inputs"])
  chex.assert_trees_all_equal(outputs, expected)
  chex.assert_trees_all_equal(gradient, jax.tree.map(np.zeros_like, params))


@jax.jit
def stack(trees):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def without_key(result):
  """Fields of a state, and metrics; slicing keys would count as reuse."""
  state, metrics = result
  fields = {k: v for k, v in vars(state).items() if k != "key"}
  return jax.device_get((fields, metrics))


@pytest.mark.parametrize("name", OPTIONS)
def test_stacked_distill_step_equals_single_steps(name, batch, teacher):
  _, (params, model_state, targets) = teacher
  step = distill_step(name)
  states = [start_distilling(name, TX, seed=i)[1] for i in range(3)]
  scales = [{"temperature": jnp.float32(t)} for t in (1.0, 2.0, 4.0)]
  shifts = [targets * i for i in range(3)]
  stacked = jax.jit(jax.vmap(step, (0, (None, None, 0), None, 0)))(
    stack(states),
    (params, model_state, jnp.stack(shifts)),
    batch,
    stack(scales),
  )
  for i in range(3):
    frozen = (params, model_state, shifts[i])
    expected, metrics = step(states[i], frozen, batch, scales[i])
    new, new_metrics = jax.tree.map(lambda x, i=i: x[i], without_key(stacked))
    chex.assert_trees_all_close(metrics, new_metrics, rtol=1e-4)
    chex.assert_trees_all_close(
      new, without_key((expected, metrics))[0], rtol=1e-3, atol=1e-5
    )


def products_with(jaxpr, width):
  """Shapes of the operands of matrix products with an axis of this width."""
  shapes = [
    [operand.aval.shape for operand in equation.invars]
    for equation in jaxprs.equations(jaxpr.jaxpr)
    if equation.primitive.name == "dot_general"
  ]
  return [s for s in shapes if any(width in shape for shape in s)]


def test_stacked_distill_step_runs_the_teacher_once(batch, teacher):
  _, (params, model_state, targets) = teacher
  states = [start_distilling("mlp", TX, seed=i)[1] for i in range(3)]
  step = distill_step("mlp")
  jaxpr = jax.make_jaxpr(jax.vmap(step, (0, (None, None, 0), None, None)))(
    stack(states),
    (params, model_state, jnp.stack([targets] * 3)),
    batch,
    {"temperature": 2.0},
  )
  # Nothing but the teacher's two hidden layers has width 20.
  assert products_with(jaxpr, 20) == [
    [(BATCH, 16), (16, 20)],
    [(BATCH, 20), (20, 12)],
  ]


@pytest.mark.parametrize("name", OPTIONS)
def test_train_step_on_eight_devices_equals_one(name, batch):
  assert jax.device_count() == 8
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  _, state = start(name, TX)

  def run(state, batch):
    new, metrics = train_step(name)(state, batch, {"weight": 1.0})
    # After the first step, the momentum is the gradient.
    momentum = jax.device_get(jax.tree.leaves(new.opt_state[0].trace))
    gradient = np.concatenate([leaf.ravel() for leaf in momentum])
    return jax.device_get((metrics["loss"], gradient, new.model_state))

  loss, gradient, model_state = run(state, batch)
  loss_8, gradient_8, model_state_8 = run(
    jax.device_put(state, jax.NamedSharding(mesh, jax.P())),
    jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data"))),
  )
  np.testing.assert_allclose(loss_8, loss, rtol=1e-6)
  error = np.linalg.norm(gradient_8 - gradient) / np.linalg.norm(gradient)
  assert error < 1e-5
  chex.assert_trees_all_close(model_state_8, model_state, rtol=1e-5, atol=1e-6)


def eval_metrics(outputs, batch, hyperparameters, targets):
  losses = optax.softmax_cross_entropy_with_integer_labels(
    hyperparameters["weight"] * outputs.logits + targets[None, :],
    batch["labels"],
  )
  hits = metrics_lib.accuracy(outputs.logits, batch["labels"])
  return {"loss": losses, "accuracy": hits}


def test_eval_step_ignores_padding_and_merges(batch):
  model, state = start("cnn", TX)
  step = functools.partial(
    jax.jit(make_eval_step(model.apply, eval_metrics)),
    state.params,
    state.model_state,
    hyperparameters={"weight": 2.0},
    targets=jnp.arange(3.0),
  )
  inputs, labels = jax.device_get((batch["inputs"], batch["labels"]))

  def padded(counts):
    is_example = counts[:, None, None, None]
    return {
      "inputs": np.where(is_example, inputs, np.float32(np.nan)),
      "labels": np.where(counts, labels, -1),
      "mask": counts,
    }

  first = np.arange(BATCH) < 10
  part = step(batch=padded(first))
  alone = step(batch={"inputs": inputs[:10], "labels": labels[:10]})
  assert int(alone["loss"].count) == 10
  chex.assert_trees_all_close(part, alone, rtol=1e-5)
  whole = step(batch=padded(np.ones(BATCH, bool)))
  merged = metrics_lib.merge(part, step(batch=padded(~first)))
  chex.assert_trees_all_close(
    metrics_lib.compute(merged), metrics_lib.compute(whole), rtol=1e-5
  )


def test_eval_step_refuses_a_mean_over_the_batch(batch):
  model, state = start("mlp", optax.sgd(0.1))
  step = make_eval_step(
    model.apply, lambda outputs, *other: {"logit": outputs.logits.mean()}
  )
  with pytest.raises(ValueError, match=r"metric 'logit' must have shape \[B\]"):
    jax.eval_shape(step, state.params, state.model_state, batch, {})


def test_distill_step_with_a_bfloat16_body(batch, teacher):
  teacher_model, frozen = teacher
  tx = optax.adam(0.01)
  options = {**OPTIONS["cnn"], "compute_dtype": jnp.bfloat16}
  model = MODELS["cnn"](CLASSES, **options)
  _, state = start_distilling("cnn", tx)
  step = jax.jit(make_distill_step(model.apply, teacher_model.apply, kl, tx))
  new, metrics = step(state, frozen, batch, {"temperature": 2.0})
  chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
  assert metrics["loss"].dtype == jnp.float32


@pytest.mark.parametrize("tx", ["adam", optax.adam, None])
def test_optimizers_that_are_none(tx):
  model = MODELS["mlp"](CLASSES)
  for call in (
    lambda: make_train_step(model.apply, cross_entropy, tx),
    lambda: make_distill_step(model.apply, model.apply, cross_entropy, tx),
    lambda: TrainState.create({}, {}, tx, jax.random.key(0)),
  ):
    with pytest.raises(TypeError, match=r"^tx must be an optimizer"):
      call()
