"""Gains, bars of accuracies, information and maps of embeddings."""

import dataclasses

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from experiments.reporting import drawing
from experiments.reporting import embeddings
from experiments.reporting import figures
from tests.experiments.reporting_workdirs import BY_HAND
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import papers_own


def read(path):
  """The pixels of a picture that must show something."""
  pixels = image.imread(path)
  assert pixels.shape[2] == 4
  # A number per colour: sorting rows of four takes most of a second.
  colors = np.round(255 * pixels).astype(np.uint8).view(np.uint32)
  assert len(np.unique(colors)) > 20
  return pixels


def has_color(pixels, red, green, blue):
  wanted = np.array([red, green, blue]) / 255
  return bool((np.abs(pixels[..., :3] - wanted).max(-1) < 0.01).any())


@pytest.fixture
def panel(rng):
  fine = np.arange(40) % 4
  points = rng.normal(size=(4, 8))[fine] * 9 + rng.normal(size=(40, 8))
  return embeddings.EmbeddingPanel("LELP", points, fine % 2, fine)


@pytest.fixture
def without_tsne(monkeypatch):
  monkeypatch.setattr(embeddings, "tsne", lambda points, **_: points[:, :2])


def draw_maps(path, *panels):
  embeddings.embedding_maps(panels, path, ["even", "odd"], ["0", "1", "2", "3"])


def gains_of(results, monkeypatch):
  """Labels, places of our dots and of the paper's, and the explanation."""
  drawn = []
  with monkeypatch.context() as patch:
    patch.setattr(drawing, "save", lambda figure, _: drawn.append(figure))
    if not figures.gain_picture(results, "gains.png"):
      return None
  (ax,) = drawn[0].axes
  labels = [label.get_text() for label in ax.get_yticklabels()]
  dots = {"o": {}, "D": {}}
  for line in ax.lines:
    if line.get_marker() in dots:
      label = labels[line.get_ydata()[0]]
      dots[line.get_marker()][label] = line.get_xdata()[0]
  return labels, dots["o"], dots["D"], drawn[0]._supxlabel.get_text()


def test_gains_are_by_method_in_one_setting_and_by_setting(monkeypatch):
  labels, ours, paper, text = gains_of(make_results(), monkeypatch)
  # Means of two splits: 87.0, 90.5 and 92.0.
  assert ours["LELP"] == pytest.approx(1.5)
  assert ours["Standard training"] == pytest.approx(-3.5)
  assert "Vanilla distillation" not in labels
  assert (paper, text) == ({}, "Lines: 95 % interval over splits.")
  labels, ours, paper, text = gains_of(papers_own(3), monkeypatch)
  assert labels[0] == "CIFAR-10-bin, ResNet92 to ResNet56"
  assert ours == pytest.approx(paper)
  assert len(paper) == 6
  assert "Diamonds" in text
  # Neither distillation nor labels to compare with.
  alone = make_results({"a": {"lelp": (0.5,)}})
  assert gains_of(alone, monkeypatch) is None


def test_accuracy_bars_have_the_colours_of_methods(tmp_path):
  figures.accuracy_bars(make_results(), tmp_path / "bars.png")
  pixels = read(tmp_path / "bars.png")
  # 150 dots an inch. Replicates share a panel: 5.8 by 4.6 inches.
  assert pixels.shape[:2] == (690, 870)
  assert has_color(pixels, 0xD5, 0x5E, 0x00)
  assert has_color(pixels, 0x00, 0x72, 0xB2)


TWO = {"vanilla": (0.9, 0.8), "lelp": (0.95, 0.9)}


@pytest.mark.parametrize(
  ("columns_are", "accuracies", "width"),
  [
    # 7 inches: twice a margin of 1.2 and two bars of 1.15 each.
    ("settings", {"a": TWO, "b": TWO}, 1050),
    ("settings", {"a": {"lelp": (0.9,)}}, 750),
    ("splits", {"a": {m: (1.0,) for m in ("lelp", "oracle", "vanilla")}}, 750),
    ("splits", {"a": {"lelp": (0.0, 0.0), "vanilla": (0.001, 0.0)}}, 750),
    ("splits", {"a": {"vanilla": (0.5, 0.7)}, "b": {"lelp": (0.9, 0.8)}}, 750),
  ],
)
def test_accuracy_bars_of_settings_have_a_panel_each(
  tmp_path, columns_are, accuracies, width
):
  results = make_results(accuracies, columns_are=columns_are)
  figures.accuracy_bars(results, tmp_path / "bars.png")
  assert read(tmp_path / "bars.png").shape[1] == width


def informed(number):
  """Cells of which so many know the information of their subclasses."""
  results = make_results({"split0": BY_HAND["split0"]})
  left = iter(range(number))
  cells = tuple(
    dataclasses.replace(cell, subclass_information=0.1 * (1 + next(left)))
    if cell.method in ("lelp", "oracle")
    and number > 3 * (cell.method != "lelp")
    else cell
    for cell in results.cells
  )
  return dataclasses.replace(results, cells=cells)


def test_a_point_is_the_information_and_the_gain_over_vanilla():
  (points,) = figures.information_points(informed(3)).values()
  # Vanilla distillation has 94, 95 and 99 %: 96 % on average.
  assert points == [
    pytest.approx(point) for point in ((0.1, -1), (0.2, 0), (0.3, 1))
  ]


def test_few_points_are_not_drawn(tmp_path):
  path = tmp_path / "information.png"
  assert not figures.information_picture(informed(3), path)
  assert not path.exists()
  assert figures.information_picture(informed(6), path)
  assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("without_tsne")
def test_embedding_maps_have_a_row_for_fine_classes(tmp_path, panel):
  path = tmp_path / "maps.png"
  draw_maps(path, panel, panel)
  pixels = read(path)
  # 150 dots an inch: 7.4 by 6.4 inches.
  assert pixels.shape[:2] == (960, 1110)
  # The second row alone has a third and a fourth colour.
  for half, expected in ((pixels[:480], False), (pixels[480:], True)):
    assert has_color(half, 0x56, 0xB4, 0xE9) is expected
  plain = dataclasses.replace(panel, fine=None)
  embeddings.embedding_maps([plain, plain], path, ["even", "odd"])
  assert read(path).shape[:2] == (495, 1110)
  many = dataclasses.replace(panel, fine=panel.fine * 10)
  names = [str(i) for i in range(40)]
  embeddings.embedding_maps([many], path, ["even", "odd"], names)
  assert read(path).shape[:2] == (960, 660)


@pytest.mark.parametrize("number", [2, 7, 8, 100])
def test_fine_classes_have_colors_apart_in_grey_or_of_the_palette(number):
  colors = embeddings.fine_colors([str(i) for i in range(number)])
  assert len(set(map(to_rgb, colors))) == number
  if number <= 7:
    assert colors == list(drawing.PALETTE[:number])
  else:  # Lighter and lighter: told apart without seeing any hue.
    grey = np.array(list(map(to_rgb, colors))) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(grey) > 0).all()


def test_tsne_is_the_same_every_time(panel):
  first, second = (
    embeddings.tsne(panel.embeddings, perplexity=5.0) for _ in range(2)
  )
  assert first.shape == (40, 2)
  np.testing.assert_array_equal(first, second)


def test_embedding_maps_refuse_dead_students(tmp_path, panel):
  dead = np.zeros_like(panel.embeddings)
  for bad in (dead, dead + np.nan):
    with pytest.raises(ValueError, match=r"LELP.*not finite"):
      draw_maps(
        tmp_path / "maps.png", dataclasses.replace(panel, embeddings=bad)
      )
