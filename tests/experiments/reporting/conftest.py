import pytest

from experiments.reporting import drawing


@pytest.fixture
def drawn(monkeypatch):
  """The panels of each picture, in place of drawing them."""
  pictures = []

  def draw_plots(plots, path, **_):
    pictures.extend([plots] if plots else [])
    return bool(plots)

  monkeypatch.setattr(drawing, "draw_plots", draw_plots)
  return pictures
