"""Pieces of HTML pages that need nothing from outside: no asset, no script."""

import base64
import html
import io
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from PIL import Image

# Blue of Okabe and Ito's colours; the lighter one on dark.
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff;
  --soft: #59636e; --line: #d5dae0; --card: #f5f7f9; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --paper: #14171a; --soft: #9aa4b0; --line: #343b43;
    --card: #1b2025; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; }
h3 { font-size: .9rem; margin: .6rem 0 .2rem; color: var(--soft); }
a { color: var(--accent); } nav { display: flex; gap: .3rem 1.2rem;
  flex-wrap: wrap; }
p.soft, figcaption, .axis { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .9rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; }
thead th { vertical-align: bottom; white-space: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; }
section { background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; padding: .2rem 1rem 1rem; margin: 1rem 0; }
.ends { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.examples { display: grid; gap: .5rem;
  grid-template-columns: repeat(auto-fill, minmax(4.6rem, 1fr)); }
figure { margin: 0; text-align: center; line-height: 1.25; }
img { display: block; margin: 0 auto; border: 1px solid var(--line);
  max-width: 100%; height: auto; }
img.small { image-rendering: pixelated; }
ul.texts { margin: .2rem 0; padding: 0; list-style: none; font-size: .9rem; }
ul.texts li { padding: .25rem 0; border-bottom: 1px solid var(--line); }
ul.texts b { font-variant-numeric: tabular-nums; margin-right: .4rem; }
details { display: inline; } summary { display: inline; cursor: pointer; }
details[open] summary { display: none; }
svg { display: block; width: 100%; height: 3.5rem; }
svg .all { fill: var(--soft); opacity: .4; } svg .own { fill: var(--accent); }
.axis { display: flex; justify-content: space-between;
  border-top: 1px solid var(--line); }
""".strip()
# The shorter side is shown in so many pixels. Of small images every pixel is
# then a square, large ones are made smaller.
_SHOWN, _SMALL, _LARGE = 64, 64, 192
_MOST_LETTERS = 140


def page(title: str, parts: Iterable[str]) -> str:
  """Returns a whole page.

  Args:
    title: Plain text.
    parts: What stands in it, as HTML.
  """
  return "\n".join(
    [
      "<!DOCTYPE html>",
      '<html lang="en"><head><meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width, initial-scale=1">',
      # Else a browser asks for one.
      '<link rel="icon" href="data:,">',
      f"<title>{html.escape(title)}</title>",
      f"<style>\n{_STYLE}\n</style></head><body>",
      *parts,
      "</body></html>\n",
    ]
  )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Returns a table that scrolls sideways where it is too wide.

  Args:
    header: HTML of the first row.
    rows: HTML of the others: cells, or whole ``<td>`` elements.
  """
  head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
  lines = []
  for label, *cells in rows:
    body = "".join(
      cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells
    )
    lines.append(f'<tr><th scope="row">{label}</th>{body}</tr>')
  return (
    f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>'
    + "\n".join(lines)
    + "</tbody></table></div>"
  )


def heat(text: str, share: float) -> str:
  """Returns a table's cell, the darker the larger its share of one."""
  strength = round(55 * share)  # More would swallow the text.
  return (
    '<td style="background:color-mix(in srgb,var(--accent) '
    f'{strength}%,transparent)">{text}</td>'
  )


def image(pixels: np.ndarray, scale: float) -> str:
  """Returns an image as a PNG inside the page.

  Args:
    pixels: uint8, ``[H, W, channels]``: one channel, or red, green and blue.
    scale: The value that is white.
  """
  levels = np.clip(np.asarray(pixels, np.float32) * (255 / scale), 0, 255)
  levels = levels.round().astype(np.uint8)
  if levels.shape[-1] == 1:
    levels = levels[..., 0]
  file = io.BytesIO()
  picture = Image.fromarray(levels)
  picture.thumbnail((_LARGE, _LARGE))
  picture.save(file, "png")
  data = base64.b64encode(file.getvalue()).decode()
  height, width = levels.shape[:2]
  shown = _SHOWN / max(1, min(height, width))
  size = f'width="{round(shown * width)}" height="{round(shown * height)}"'
  small = ' class="small"' if max(height, width) <= _SMALL else ""
  return f'<img{small} {size} alt="" src="data:image/png;base64,{data}">'


def text(content: str) -> str:
  """Returns a text, the rest of a long one behind a click."""
  whole = html.escape(content)
  if len(content) <= _MOST_LETTERS:
    return f"<span>{whole}</span>"
  start = html.escape(content[:_MOST_LETTERS].rstrip())
  return f"<details><summary>{start} …</summary>{whole}</details>"


def histogram(
  counts: Sequence[int], own: Sequence[int], limits: tuple[float, float]
) -> str:
  """Returns a histogram, a part of it in another colour.

  Args:
    counts: Of each bin, from the left.
    own: How many of those belong to the part.
    limits: Where the first bin starts and the last one ends.
  """
  most, bars = max(1, *counts), []
  for i, (total, part) in enumerate(zip(counts, own, strict=True)):
    for kind, value in (("all", total), ("own", part)):
      if value:
        height = 100 * value / most
        bars.append(
          f'<rect class="{kind}" x="{i + 0.05:g}" y="{100 - height:.2f}" '
          f'width="0.9" height="{height:.2f}"/>'
        )
  return (
    f'<svg viewBox="0 0 {len(counts)} 100" preserveAspectRatio="none" '
    f'role="img" aria-label="histogram">{"".join(bars)}</svg>'
    f'<div class="axis"><span>{limits[0]:+.2f}</span>'
    f"<span>{limits[1]:+.2f}</span></div>"
  )
