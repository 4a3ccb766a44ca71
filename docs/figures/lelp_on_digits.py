"""Draws the pictures of how_lelp_works.md from the embeddings of a teacher.

The teacher tells odd digits from even ones on scikit-learn's images, so that
each of its two classes hides five digits. Nothing here sees which digit an
image shows, except the colours and labels of the pictures.

    python docs/figures/lelp_on_digits.py

takes half a minute and writes the same files again on the same machine.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn import datasets

import lelp_jax
from lelp_jax.models import MODELS

FOLDER = pathlib.Path(__file__).parent
CLASSES = ("even", "odd")
NUM_SUBCLASSES = 5
TEMPERATURE, SUBCLASS_TEMPERATURE = 2.0, 1.0
EXAMPLE = 3  # Row of the image whose probabilities are shown.

# Readable on a light page and on a dark one.
GREY = "#777777"
COLOURS = (
  ("#3f8fd2", "#41b6c4", "#1b9e77", "#7570b3", "#9fc3ea"),
  ("#d6404e", "#f08030", "#d4a017", "#c051a0", "#eba38a"),
)
STYLE = {
  "axes.edgecolor": GREY,
  "axes.labelcolor": GREY,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.titlecolor": GREY,
  "font.size": 9,
  "savefig.bbox": "tight",
  "savefig.transparent": True,
  "svg.hashsalt": "lelp",  # The same names inside the file each time.
  "text.color": GREY,
  "xtick.color": GREY,
  "ytick.color": GREY,
}


@dataclasses.dataclass(frozen=True)
class Digits:
  """Images, their parity, and the digits, which nobody learns.

  Attributes:
    images: Float, ``[N, 8, 8, 1]``.
    labels: 0 for even and 1 for odd, ``[N]``.
    digits: ``[N]``.
  """

  images: np.ndarray
  labels: np.ndarray
  digits: np.ndarray


def read_digits() -> Digits:
  """Reads 1,000 training images."""
  found = datasets.load_digits()
  chosen = np.random.default_rng(0).permutation(len(found.images))[:1000]
  images = (found.images[chosen, ..., None] / 16).astype(np.float32)
  digits = found.target[chosen]
  return Digits(images, digits % 2, digits)


def train(model, images, loss_fn, *, seed, num_steps):
  """Trains a model on random batches; returns its parameters.

  Args:
    model: A `ModelFns`.
    images: Float, ``[N, ...]``.
    loss_fn: ``(logits, rows) -> loss`` of a batch and its rows in the data.
    seed: Seed of the initial parameters and of the batches.
    num_steps: Number of steps.
  """
  tx = optax.adam(1e-3)
  init_key, batch_key = jax.random.split(jax.random.key(seed))
  params, state = model.init(init_key, images[:1])
  images = jnp.asarray(images)

  def objective(params, rows):
    outputs, _ = model.apply(params, state, images[rows])
    return loss_fn(outputs.logits, rows)

  def step(carry, key):
    params, opt_state = carry
    rows = jax.random.randint(key, (100,), 0, len(images))
    gradient = jax.grad(objective)(params, rows)
    updates, opt_state = tx.update(gradient, opt_state)
    return (optax.apply_updates(params, updates), opt_state), None

  keys = jax.random.split(batch_key, num_steps)
  (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))(
    (params, tx.init(params))
  )
  return params


@dataclasses.dataclass(frozen=True)
class Fit:
  """A teacher, what LELP finds in it, and a student.

  Attributes:
    data: The training images.
    embeddings: The teacher's, ``[N, D]``.
    head: Its last layer.
    principal: Principal directions of both classes, K of them.
    subspaces: Their rotated and scaled versions.
    teacher_probs: The teacher's probabilities of subclasses, ``[N, C, S]``.
    student_probs: Those of a student of 32 hidden units.
  """

  data: Digits
  embeddings: np.ndarray
  head: lelp_jax.models.Head
  principal: lelp_jax.PrincipalDirections
  subspaces: lelp_jax.Subspaces
  teacher_probs: np.ndarray
  student_probs: np.ndarray


def fit() -> Fit:
  """Trains a teacher, fits subspaces to it, and distils them."""
  data = read_digits()
  labels = jnp.asarray(data.labels)

  def cross_entropy(logits, rows):
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, labels[rows]
    ).mean()

  teacher = MODELS["mlp"](2, features=(256,))
  params = train(teacher, data.images, cross_entropy, seed=0, num_steps=1500)
  outputs, _ = teacher.apply(params, {}, data.images)
  head = teacher.head(params)
  moments = lelp_jax.class_moments(outputs.embeddings, labels, num_classes=2)
  principal = lelp_jax.principal_directions(
    moments, head.kernel, num_directions=NUM_SUBCLASSES
  )
  subspaces = lelp_jax.subspaces_from_principal(
    principal, num_subclasses=NUM_SUBCLASSES, key=jax.random.key(0)
  )
  targets = lelp_jax.log_subsplit(
    outputs.embeddings,
    outputs.logits,
    subspaces,
    temperature=TEMPERATURE,
    subclass_temperature=SUBCLASS_TEMPERATURE,
  )

  def lelp(logits, rows):
    return lelp_jax.lelp_loss(
      logits, targets[rows], temperature=TEMPERATURE
    ).mean()

  student = MODELS["mlp"](2 * NUM_SUBCLASSES, features=(32,))
  params = train(student, data.images, lelp, seed=1, num_steps=3000)
  logits = student.apply(params, {}, data.images)[0].logits
  student_probs = jax.nn.softmax(logits / TEMPERATURE)
  return Fit(
    data=data,
    embeddings=np.asarray(outputs.embeddings),
    head=head,
    principal=principal,
    subspaces=subspaces,
    teacher_probs=np.exp(targets),
    student_probs=np.reshape(student_probs, targets.shape),
  )


# --- Panels -------------------------------------------------------------------


def draw_embeddings(axes, found: Fit) -> None:
  """Both classes, along what the logits see and along one more direction."""
  kernel, labels = np.asarray(found.head.kernel), found.data.labels
  means = np.asarray(found.principal.means)
  across = kernel[:, 1] - kernel[:, 0]
  across /= np.linalg.norm(across)

  # The direction of most variance within the classes that the head ignores.
  within = found.embeddings - means[labels]
  span, _ = np.linalg.qr(kernel)
  within -= within @ span @ span.T
  along = np.linalg.svd(within, full_matrices=False)[2][0]

  plane = np.stack([across, along], axis=1)
  centre = means.mean(axis=0)
  points = (found.embeddings - centre) @ plane
  centres = (means - centre) @ plane
  top, bottom = points[:, 1].max(), points[:, 1].min()
  for c, name in enumerate(CLASSES):
    axes.scatter(
      *points[labels == c].T, s=5, color=COLOURS[c][0], alpha=0.5, linewidths=0
    )
    axes.plot(*centres[c], "o", color=COLOURS[c][0], markersize=7)
    axes.text(
      centres[c][0],
      top + 0.06 * (top - bottom),
      name,
      ha="center",
      color=COLOURS[c][0],
      weight="bold",
    )
  axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
  axes.set(
    xlabel="the direction that the logits see",
    ylabel="a direction that they do not see",
    xticks=[],
    yticks=[],
  )


def draw_subclasses(axes, found: Fit, c: int, count: int = 230) -> None:
  """Digits of a class on its first two directions, coloured by subclass."""
  rows = np.flatnonzero(found.data.labels == c)[:count]
  centred = found.embeddings[rows] - np.asarray(found.principal.means[c])
  points = centred @ np.asarray(found.principal.directions[c, :2]).T
  subclasses = found.teacher_probs[rows, c].argmax(axis=-1)
  digits = found.data.digits[rows]
  for point, s, digit in zip(points, subclasses, digits, strict=True):
    axes.text(
      *point,
      digit,
      color=COLOURS[c][s],
      size=7,
      weight="bold",
      ha="center",
      va="center",
      clip_on=True,
    )
  axes.set(
    xlabel=f"first direction of the {CLASSES[c]} class",
    ylabel="second direction",
    xticks=[],
    yticks=[],
  )
  axes.set_xlim(points[:, 0].min() - 0.4, points[:, 0].max() + 0.4)
  axes.set_ylim(points[:, 1].min() - 0.4, points[:, 1].max() + 0.4)


def draw_bars(axes, probs: np.ndarray, label: str) -> None:
  """The probabilities of all subclasses, and their sum over each class."""
  for c, name in enumerate(CLASSES):
    position = c * (NUM_SUBCLASSES + 1) + np.arange(NUM_SUBCLASSES)
    axes.bar(position, probs[c], color=COLOURS[c], width=0.85)
    axes.text(
      position.mean(),
      0.5,
      f"{name} {probs[c].sum():.2f}",
      ha="center",
      color=COLOURS[c][0],
      weight="bold",
    )
  axes.set(ylim=(0, 0.56), xticks=[], yticks=[0, 0.25, 0.5], ylabel=label)


# --- Pictures -----------------------------------------------------------------


def draw_idea(found: Fit) -> None:
  """The method in one picture, as in the paper's Figure 2."""
  figure = plt.figure(figsize=(11, 3.5), layout="constrained")
  grid = figure.add_gridspec(2, 4, width_ratios=(1, 1, 1, 1.05))
  titles = (
    "1. The teacher's embeddings",
    "2. Subclasses of the even digits",
    "    Subclasses of the odd digits",
    "3. What the student learns",
  )
  columns = [figure.add_subplot(grid[:, k]) for k in range(3)]
  bars = [figure.add_subplot(grid[k, 3]) for k in range(2)]
  draw_embeddings(columns[0], found)
  draw_subclasses(columns[1], found, 0)
  draw_subclasses(columns[2], found, 1)
  draw_bars(bars[0], found.teacher_probs[EXAMPLE], "teacher")
  draw_bars(bars[1], found.student_probs[EXAMPLE], "student")
  inset = bars[0].inset_axes((0.62, 0.12, 0.3, 0.62))
  inset.imshow(found.data.images[EXAMPLE, ..., 0], cmap="gray_r")
  inset.set(xticks=[], yticks=[])
  inset.spines[["right", "top"]].set_visible(True)
  for axes, title in zip((*columns, bars[0]), titles, strict=True):
    axes.set_title(title, loc="left", size=10, pad=14)
  save(figure, "idea")


