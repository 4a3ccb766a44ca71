"""Pages on the subclasses of a cell: one of all, and one for each class."""

import dataclasses
import html
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from experiments.data.dataset import Subclasses
from experiments.data.dataset import Task
from experiments.reporting import markup
from experiments.reporting.subclass_information import Information
from experiments.reporting.subclass_information import NUM_PERMUTATIONS
from experiments.reporting.subclass_information import subclass_information

INDEX = "index.html"
_NUM_BINS = 32
# More fine labels stand in the order of the subclasses they mostly fall to.
_MOST_IN_ORDER = 12
_COORDINATES = {
  "direction": (
    "A direction is drawn by its coordinates of the class's examples, in units"
    " of the largest standard deviation along a direction of the class where"
    " directions are scaled so. An example's subclass is the direction of its"
    " largest coordinate: at any temperature the most probable one of its"
    " projection, of which a cell has one or several."
  ),
  "output": (
    "An output of the teacher is drawn by its logits of the class's examples;"
    " an example's subclass is the output of the largest."
  ),
  "cluster": (
    "Clusters of the teacher's embeddings have no coordinates: some of their"
    " examples are shown, drawn at random."
  ),
}


@dataclasses.dataclass(frozen=True)
class Subject:
  """What pages are about.

  Attributes:
    title: Of the cell, plain text.
    facts: What there is to know of it, plain text by name.
    task: The data's.
    subclasses: The subclasses of the examples.
    text_of: The text of an example by its id, None where they are images or
      nothing that can be shown.
    num_shown: How many examples are shown at each end.
  """

  title: str
  facts: Mapping[str, str]
  task: Task
  subclasses: Subclasses
  text_of: Callable[[int], str] | None = None
  num_shown: int = 8


def subclass_pages(subject: Subject) -> dict[str, str]:
  """Makes the pages of a cell.

  Args:
    subject: What they are about.

  Returns:
    Their HTML by file name, the first of them `INDEX`.
  """
  told, over_all = (), None
  if "fine_labels" in subject.subclasses.examples:
    num_fine = len(subject.task.fine_to_class or ())
    told, over_all = subclass_information(subject.subclasses, num_fine)
  pages = {INDEX: _index(subject, told, over_all)}
  for c in range(subject.task.num_classes):
    pages[_file(c)] = _class_page(subject, c, told[c] if told else None)
  return pages


def _file(c: int) -> str:
  return f"class{c}.html"


def _class_name(task: Task, c: int) -> str:
  return task.class_names[c] if task.class_names else f"class {c}"


def _index(
  subject: Subject,
  told: Sequence[Information],
  over_all: Information | None,
) -> str:
  """The page of all classes."""
  found, task = subject.subclasses, subject.task
  labels = np.asarray(found.examples["labels"])
  header = ["class", "examples", f"{found.kind}s"]
  if found.variance_shares is not None:
    header.append("their share of the variance")
  if over_all is not None:
    header += ["information (nats)", "by chance", "normalized", "by chance"]
  rows = []
  for c in range(task.num_classes):
    name = html.escape(_class_name(task, c))
    row = [f'<a href="{_file(c)}">{name}</a>', f"{(labels == c).sum():,}"]
    row.append(str(found.where[c].sum()))
    if found.variance_shares is not None:
      row.append(_percent(found.variance_shares[c].sum()))
    rows.append(row + (_numbers(told[c]) if told else []))
  if over_all is not None:
    row = ["all classes", f"{len(labels):,}", str(found.where.sum())]
    row += [""] * (found.variance_shares is not None) + _numbers(over_all)
    rows.append(row)
  facts = [
    f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
    for name, value in subject.facts.items()
  ]
  parts = [
    f"<h1>{html.escape(subject.title)}</h1>",
    f"<dl>{''.join(facts)}</dl>",
    markup.table(header, rows),
    f'<p class="soft">{_COORDINATES[found.kind]}</p>',
  ]
  if over_all is not None:
    parts.append(
      '<p class="soft">Information: the mutual information of subclass and'
      " fine label; normalized: over the mean of the two entropies. By chance:"
      f" mean ± standard deviation over {NUM_PERMUTATIONS} shuffles of the fine"
      " labels inside each class, seed 0. Over all classes the subclass is a"
      " pair with the class, which a shuffle leaves: by chance that much is"
      " known already.</p>"
    )
  return markup.page(subject.title, parts)


def _numbers(told: Information) -> list[str]:
  """Mutual information beside chance, as cells of a table."""
  return [
    f"{told.nats:.3f} of {told.entropy:.3f}",
    f"{told.chance.mean:.3f} ± {told.chance.std:.3f}",
    f"{told.normalized:.3f}",
    f"{told.chance_normalized:.3f}",
  ]


