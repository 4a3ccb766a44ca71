"""What two labels of the same examples tell of each other.

Counts first, then numbers of the counts: those of a stream add up, and
mutual information is that of the counts, whoever made them.
"""

import functools

import jax
import jax.numpy as jnp

from lelp_jax import _checks


def contingency_table(
  rows: jax.Array, columns: jax.Array, *, num_rows: int, num_columns: int
) -> jax.Array:
  """Counts how often each pair of two labels occurs.

  Args:
    rows: One label of each example, integers in ``[0, R)``, ``[N]``.
    columns: The other, integers in ``[0, K)``, ``[N]``.
    num_rows: R.
    num_columns: K.

  Returns:
    The counts, int32, ``[R, K]``; they sum to N.

  Raises:
    TypeError: If labels are not integers or a size is no int.
    ValueError: If shapes do not fit or concrete labels are out of range.

  Examples:
    >>> contingency_table(jnp.array([0, 0, 1]), jnp.array([2, 2, 0]),
    ...   num_rows=2, num_columns=3).tolist()
    [[0, 0, 2], [1, 0, 0]]
  """
  _check_pairs(rows, columns, num_rows, num_columns)
  return _counts(rows, columns, num_rows, num_columns)


@jax.jit
def mutual_information(counts: jax.Array) -> jax.Array:
  r"""Computes the mutual information of two labels from their counts.

  With :math:`p_{ij}` the counts divided by their sum and :math:`p_i`,
  :math:`p_j` the sums of its rows and columns

  .. math::
    I = \sum_{ij} p_{ij} \log \frac{p_{ij}}{p_i p_j} .

  That of a sample is too large on average, by about
  :math:`(R - 1) (K - 1) / (2 N)` where nothing is to be told: see
  `permuted_contingency_tables`.

  Args:
    counts: Nonnegative, int or float, ``[..., R, K]``; from
      `contingency_table`.

  Returns:
    Nats, float32, ``[...]``; zero where there are no counts.

  Raises:
    ValueError: If there are less than two axes.

  Examples:
    >>> mutual_information(jnp.array([[5, 0], [0, 5]])).round(4).tolist()
    0.693...
    >>> mutual_information(jnp.array([[1, 2], [2, 4]])).round(4).tolist()
    0.0
  """
  joint, rows, columns = _probabilities(counts)
  positive = joint > 0
  ratio = jnp.where(positive, joint, 1) / jnp.where(positive, rows * columns, 1)
  # Rounding can leave a little less than nothing.
  return jnp.maximum(jnp.sum(joint * jnp.log(ratio), axis=(-2, -1)), 0)


@jax.jit
def normalized_mutual_information(counts: jax.Array) -> jax.Array:
  r"""Computes mutual information as a fraction of the labels' entropies.

  .. math::
    \frac{2 I}{H_{\text{rows}} + H_{\text{columns}}}

  Args:
    counts: Nonnegative, int or float, ``[..., R, K]``.

  Returns:
    Fractions in ``[0, 1]``, float32, ``[...]``: one where each label tells the
    other; zero where one of them does not vary.

  Raises:
    ValueError: If there are less than two axes.

  Examples:
    >>> counts = jnp.array([[5, 0], [0, 5]])
    >>> round(float(normalized_mutual_information(counts)), 4)
    1.0
  """
  _, rows, columns = _probabilities(counts)
  entropies = _entropy(rows) + _entropy(columns)
  # Not by the entropies, which rounding can leave above zero.
  varies = jnp.sum(rows > 0, axis=(-2, -1)) > 1
  varies &= jnp.sum(columns > 0, axis=(-2, -1)) > 1
  fraction = 2 * mutual_information(counts) / jnp.where(varies, entropies, 1)
  return jnp.where(varies, jnp.minimum(fraction, 1), 0)


