"""What was prepared, for people to read."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.data.prepared import Prepared

_MOST_COLUMNS = 10  # Of classes; more are told in a phrase.


def summary(
  found: Prepared, published: Mapping[str, Sequence[int]] | None = None
) -> str:
  """Returns counts, label balance, remarks and what to do next, as lines.

  Args:
    found: What was prepared.
    published: The published number of examples of each class, by split.
  """
  manifest, task = found.manifest, found.task
  kind = "texts" if task.image_shape is None else "images"
  title = f"{task.name}: {kind} of {task.num_classes} classes"
  lines = [title, *_table(found, published or {})]
  for name, table in manifest.get("tables", {}).items():
    lines += ["", name, *_aligned([["", *table["columns"]], *_rows(table)])]
  lines += ["", f"from {manifest['form']}"]
  lines += [f"note: {note}" for note in manifest["notes"]]
  if manifest["partial"]:
    lines.append("note: a part of the published examples")
  lines += [
    *_tokens(found),
    f"in {found.folder}",
    f"to train on it: --config.data.dataset={found.folder.name} "
    f"--config.data.data_dir={found.folder.parent}",
  ]
  return "\n".join(lines)


def _table(
  found: Prepared, published: Mapping[str, Sequence[int]]
) -> list[str]:
  """Returns the lines of the table of examples by split and class."""
  names = found.task.class_names
  few = len(names) <= _MOST_COLUMNS
  header = ["", "examples", *(names if few else ["each class"])]
  rows = [header + (["published"] if published else [])]
  for split, record in found.manifest["splits"].items():
    counts = record["label_counts"]
    row = [split, f"{record['num_examples']:,}"]
    row += [f"{c:,}" for c in counts] if few else [_range(counts)]
    if split in published:
      expected = list(published[split])
      row.append("the same" if expected == counts else _published(expected))
    rows.append(row)
  return _aligned(rows)


def _published(counts: Sequence[int]) -> str:
  alike = len(set(counts)) == 1
  each = f"{counts[0]:,} each" if alike else ", ".join(f"{c:,}" for c in counts)
  return f"{sum(counts):,} ({each})"


def _range(counts: Sequence[int]) -> str:
  """Returns numbers that are many as their range."""
  least, most = min(counts), max(counts)
  return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _rows(table: Mapping[str, Any]) -> list[list[str]]:
  return [
    [name, *(f"{value:,}" for value in values)]
    for name, values in table["rows"].items()
  ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
  """Returns rows as lines with columns: the first to the left."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  "
    + "  ".join(
      [row[0].ljust(widths[0])]
      + [
        cell.rjust(width)
        for cell, width in zip(row[1:], widths[1:], strict=True)
      ]
    )
    for row in rows
  ]


def _tokens(found: Prepared) -> list[str]:
  """Returns what there is to say of tokens."""
  tokenizer = found.manifest["tokenizer"]
  if found.task.image_shape is not None:
    return []
  if tokenizer is None:
    return ["not tokenized: the same command with --tokenizer adds tokens"]
  lengths = [found.splits[split]["inputs"].lengths for split in found.splits]
  longest = max(int(length.max()) for length in lengths)
  tokens = sum(int(length.sum()) for length in lengths)
  return [
    f"{tokens:,} tokens of {tokenizer['name']}; the longest text has "
    f"{longest} of at most {tokenizer['max_length']}"
  ]
