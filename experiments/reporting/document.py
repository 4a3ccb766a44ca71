"""A report: sections of text, tables and pictures, and its Markdown form."""

import dataclasses
import re

from experiments.reporting.layout import Table
from experiments.reporting.layout import to_markdown as table_markdown


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture in the report's folder, as NAME.png and NAME.svg.

  Attributes:
    name: Of its files, without their suffix.
    caption: What it shows.
  """

  name: str
  caption: str


@dataclasses.dataclass(frozen=True)
class Section:
  """One section.

  Attributes:
    title: Its heading, unique in the report or in its chapter.
    parts: Paragraphs, tables and pictures, in order.
    chapter: What stands above it and its neighbours of the same chapter, in a
      report of several sweeps; empty without chapters.
  """

  title: str
  parts: tuple[str | Table | Picture, ...]
  chapter: str = ""

  @property
  def anchor(self) -> str:
    """What names it in an address."""
    return anchor(f"{self.chapter} {self.title}")


@dataclasses.dataclass(frozen=True)
class Document:
  """A report."""

  title: str
  sections: tuple[Section, ...]

  @property
  def tables(self) -> tuple[Table, ...]:
    """All tables, in order."""
    return tuple(part for part in self._parts if isinstance(part, Table))

  @property
  def pictures(self) -> tuple[Picture, ...]:
    """All pictures, in order."""
    return tuple(part for part in self._parts if isinstance(part, Picture))

  @property
  def _parts(self) -> list[str | Table | Picture]:
    return [part for section in self.sections for part in section.parts]


def to_markdown(document: Document) -> str:
  """Writes a report as Markdown beside its pictures."""
  blocks, chapter = [f"# {document.title}"], ""
  for section in document.sections:
    if section.chapter != chapter:
      chapter = section.chapter
      blocks.append(f"# {chapter}")
    blocks.append(f"## {section.title}")
    for part in section.parts:
      if isinstance(part, Table):
        blocks.append(table_markdown(part))
      elif isinstance(part, Picture):
        blocks += [f"![{part.caption}]({part.name}.png)", part.caption]
      else:
        blocks.append(part)
  return "\n\n".join(blocks) + "\n"


def anchor(title: str) -> str:
  """Returns a title as it stands in an address.

  Examples:
    >>> anchor("Table 3: ours, and the paper's")
    'table-3-ours-and-the-paper-s'
  """
  return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
