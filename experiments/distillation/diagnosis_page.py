"""The output of `experiments.diagnose`: a summary, pictures and a page."""

import dataclasses
import pathlib
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from matplotlib.ticker import StrMethodFormatter

from experiments.distillation.diagnosis import Diagnosis
from experiments.distillation.diagnosis import percent
from experiments.io import json_files
from experiments.reporting import console
from experiments.reporting import drawing
from experiments.reporting import render
from experiments.reporting.document import Document
from experiments.reporting.document import Picture
from experiments.reporting.document import Section
from experiments.reporting.document import Table
from experiments.reporting.document import TableRow

_TITLES = {"train": "training", "validation": "held out", "test": "test"}
_MOST_CLASSES = 12  # Classes that tables and pictures show.
_MOST_PLANES = 4
_SPECTRUM, _CALIBRATION, _PLANES = "spectrum", "calibration", "planes"


def summary(found: Diagnosis, width: int) -> str:
  """Returns the summary of a diagnosis for the terminal.

  Args:
    found: The diagnosis.
    width: Width of the terminal.
  """
  lines = [console.to_text(_scores_table(found), width).rstrip(), ""]
  lines += _wrapped(found.verdict, width)
  for warning in found.warnings:
    lines += _wrapped(f"warning: {warning}", width)
  return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
  return textwrap.wrap(text, min(width, 80), subsequent_indent="  ")


def write_page(found: Diagnosis, folder: pathlib.Path) -> list[str]:
  """Writes diagnosis.html, diagnosis.md, diagnosis.json and pictures.

  Args:
    found: The diagnosis.
    folder: Folder of these files; it is created if needed.

  Returns:
    The names of the files.
  """
  folder.mkdir(parents=True, exist_ok=True)
  _draw_spectrum(found, folder / f"{_SPECTRUM}.png")
  _draw_calibration(found, folder / f"{_CALIBRATION}.png")
  _draw_planes(found, folder / f"{_PLANES}.png")
  document = _document(found)
  html = render.to_html(document, folder)
  markdown = render.to_markdown(document)
  (folder / "diagnosis.html").write_text(html, encoding="utf-8")
  (folder / "diagnosis.md").write_text(markdown, encoding="utf-8")
  json_files.write_json(folder / "diagnosis.json", _record(found))
  return ["diagnosis.html", "diagnosis.md", "diagnosis.json"]


def _record(found: Diagnosis) -> dict[str, Any]:
  """Returns the findings as plain data, without the points of pictures."""
  fields = dataclasses.asdict(dataclasses.replace(found, planes={}))
  return {name: x for name, x in fields.items() if name != "planes"}


# --- Tables -------------------------------------------------------------------


def _scores_table(found: Diagnosis) -> Table:
  """Returns the table of examples and scores by split."""
  scores = list(found.scores.values())
  rows = [
    TableRow.of("examples", [f"{x.num_examples:,}" for x in scores]),
    *(
      TableRow.of(name, [f"{x.counts[number]:,}" for x in scores], detail=True)
      for number, name in enumerate(found.class_names[:_MOST_CLASSES])
    ),
    TableRow.of("accuracy", [percent(x.accuracy) for x in scores], "scores"),
    TableRow.of("macro F1", [percent(x.macro_f1) for x in scores], "scores"),
    TableRow.of("log loss", [f"{x.log_loss:.3f}" for x in scores], "scores"),
    TableRow.of(
      "calibration error",
      [percent(x.calibration_error) for x in scores],
      "scores",
    ),
  ]
  caption = (
    f"The head reads {found.rank} of {found.width} dimensions of the "
    f"embeddings. {percent(found.saturated)} of the training examples have a "
    "class with a probability above 99.9 %."
  )
  notes = []
  if len(found.class_names) > _MOST_CLASSES:
    notes.append(
      f"The other {len(found.class_names) - _MOST_CLASSES} classes "
      "are in diagnosis.json."
    )
  if found.num_unlabelled:
    notes.append(
      f"{found.num_unlabelled:,} more examples have no label; students "
      "learn from the teacher's outputs on them."
    )
  return Table(
    f"Teacher {found.teacher}",
    tuple(_TITLES[name] for name in found.scores),
    tuple(rows),
    caption,
    tuple(notes),
  )


def _classes_table(found: Diagnosis) -> Table:
  """Returns the table of variances by class."""
  rows = []
  for number, name in enumerate(found.class_names[:_MOST_CLASSES]):
    spectrum = found.spectra[number]
    rows.append(
      TableRow.of(
        name,
        [
          percent(found.null_shares[number]),
          *(percent(sum(spectrum[:size])) for size in (1, 5, 10, 20)),
        ],
      )
    )
  return Table(
    "Variance within the classes",
    ("off the head", "along 1 direction", "5", "10", "20"),
    tuple(rows),
    "Shares of the variance of each class's embeddings: in the null space of "
    "the head, and along the first directions in that space. LELP's "
    "pseudo-subclasses are made of these directions.",
  )


def _contradictions_table(found: Diagnosis) -> Table:
  """Returns the table of labels that the teacher contradicts."""
  rows = [
    TableRow.of(
      each.place,
      [
        each.label,
        f"{each.predicted} ({percent(each.probability)})",
        textwrap.shorten(each.text, 100, placeholder=" ..."),
      ],
    )
    for each in found.contradictions
  ]
  return Table(
    "Labels that the teacher contradicts",
    ("label", "teacher", "text"),
    tuple(rows),
    f"The {len(rows)} of {found.num_contradicted:,} with the highest "
    "probabilities. Rows are counted from 1, without the line of column names.",
  )