@functools.partial(
  jax.jit, static_argnames=("num_rows", "num_columns", "num_permutations")
)
def permuted_contingency_tables(
  key: jax.Array,
  rows: jax.Array,
  columns: jax.Array,
  *,
  num_rows: int,
  num_columns: int,
  num_permutations: int,
  groups: jax.Array | None = None,
) -> jax.Array:
  """Counts pairs of labels whose columns were shuffled: what chance makes.

  Every permutation keeps how often each label occurs, so that the numbers of
  these tables say what the true one would be if the labels told nothing.

  Args:
    key: Random key.
    rows: One label of each example, integers in ``[0, R)``, ``[N]``.
    columns: The other, integers in ``[0, K)``, ``[N]``.
    num_rows: R.
    num_columns: K.
    num_permutations: Number of tables, P.
    groups: Integers, ``[N]``: columns are shuffled within the examples of one
      group, such as a class. All together if None.

  Returns:
    The counts, int32, ``[P, R, K]``.

  Raises:
    TypeError: If labels are not integers or a size is no int.
    ValueError: If shapes do not fit.

  Examples:
    >>> labels = jnp.arange(60) % 3
    >>> tables = permuted_contingency_tables(jax.random.key(0), labels, labels,
    ...   num_rows=3, num_columns=3, num_permutations=5)
    >>> tables.shape, tables.sum(axis=1).tolist()[0]
    ((5, 3, 3), [20, 20, 20])
  """
  _check_pairs(rows, columns, num_rows, num_columns)
  _checks.check_at_least("num_permutations", num_permutations, 1)
  groups = jnp.zeros_like(rows) if groups is None else groups
  _checks.check_integer("groups", groups)
  if groups.shape != rows.shape:
    raise ValueError(
      f"groups must have the shape of rows, {rows.shape}, got {groups.shape}."
    )
  # Groups one after another, those of the columns in a random order inside.
  kept = jnp.argsort(groups, stable=True)

  def one_table(key: jax.Array) -> jax.Array:
    order = jnp.lexsort((jax.random.bits(key, groups.shape), groups))
    return _counts(rows[kept], columns[order], num_rows, num_columns)

  return jax.lax.map(one_table, jax.random.split(key, num_permutations))


def _counts(
  rows: jax.Array, columns: jax.Array, num_rows: int, num_columns: int
) -> jax.Array:
  """How often each pair occurs, int32 [R, K]."""
  pairs = jnp.asarray(rows) * num_columns + jnp.asarray(columns)
  counts = jnp.bincount(pairs, length=num_rows * num_columns)
  return counts.astype(jnp.int32).reshape(num_rows, num_columns)


def _probabilities(
  counts: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Joint probabilities and both marginals, float [..., R, K], axes kept."""
  if jnp.ndim(counts) < 2:
    raise ValueError(
      f"counts must have shape [..., R, K], got shape {jnp.shape(counts)}."
    )
  counts = jnp.asarray(counts, jnp.float32)
  total = counts.sum(axis=(-2, -1), keepdims=True)
  joint = counts / jnp.where(total > 0, total, 1)
  return (
    joint,
    joint.sum(axis=-1, keepdims=True),
    joint.sum(axis=-2, keepdims=True),
  )


def _entropy(probabilities: jax.Array) -> jax.Array:
  """Entropy in nats over the last two axes, one of which has length one."""
  logs = jnp.log(jnp.where(probabilities > 0, probabilities, 1))
  return -jnp.sum(probabilities * logs, axis=(-2, -1))


def _check_pairs(
  rows: jax.Array, columns: jax.Array, num_rows: int, num_columns: int
) -> None:
  """Raises unless these are two labels of the same examples."""
  _checks.check_at_least("num_rows", num_rows, 1)
  _checks.check_at_least("num_columns", num_columns, 1)
  _checks.check_rank("rows", rows, 1, "[N]")
  _checks.check_labels("rows", rows, num_rows)
  _checks.check_labels("columns", columns, num_columns)
  if jnp.shape(columns) != jnp.shape(rows):
    raise ValueError(
      f"columns must have the shape of rows, {jnp.shape(rows)}, got "
      f"{jnp.shape(columns)}."
    )
