"""One interface for every model: the embedding, the logits, the head between.

Distillation needs the input of a classifier's last linear layer (the
embedding) beside its output (the logits). The two adapters take both from a
user's unmodified module by listening to that one layer, so whatever else the
module does or returns plays no part.
"""

import functools
import inspect
from collections.abc import Callable
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

from lelp_jax.models import _head
from lelp_jax.models import _nnx

# What modules call their train flag, and its value when training.
_TRAIN_FLAGS = {
  "train": True,
  "training": True,
  "is_training": True,
  "is_train": True,
  "deterministic": False,
  "use_running_average": False,
}
_HEAD_CALLS = "lelp_jax_head_calls"  # A Linen collection of our own.


class Outputs(NamedTuple):
  """What a classifier computes for a batch.

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
      checks that its head is what `Head` says.
    apply: ``(params, model_state, inputs, *, train=False, key=None) ->
      (Outputs, model_state)``. ``inputs`` is an array or a dict of arrays,
      ``train`` a Python bool; ``key`` feeds dropout. The state comes back
      as it was unless ``train``.
    head: ``(params) -> Head``.
    with_head: ``(params, head) -> params``, leaving its argument as it is.
      The number of outputs may differ (then ``apply`` of a model with that
      many is needed); ``D``, and whether there is a bias, may not.
  """

  init: Callable[[jax.Array, Any], tuple[Any, Any]]
  apply: Callable[..., tuple[Outputs, Any]]
  head: Callable[[Any], Head]
  with_head: Callable[[Any, Head], Any]


def from_linen(module: nn.Module, *, head: str) -> ModelFns:
  """Adapts a Linen module, unmodified, to `ModelFns`.

  The module is called with the inputs as its one positional argument and, by
  keyword, whichever of ``train``, ``training``, ``is_training``,
  ``is_train``, ``deterministic`` and ``use_running_average`` its ``__call__``
  declares.
  Every collection but ``"params"`` is model state; what the module sows is
  dropped. ``key`` is the stream ``"dropout"``; others get one folded from it.

  Args:
    module: The classifier. It may return anything.
    head: Path of its last linear layer under the params, such as ``"head"``
      or ``"classifier/out"`` (dots do as well).

  Returns:
    The model; its params and state are those of ``module.init``, unboxed.

  Raises:
    ValueError: From ``init`` and ``apply``, naming the layers that exist, if
      ``head`` is not a linear layer called once, on embeddings ``[B, D]``;
      from ``apply`` if the module draws and no ``key`` was given.

  Examples:
    >>> class Classifier(nn.Module):
    ...   @nn.compact
    ...   def __call__(self, x):
    ...     x = nn.relu(nn.Dense(8, name="body")(x))
    ...     return nn.log_softmax(nn.Dense(3, name="out")(x))
    >>> model = from_linen(Classifier(), head="out")
    >>> params, state = model.init(jax.random.key(0), jnp.ones([4, 5]))
    >>> outputs, state = model.apply(params, state, jnp.ones([4, 5]))
    >>> outputs.embeddings.shape, outputs.logits.shape
    ((4, 8), (4, 3))
    >>> model.head(params).kernel.shape
    (8, 3)
  """
  path = _head.parse_path(head)
  train_flags = functools.partial(_train_flags, type(module))

  def init(key, inputs):
    params_key, dropout_key = jax.random.split(key)
    rngs = {"params": params_key, "dropout": dropout_key}
    with nn.intercept_methods(_listener(path)):
      variables = module.init(rngs, inputs, **train_flags(False))
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
    try:
      with nn.intercept_methods(_listener(path)):
        _, updates = module.apply(
          variables, inputs, rngs=rngs, mutable=mutable, **train_flags(train)
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
  """Adapts an NNX module, unmodified, to `ModelFns`.

  Params are the ``nnx.Param`` variables, model state is all others, both as
  nested dicts of arrays with string keys. Random streams are no state: each
  call starts them afresh from ``key`` (in inference a fixed one if None). The
  module's ``train()`` or ``eval()`` is called first, and ``__call__`` as in
  `from_linen`.

  Args:
    module: Either a module, whose values ``init`` returns a copy of (its key
      is unused), or a function ``rngs -> module``, which ``init`` calls with
      ``nnx.Rngs(key)``. The module may return anything.
    head: Path of its last linear layer by attributes and list indices, such
      as ``"head"`` or ``"net/layers/3"`` (dots do as well).

  Returns:
    The model.

  Raises:
    ValueError: Naming the layers that exist, if ``head`` is not a linear
      layer; from ``init`` and ``apply`` if it is not called once, on
      embeddings ``[B, D]``; from ``apply`` in training if the module holds
      random streams and no ``key`` was given.

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
  path = _head.parse_path(head)
  build, example = _nnx.builder(module)
  like = _nnx.split(example)
  _head.layer(head, _nnx.to_tree(like.params))
  train_flags = functools.partial(_train_flags, type(example))

  def init(key, inputs):
    parts = _nnx.split(build(key))
    # Copies: an array of the user's own module must survive its donation.
    params, model_state = jax.tree.map(
      jnp.copy, (_nnx.to_tree(parts.params), _nnx.to_tree(parts.state))
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
    calls = _nnx.recorded_call(model, path, inputs, **train_flags(train))
    outputs = Outputs(*_head.only_call(head, params, calls))
    if train:
      model_state = _nnx.to_tree(_nnx.values_at(model, like.state))
    return outputs, model_state

  return ModelFns(init, apply, *_head_fns(head))


def _head_fns(
  name: str,
) -> tuple[Callable[[Any], Head], Callable[[Any, Head], Any]]:
  """`ModelFns.head` and `ModelFns.with_head`."""

  def head(params):
    layer = _head.layer(name, params)
    return Head(layer["kernel"], layer.get("bias"))

  def with_head(params, head):
    return _head.with_layer(name, params, head.kernel, head.bias)

  return head, with_head


def _train_flags(module_type: type, train: bool) -> dict[str, Any]:
  """The keywords by which a module's `__call__` learns the mode."""
  declared = inspect.signature(module_type.__call__).parameters
  return {
    name: train == in_training
    for name, in_training in _TRAIN_FLAGS.items()
    if name in declared
  }


def _listener(path: tuple[str, ...]) -> Callable[..., Any]:
  """A Linen interceptor that sows each call of the layer at a path."""
  inside = False

  def listen(next_fn, args, kwargs, context):
    nonlocal inside
    method, module = context.method_name, context.module
    # Inside is a `super().__call__`, part of a call already heard.
    if inside or method != "__call__" or module.path != path:
      return next_fn(*args, **kwargs)
    inside = True
    outputs = next_fn(*args, **kwargs)
    inside = False
    # Sown, not kept in a list: a tracer of `nn.remat` must not leave it.
    module.sow(_HEAD_CALLS, "calls", ([*args, *kwargs.values()][0], outputs))
    return outputs

  return listen


def _pop_calls(variables: Any) -> tuple[list[Any], dict[str, Any]]:
  """Splits Linen variables into calls of the head and plain collections."""
  collections = dict(meta.unbox(unfreeze(variables)))
  sown: dict[Any, Any] = traverse_util.flatten_dict(
    collections.pop(_HEAD_CALLS, {})
  )
  return [call for calls in sown.values() for call in calls], collections


def _is_sown(collection: Mapping[str, Any]) -> bool:
  """Whether a Linen collection is a log: `sow` keeps tuples, which grow."""
  leaves = traverse_util.flatten_dict(collection).values()
  return any(isinstance(leaf, tuple) for leaf in leaves)
