"""Images of examples that are part of an HTML page."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

# Length of an image's shorter side on the page, in pixels.
_SHOWN = 64
# Images of up to this size are enlarged without smoothing their pixels.
_SMALL = 64
# Larger images are reduced to this size.
_LARGE = 192


def image(pixels: np.ndarray, scale: float) -> dict[str, Any]:
  """Converts pixels in ``[0, scale]`` to a PNG that a page can contain.

  Returns the fields that templates use: `data`, the PNG as a data URL; `width`
  and `height` on the page; and `is_small`, whether to show sharp pixels.
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