def draw_directions(found: Fit) -> None:
  """Standard deviations along the directions, before and after rotation."""
  moments = lelp_jax.class_moments(
    found.embeddings, found.data.labels, num_classes=2
  )
  covariances = moments.scatter / moments.count[:, None, None]
  rotated = found.subspaces.directions
  # All directions of a class are divided by one number.
  scale = jnp.linalg.norm(rotated, axis=-1, keepdims=True)
  figure, columns = plt.subplots(
    1, 2, figsize=(7, 2.5), layout="constrained", sharey=True
  )
  panels = {
    "principal directions": found.principal.directions * scale,
    "after the random rotation": rotated,
  }
  for axes, (title, v) in zip(columns, panels.items(), strict=True):
    variances = jnp.einsum("csd,cde,cse->cs", v, covariances, v)
    for c, name in enumerate(CLASSES):
      position = c * (NUM_SUBCLASSES + 1) + np.arange(NUM_SUBCLASSES)
      axes.bar(position, np.sqrt(variances[c]), color=COLOURS[c], width=0.85)
      axes.text(position.mean(), -0.2, name, ha="center", color=COLOURS[c][0])
    axes.axhline(1, color=GREY, linestyle=":", linewidth=1)
    axes.set(title=title, xticks=[])
  columns[0].set_ylabel("standard deviation")
  save(figure, "directions")


