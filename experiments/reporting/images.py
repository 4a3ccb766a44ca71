"""Images of examples inside a page."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

# The shorter side of an image is shown with so many pixels. Every pixel of a
# small image is then a square; large images are made smaller.
_SHOWN, _SMALL, _LARGE = 64, 64, 192


def image(pixels: np.ndarray, scale: float) -> dict[str, Any]:
  """Converts an image to a PNG inside the page.

  Returns the `data` of the PNG, its `width` and `height` on the page, and
  whether it `is_small`.
  """
  levels = np.clip(np.asarray(pixels, np.float32) * (255 / scale), 0, 255)
  levels = levels.round().astype(np.uint8)
  if levels.shape[-1] == 1:
    levels = levels[..., 0]
  file = io.BytesIO()
  picture = Image.fromarray(levels)
  picture.thumbnail((_LARGE, _LARGE))
  picture.save(file, "png")
  height, width = levels.shape[:2]
  shown = _SHOWN / max(1, min(height, width))
  data = base64.b64encode(file.getvalue()).decode()
  return {
    "data": f"data:image/png;base64,{data}",
    "width": round(shown * width),
    "height": round(shown * height),
    "is_small": max(height, width) <= _SMALL,
  }
