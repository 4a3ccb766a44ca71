"""One interface for every model: embeddings, logits and the head between them.

Distillation needs the input of a classifier's last linear layer (the
embeddings) as well as its output (the logits). The adapters `from_linen` and
`from_nnx` record both while a user's unmodified module runs, so it does not
matter what else the module computes or returns.
"""

import contextlib
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn
from flax import nnx
from flax import traverse_util
from flax.core import meta
from flax.core import unfreeze
from flax.linen import module as linen_module

from lelp_jax import _checks
from lelp_jax.models import _head
from lelp_jax.models import _nnx

# Names by which modules declare a training flag, and its value in training.
_TRAIN_FLAGS = {
  "train": True,
  "training": True,
  "is_training": True,
  "is_train": True,
  "deterministic": False,
  "inference": False,
  "use_running_average": False,
}
_HEAD_CALLS = "lelp_jax_head_calls"  # A Linen collection of our own.


class Outputs(NamedTuple):
  """Outputs of a classifier for a batch.

  Attributes:
    embeddings: Input of the head, float, shape ``[B, D]``.
    logits: Output of the head, float, shape ``[B, n]``.
  """

  embeddings: jax.Array
  logits: jax.Array


class Head(NamedTuple):
  """A classifier's last layer: ``logits = embeddings @ kernel + bias``.

  Attributes:
    kernel: Float, shape ``[D, n]``.
    bias: Float, shape ``[n]``, or None for a head without one.
  """

  kernel: jax.Array
  bias: jax.Array | None


class ModelFns(NamedTuple):
  """A classifier as pure functions on pytrees of arrays.

  Attributes:
    init: ``(key, inputs) -> (params, model_state)``. Runs the model once and
      checks that its head computes what `Head` describes.
    apply: ``(params, model_state, inputs, *, train=False, key=None) ->
      (Outputs, model_state)``. ``inputs`` is an array or a dict of arrays,
      ``train`` a Python bool; ``key`` seeds dropout. The returned state
      differs from the given one in training only.
    head: ``(params) -> Head``.
    with_head: ``(params, head) -> params``, a copy with another head. If it has
      another number of outputs, use the ``apply`` of a model with that number.
      ``D``, and whether there is a bias, must be the same.
  """

  init: Callable[[jax.Array, Any], tuple[Any, Any]]
  apply: Callable[..., tuple[Outputs, Any]]
  head: Callable[[Any], Head]
  with_head: Callable[[Any, Head], Any]


def from_linen(module: nn.Module, *, head: str) -> ModelFns:
  """Adapts an unmodified Linen module to `ModelFns`.

  The inputs are the only positional argument of the module's ``__call__``. A
  dict of inputs whose keys are parameters of ``__call__``, such as
  ``input_ids`` and ``attention_mask``, is passed by keyword instead. The flags
  ``train``, ``training``, ``is_training``, ``is_train``, ``deterministic``,
  ``inference`` and ``use_running_average`` are also set by keyword if
  ``__call__`` declares them.

  Every collection except ``"params"`` is model state, but sown values are
  dropped. ``key`` seeds the stream ``"dropout"``; other streams get a key that
  is derived from it.

  Args:
    module: The classifier. It may return anything.
    head: Path of its last linear layer in the params, such as ``"head"`` or
      ``"classifier/out"``; dots may be used instead of slashes.

  Returns:
    The model; its params and state are those of ``module.init``, unboxed.

  Raises:
    ValueError: From ``init`` and ``apply``, naming the layers that exist, if
      ``head`` is not a linear layer that is called once, on embeddings ``[B,
      D]``, or if ``__call__`` takes some of the inputs by name but not all;
      from ``apply`` if the module draws random numbers and no ``key`` was
      given.
    TypeError: If ``module`` is not an instance of a Linen module.

  Examples:
    >>> class Classifier(nn.Module):
    ...   @nn.compact
    ...   def __call__(self, x):
    ...     x = nn.relu(nn.Dense(8, name="body")(x))
    ...     return nn.log_softmax(nn.Dense(3, name="out")(x))
    >>> model = from_linen(Classifier(), head="out")
    >>> inputs = jnp.ones([4, 5])
    >>> params, state = jax.jit(model.init)(jax.random.key(0), inputs)
    >>> outputs, state = jax.jit(model.apply)(params, state, inputs)
    >>> outputs.embeddings.shape, outputs.logits.shape
    ((4, 8), (4, 3))
    >>> model.head(params).kernel.shape
    (8, 3)
  """
  if not isinstance(module, nn.Module):
    raise TypeError(
      "module must be an instance of a Linen module, got "
      f"{_checks.describe(module)}; call its class first, or pass a module of "
      "NNX to from_nnx."
    )
  path = _head.parse_path(head)

  def init(key, inputs):
    params_key, dropout_key = jax.random.split(key)
    rngs = {"params": params_key, "dropout": dropout_key}
    args, kwargs = _call_arguments(type(module), inputs, train=False)
    with _listening(path):
      variables = module.init(rngs, *args, **kwargs)
    calls, variables = _pop_calls(variables)
    params = variables.pop("params", {})
    _head.check_linear(head, params, *_head.only_call(head, params, calls))
    return params, {k: v for k, v in variables.items() if not _is_sown(v)}

  def apply(params, model_state, inputs, *, train=False, key=None):
    rngs = {}
    if key is not None:
      rngs = {"dropout": key, "params": jax.random.fold_in(key, 0)}
    mutable = [_HEAD_CALLS, *(model_state if train else ())]
    variables = {"params": params, **model_state}
    args, kwargs = _call_arguments(type(module), inputs, train=train)
    try:
      with _listening(path):
        _, updates = module.apply(
          variables, *args, rngs=rngs, mutable=mutable, **kwargs
        )
    except errors.InvalidRngError as error:
      raise ValueError(
        "The module draws random numbers: apply needs a key."
      ) from error
    calls, updates = _pop_calls(updates)
    outputs = Outputs(*_head.only_call(head, params, calls))
    return outputs, {**model_state, **updates}

  return ModelFns(init, apply, *_head_fns(head))