def _class_page(subject: Subject, c: int, told: Information | None) -> str:
  """The page of one class."""
  task, found = subject.task, subject.subclasses
  rows = np.flatnonzero(np.asarray(found.examples["labels"]) == c)
  name = _class_name(task, c)
  parts = [_navigation(task, c), f"<h1>{html.escape(name)}</h1>"]
  if not len(rows):
    parts.append("<p>No example is of this class.</p>")
    return markup.page(f"{name}: {subject.title}", parts)
  parts.append(
    f'<p class="soft">{len(rows):,} examples. {html.escape(subject.title)}</p>'
  )
  if told is not None:
    nats, chance, normalized, chance_normalized = _numbers(told)
    parts.append(
      f"<p>Its {found.kind}s tell <b>{nats} nats</b> that the fine label has"
      f" (by chance {chance}), normalized <b>{normalized}</b> (by chance"
      f" {chance_normalized}).</p>"
    )
  parts.append(_subclass_table(subject, c, rows, told))
  for s in np.flatnonzero(found.where[c]):
    parts += _section(subject, c, int(s), rows)
  parts.append(_navigation(task, c))
  return markup.page(f"{name}: {subject.title}", parts)


def _navigation(task: Task, c: int) -> str:
  links = [f'<a href="{INDEX}">all classes</a>']
  for other, arrow in ((c - 1, "← {}"), (c + 1, "{} →")):
    if 0 <= other < task.num_classes:
      name = arrow.format(html.escape(_class_name(task, other)))
      links.append(f'<a href="{_file(other)}">{name}</a>')
  return f"<nav>{''.join(links)}</nav>"


def _subclass_table(
  subject: Subject, c: int, rows: np.ndarray, told: Information | None
) -> str:
  """Each subclass's shares, and its counts of fine labels as a heat map."""
  found, task = subject.subclasses, subject.task
  header = [found.kind, "share of the class"]
  if found.variance_shares is not None:
    header.append("share of the variance")
  fine: Sequence[int] = ()
  if told is not None:
    fine = np.flatnonzero(told.counts.any(axis=0)).tolist()
    if len(fine) > _MOST_IN_ORDER:
      fine.sort(key=lambda f: told.counts[:, f].argmax())
    header += [html.escape(_fine_name(task, f)) for f in fine]
  lines = []
  for s in np.flatnonzero(found.where[c]):
    line = [f'<a href="#s{s}">{s}</a>']
    line.append(_percent(np.mean(found.assignments[rows] == s)))
    if found.variance_shares is not None:
      line.append(_percent(found.variance_shares[c, s]))
    if told is not None:
      totals = told.counts.sum(axis=0)
      counts = told.counts[s]
      line += [
        markup.heat(f"{counts[f]:,}", counts[f] / totals[f]) for f in fine
      ]
    lines.append(line)
  notes = ""
  if told is not None:
    notes = (
      '<p class="soft">Examples by fine label; the colour is the share of the'
      " fine label that falls to the subclass.</p>"
    )
  return markup.table(header, lines) + notes


def _section(
  subject: Subject, c: int, s: int, rows: np.ndarray
) -> Iterator[str]:
  """One subclass: its shares, its histogram, examples at both ends."""
  found = subject.subclasses
  members = rows[found.assignments[rows] == s]
  share = _percent(len(members) / len(rows))
  title = f"{found.kind.capitalize()} {s}"
  yield f'<section id="s{s}"><h2>{title}</h2>'
  summary = f"The subclass of {len(members):,} examples ({share})"
  if found.coordinates is not None:
    summary += ", in colour"
  if found.variance_shares is not None:
    carried = _percent(found.variance_shares[c, s])
    summary += f"; {carried} of the variance of the class"
  yield f'<p class="soft">{summary}.</p>'
  if found.coordinates is None:
    drawn = np.random.default_rng(s).permutation(members)[: subject.num_shown]
    yield _examples(subject, drawn, None)
  else:
    along = found.coordinates[:, s]
    # One scale for all directions of the class.
    every = found.coordinates[rows][:, found.where[c]]
    limits = float(every.min()), float(every.max())
    counts, own = (
      np.histogram(along[some], _NUM_BINS, limits)[0].tolist()
      for some in (rows, members)
    )
    yield markup.histogram(counts, own, limits)
    order = rows[np.argsort(along[rows], kind="stable")]
    # With few examples the two ends meet in the middle.
    count = min(subject.num_shown, max(1, len(order) // 2))
    yield '<div class="ends">'
    for name, end in (
      ("Highest", order[::-1][:count]),
      ("Lowest", order[:count]),
    ):
      yield f"<div><h3>{name}</h3>{_examples(subject, end, along)}</div>"
    yield "</div>"
  yield "</section>"


def _examples(
  subject: Subject, rows: np.ndarray, along: np.ndarray | None
) -> str:
  """Some examples, with their coordinates and fine labels."""
  task, examples = subject.task, subject.subclasses.examples
  items = []
  for row in rows:
    said = [] if along is None else [f"{along[row]:+.2f}"]
    if "fine_labels" in examples:
      said.append(html.escape(_fine_name(task, examples["fine_labels"][row])))
    if task.image_shape is not None:
      shown = markup.image(examples["inputs"][row], task.scale)
      caption = "<br>".join(said)
      items.append(
        f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"
      )
      continue
    example = int(examples["ids"][row])
    text = f"example {example}"
    if subject.text_of is not None:
      text = subject.text_of(example)
    items.append(f"<li><b>{' · '.join(said)}</b> {markup.text(text)}</li>")
  if task.image_shape is not None:
    return f'<div class="examples">{"".join(items)}</div>'
  return f'<ul class="texts">{"".join(items)}</ul>'


def _fine_name(task: Task, fine: int) -> str:
  return task.fine_names[fine] if task.fine_names else str(fine)


def _percent(share: float) -> str:
  return f"{100 * share:.1f} %"