def _document(found: Diagnosis) -> Document:
  """Returns the page."""
  rank, width = found.rank, found.width
  parts: list[str | Table | Picture] = [
    found.verdict,
    *(f"Warning: {warning}" for warning in found.warnings),
    _scores_table(found),
    _classes_table(found),
    Picture(
      _SPECTRUM,
      f"Share of the variance of each class along its first directions in the "
      f"null space of the head, which has {width - rank} dimensions. A curve "
      "that rises early means few strong directions.",
    ),
    Picture(
      _PLANES,
      "Training examples of a class on its first two directions. All of them "
      "look the same to the logits; groups are subclasses that LELP can teach.",
    ),
    Picture(
      _CALIBRATION,
      "Accuracy of the teacher on held-out examples by the probability that it "
      "predicts; the points of a calibrated teacher lie on the line.",
    ),
  ]
  if found.contradictions:
    parts.append(_contradictions_table(found))
  parts.append(
    f"{found.repeated:,} examples share their embedding with another example, "
    f"{found.repeated_with_other_label:,} of them with another label. The "
    f"diagnosis took {found.seconds:g} seconds."
  )
  return Document(
    f"Diagnosis of {found.teacher}", (Section("Findings", tuple(parts)),)
  )


# --- Pictures -----------------------------------------------------------------


def _draw_spectrum(found: Diagnosis, path: pathlib.Path) -> None:
  """Draws the cumulative spectrum of each class."""
  figure = Figure(figsize=(6.4, 4.0), layout="constrained")
  ax = figure.subplots()
  names = found.class_names[:_MOST_CLASSES]
  dimensions = min(len(found.spectra[0]), found.width - found.rank)
  colors = drawing.PALETTE
  for number, name in enumerate(names):
    cumulative = np.cumsum(found.spectra[number][:dimensions])
    sizes = np.arange(1, len(cumulative) + 1)
    ax.plot(
      sizes,
      100 * cumulative,
      color=colors[number % len(colors)],
      ls=("-", "--", ":")[number // len(colors) % 3],
      label=name,
    )
  ax.set_xscale("log")
  ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
  ax.xaxis.set_minor_formatter(NullFormatter())
  ax.set_xlim(1, max(dimensions, 2))
  ax.set_ylim(0, 100)
  ax.set_xlabel("directions in the null space of the head")
  ax.set_ylabel("share of the variance of the class, %")
  ax.grid(alpha=0.3)
  ax.legend(fontsize=8, frameon=False, ncols=1 + len(names) // 7)
  drawing.save(figure, path)


def _draw_calibration(found: Diagnosis, path: pathlib.Path) -> None:
  """Draws accuracy by confidence, and how often each confidence occurs."""
  figure = Figure(figsize=(6.4, 4.4), layout="constrained")
  upper, lower = figure.subplots(
    2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
  )
  bins = np.array(found.calibration)
  counts = bins[:, 0]
  kept = counts > 0
  edges = np.linspace(0, 1, len(bins) + 1)
  middles, width = 100 * (edges[:-1] + edges[1:]) / 2, 100 / len(bins)
  hits = bins[kept, 2] / counts[kept]
  error = np.sqrt(np.maximum(hits * (1 - hits), 0) / counts[kept])
  upper.plot([0, 100], [0, 100], color=drawing.FAINT, lw=1)
  upper.errorbar(
    100 * bins[kept, 1] / counts[kept],
    100 * hits,
    yerr=196 * error,
    fmt="o",
    color=drawing.PALETTE[1],
    capsize=2,
  )
  upper.set_ylabel("right, %")
  upper.set_ylim(0, 102)
  lower.bar(middles, counts, width, color=drawing.PALETTE[1])
  lower.set_ylabel("examples")
  lower.set_xlabel("probability of the predicted class, %")
  lower.set_xlim(100 / len(found.class_names) - width, 101)
  for ax in (upper, lower):
    ax.grid(alpha=0.3)
  drawing.save(figure, path)


def _draw_planes(found: Diagnosis, path: pathlib.Path) -> None:
  """Draws examples of the largest classes on their first two directions."""
  counts = found.scores["train"].counts
  largest = np.argsort([-count for count in counts], kind="stable")
  chosen = sorted(largest[:_MOST_PLANES].tolist())
  figure = Figure(figsize=(3.1 * len(chosen), 3.3), layout="constrained")
  axes = figure.subplots(1, len(chosen), squeeze=False)[0]
  for ax, number in zip(axes, chosen, strict=True):
    name = found.class_names[number]
    _draw_plane(ax, found.planes[name], name, drawing.PALETTE[number % 7])
  drawing.save(figure, path)


def _draw_plane(ax: Axes, points: np.ndarray, name: str, color: str) -> None:
  """Draws one class."""
  if points.shape[1:] == (2,):
    ax.scatter(*points.T, s=6, alpha=0.5, color=color, lw=0)
  ax.set_title(textwrap.shorten(name, 28, placeholder=" ..."), fontsize=10)
  ax.set_xlabel("direction 1", fontsize=8)
  ax.set_ylabel("direction 2", fontsize=8)
  ax.tick_params(labelsize=7)
  ax.set_aspect("equal", "datalim")