def from_nnx(
  module: nnx.Module | Callable[[nnx.Rngs], nnx.Module], *, head: str
) -> ModelFns:
  """Adapts an unmodified NNX module to `ModelFns`.

  Params are the ``nnx.Param`` variables and model state is all other variables,
  both as nested dicts of arrays with string keys. Random streams are not state:
  each call restarts them from ``key`` (in inference, None stands for a fixed
  key). Before each call, the module's ``train()`` or ``eval()`` is called;
  ``__call__`` gets the arguments that `from_linen` describes.

  Args:
    module: Either a module, or a function ``rngs -> module``. For a module,
      ``init`` returns a copy of its values and ignores its key. A function is
      called by ``init`` with ``nnx.Rngs(key)``. The module may return anything.
    head: Path of its last linear layer by attributes and list indices, such
      as ``"head"`` or ``"net/layers/3"``; dots may be used instead of slashes.

  Returns:
    The model.

  Raises:
    ValueError: Naming the layers that exist, if ``head`` is not a linear
      layer; from ``init`` and ``apply`` if it is not called once, on
      embeddings ``[B, D]``, or if ``__call__`` takes some of the inputs by
      name but not all; from ``apply`` in training if the module holds random
      streams and no ``key`` was given.
    TypeError: If ``module`` is neither an NNX module nor a function.

  Examples:
    >>> class Classifier(nnx.Module):
    ...   def __init__(self, rngs):
    ...     self.body = nnx.Linear(5, 8, rngs=rngs)
    ...     self.out = nnx.Linear(8, 3, rngs=rngs)
    ...   def __call__(self, x):
    ...     return self.out(nnx.relu(self.body(x)))
    >>> model = from_nnx(Classifier, head="out")
    >>> params, state = model.init(jax.random.key(0), jnp.ones([4, 5]))
    >>> outputs, state = model.apply(params, state, jnp.ones([4, 5]))
    >>> outputs.embeddings.shape, outputs.logits.shape
    ((4, 8), (4, 3))
  """
  if isinstance(module, nn.Module) or not callable(module):
    raise TypeError(
      "module must be an NNX module or a function that makes one, got "
      f"{_checks.describe(module)}; pass a Linen module to from_linen."
    )
  path = _head.parse_path(head)
  build, example = _nnx.builder(module)
  like = _nnx.split(example)
  _head.layer(head, _nnx.to_tree(like.params))

  def init(key, inputs):
    built = build(key)
    params, state = _nnx.split(built).params, _nnx.state_of(built, like.state)
    # Copy them, since the caller may donate them and the module stays in use.
    params, model_state = jax.tree.map(
      jnp.copy, (_nnx.to_tree(params), _nnx.to_tree(state))
    )
    outputs, _ = apply(params, model_state, inputs)
    _head.check_linear(head, params, *outputs)
    return params, model_state

  def apply(params, model_state, inputs, *, train=False, key=None):
    if key is None:
      if train and like.rngs:
        raise ValueError("The module holds random streams: apply needs a key.")
      key = jax.random.key(0)
    model = _nnx.merge(
      like.graphdef,
      _nnx.from_tree(params, like.params),
      _nnx.seeded(like.rngs, key),
      _nnx.from_tree(model_state, like.state),
    )
    if train:
      model.train()
    else:
      model.eval()
    args, kwargs = _call_arguments(type(example), inputs, train=train)
    calls = _nnx.recorded_call(model, path, *args, **kwargs)
    outputs = Outputs(*_head.only_call(head, params, calls))
    if train:
      model_state = _nnx.to_tree(_nnx.values_at(model, like.state))
    return outputs, model_state

  return ModelFns(init, apply, *_head_fns(head))


