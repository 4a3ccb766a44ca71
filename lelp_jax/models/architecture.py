"""Description of an architecture: what other code needs to know about a model.

Each file of models ends with the descriptions of its architectures, and
`lelp_jax.models.MODELS` collects them by name. Code outside this package uses
the description (what the model reads, its vocabulary size, how published
weights load) and never tests the name.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from lelp_jax import _checks
from lelp_jax.models.interface import from_linen
from lelp_jax.models.interface import ModelFns


@dataclasses.dataclass(frozen=True, eq=False)
class HuggingFaceFormat:
  """Conversion of weights that Hugging Face transformers saved.

  Attributes:
    model_type: The value of ``"model_type"`` in such a ``config.json``.
    options: ``(config) -> options``: the options with which the architecture
      builds the model of a parsed ``config.json``. Raises ValueError if it
      cannot build that model.
    params: ``(state_dict, attributes) -> params``, given arrays by name and
      `Architecture.attributes`. The head is missing where the state dict has
      none. Raises ValueError if the arrays do not fit the attributes.
    num_outputs: ``(state_dict) -> int | None``, the number of outputs of the
      classifier, or None if there is none.
    undecided: Names of options that a ``config.json`` does not decide, since
      the saved weights fit every value of them.
  """

  model_type: str
  options: Callable[[Mapping[str, Any]], dict[str, Any]]
  params: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
  num_outputs: Callable[[Mapping[str, Any]], int | None]
  undecided: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, eq=False)
class Architecture:
  """A named model: how to build it, what it reads, how its weights load.

  Options are attributes of the module other than ``num_outputs`` and, where
  there is a config, arguments of ``config``.

  Attributes:
    module: A Linen module class whose last layer is called ``"head"``.
    reads: ``"tokens"``: a dict of ``"input_ids"`` and ``"attention_mask"``,
      int, ``[B, L]``; ``"image"``: float, ``[B, H, W, channels]``; or
      ``"array"``: float, ``[B, ...]``. A module that reads tokens has an
      attribute ``vocab_size`` and, if it limits the length of its rows,
      ``max_positions``, itself or in its config.
    fixed: Attributes of the module that are not options.
    config: Makes the module's attribute ``config``, a dataclass, from those
      options that are not attributes of the module; None if it has none.
    free_options: Names of options that the weights do not depend on, such as
      rates of dropout: trained weights can be loaded under other values.
    is_dense: Whether its layers are only matrix products and sums of rows of a
      table. XLA then runs stacked models as one batched product, and many steps
      as one loop, both of which would slow convolutions down.
    hub_id: Id of published weights on the Hugging Face hub, whose tokenizer is
      the model's default. Empty if there are none.
    huggingface: How weights saved by transformers load, or None.
    from_token_embeddings: ``(table, attributes) -> params``: initial params of
      a model from the token embeddings, float, ``[V, D]``, of an encoder with
      the same vocabulary. Layers that do not depend on the table are empty
      dicts; the head is absent. Raises ValueError if an attribute does not fit
      the table. None for a model that cannot start from token embeddings.

  Examples:
    >>> from lelp_jax.models import Mlp
    >>> free = frozenset({"compute_dtype", "dropout_rate"})
    >>> mlp = Architecture(Mlp, "array", free_options=free)
    >>> model = mlp(3, features=(8,))
    >>> params, _ = jax.jit(model.init)(jax.random.key(0), jnp.ones([4, 5]))
    >>> model.head(params).kernel.shape
    (8, 3)
    >>> mlp.weight_attributes(features=(8,), dropout_rate=0.5)
    {'module': 'Mlp', 'features': (8,)}
  """

  module: type[nn.Module]
  reads: Literal["tokens", "image", "array"]
  fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  config: Callable[..., Any] | None = None
  free_options: frozenset[str] = frozenset()
  is_dense: bool = False
  hub_id: str = ""
  huggingface: HuggingFaceFormat | None = None
  from_token_embeddings: (
    Callable[[jax.Array, Mapping[str, Any]], dict[str, Any]] | None
  ) = None

  def __call__(self, num_outputs: int, **options: Any) -> ModelFns:
    """Builds the model.

    Args:
      num_outputs: Number of logits ``n``.
      **options: See the class.

    Returns:
      The model as pure functions.

    Raises:
      TypeError: If there is no such option.
      ValueError: If ``num_outputs`` or an option is out of its range.
    """
    _checks.check_at_least("num_outputs", num_outputs, 1)
    return from_linen(self._build(num_outputs, options), head="head")

  def attributes(self, **options: Any) -> dict[str, Any]:
    """Returns the value of each option and fixed attribute, by name.

    Args:
      **options: See the class; other options have their defaults.

    Returns:
      The values, including those of the config.
    """
    module: Any = self._build(1, options)
    values = {
      field.name: getattr(module, field.name)
      for field in dataclasses.fields(module)
      if field.name not in ("num_outputs", "parent", "name")
    }
    if self.config is not None:
      values |= dataclasses.asdict(values.pop("config"))
    return values

  def weight_attributes(self, **options: Any) -> dict[str, Any]:
    """Returns the attributes that weights depend on.

    Trained weights of one model fit another model if these are equal.

    Args:
      **options: See the class.

    Returns:
      The attributes without ``free_options``, and the module's name.
    """
    values = {
      name: value
      for name, value in self.attributes(**options).items()
      if name not in self.free_options
    }
    return {"module": self.module.__name__, **values}

  def vocab_size(self, **options: Any) -> int | None:
    """Returns the vocabulary size, or None for a model without tokens.

    Args:
      **options: See the class.
    """
    return self.attributes(**options).get("vocab_size")

  def max_length(self, **options: Any) -> int | None:
    """Returns the largest number of tokens per text, None without a limit.

    Args:
      **options: See the class.
    """
    return self.attributes(**options).get("max_positions")

  def input_shapes(self, batch_size: int, shape: Sequence[int]) -> Any:
    """Returns the shapes and dtypes of a batch that the model reads.

    Args:
      batch_size: Number of examples.
      shape: Shape of one example: ``(L,)`` for tokens.

    Returns:
      A `jax.ShapeDtypeStruct`, or a dict of them.
    """
    full = (batch_size, *shape)
    if self.reads != "tokens":
      return jax.ShapeDtypeStruct(full, jnp.float32)
    tokens = jax.ShapeDtypeStruct(full, jnp.int32)
    return {"input_ids": tokens, "attention_mask": tokens}

  def _build(self, num_outputs: int, options: Mapping[str, Any]) -> nn.Module:
    """Makes the module."""
    # Options may come from JSON, which has lists instead of tuples.
    options = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in options.items()
    }
    if self.config is None:
      return self.module(num_outputs, **self.fixed, **options)
    own = {field.name for field in dataclasses.fields(_any(self.module))}
    attributes = {k: v for k, v in options.items() if k in own}
    config = self.config(**{k: v for k, v in options.items() if k not in own})
    return self.module(num_outputs, config=config, **self.fixed, **attributes)


def _any(value: Any) -> Any:
  """Casts to Any: type checkers do not know that modules are dataclasses."""
  return value