def draw_temperatures(found: Fit) -> None:
  """The targets of one image at three subclass temperatures."""
  values = 0.25, 1.0, 4.0
  figure, columns = plt.subplots(
    1, 3, figsize=(9, 2.2), layout="constrained", sharey=True
  )
  for axes, value in zip(columns, values, strict=True):
    embedding = jnp.asarray(found.embeddings[EXAMPLE])
    probs = lelp_jax.subsplit(
      embedding,
      embedding @ found.head.kernel + found.head.bias,
      found.subspaces,
      temperature=TEMPERATURE,
      subclass_temperature=value,
    )
    draw_bars(axes, np.asarray(probs), "")
    axes.set_title(f"subclass temperature {value:g}", size=9)
    axes.set(ylim=(0, 1.05), yticks=[0, 0.5, 1])
    for text in axes.texts:
      text.set_y(0.92)
  columns[0].set_ylabel("probability")
  save(figure, "temperatures")


def save(figure, name: str) -> None:
  """Writes a picture without a date, so that it stays the same."""
  figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
  plt.close(figure)


def main() -> None:
  """Draws all pictures."""
  matplotlib.use("agg")
  plt.rcParams.update(STYLE)
  found = fit()
  draw_idea(found)
  draw_directions(found)
  draw_temperatures(found)


if __name__ == "__main__":
  main()