def _head_fns(
  name: str,
) -> tuple[Callable[[Any], Head], Callable[[Any, Head], Any]]:
  """Returns `ModelFns.head` and `ModelFns.with_head`."""

  def head(params):
    layer = _head.layer(name, params)
    return Head(layer["kernel"], layer.get("bias"))

  def with_head(params, head):
    return _head.with_layer(name, params, head.kernel, head.bias)

  return head, with_head


def _call_arguments(
  module_type: type, inputs: Any, *, train: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
  """Returns positional and keyword arguments for a module's `__call__`."""
  parameters = inspect.signature(module_type.__call__).parameters
  flags = {
    name: train == in_training
    for name, in_training in _TRAIN_FLAGS.items()
    if name in parameters
  }
  if not isinstance(inputs, Mapping) or not inputs.keys() & parameters.keys():
    return (inputs,), flags
  takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
  unknown = sorted(inputs.keys() - parameters.keys())
  if unknown and not takes_any:
    named = sorted(inputs.keys() & parameters.keys())
    raise ValueError(
      f"The module's __call__ takes the inputs {named} by name but not "
      f"{unknown}: add parameters of these names to it, or leave them out of "
      "the inputs."
    )
  return (), {**inputs, **flags}


@contextlib.contextmanager
def _listening(path: tuple[str, ...]) -> Iterator[None]:
  """Sows each call of the Linen layer at a path, inside the context."""
  listener = _listener(path)
  try:
    with nn.intercept_methods(listener):
      yield
  finally:
    # Flax removes the listener in an assert, which `python -O` skips.
    stack = linen_module._global_interceptor_stack
    if next(iter(stack), None) is listener:
      stack.pop()


def _listener(path: tuple[str, ...]) -> Callable[..., Any]:
  """Returns a Linen interceptor that sows each call of the layer at a path."""
  inside = False

  def listen(next_fn, args, kwargs, context):
    nonlocal inside
    method, module = context.method_name, context.module
    # Inside the head, `super().__call__` is part of a call already recorded.
    if inside or method != "__call__" or module.path != path:
      return next_fn(*args, **kwargs)
    inside = True
    outputs = next_fn(*args, **kwargs)
    inside = False
    # Sown instead of appended to a list: tracers of `nn.remat` must not escape.
    module.sow(_HEAD_CALLS, "calls", ([*args, *kwargs.values()][0], outputs))
    return outputs

  return listen


def _pop_calls(variables: Any) -> tuple[list[Any], dict[str, Any]]:
  """Separates the sown calls of the head from the other Linen collections."""
  collections = dict(meta.unbox(unfreeze(variables)))
  sown: dict[Any, Any] = traverse_util.flatten_dict(
    collections.pop(_HEAD_CALLS, {})
  )
  return [call for calls in sown.values() for call in calls], collections


def _is_sown(collection: Mapping[str, Any]) -> bool:
  """Returns whether a Linen collection was sown: `sow` stores tuples."""
  leaves = traverse_util.flatten_dict(collection).values()
  return any(isinstance(leaf, tuple) for leaf in leaves)
