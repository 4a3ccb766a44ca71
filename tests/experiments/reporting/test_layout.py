import textwrap

from experiments.reporting import formats
from experiments.reporting import tables
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from tests.experiments.reporting_workdirs import make_results


def small_table():
  return Table(
    title="T",
    header=("a|b", "c"),
    rows=(
      Row("x", (TableCell("1.0", "best"), TableCell("2.0", "second")), "g"),
      Row("long", (TableCell("+1"), TableCell("+2\n[0, 4]")), "h"),
      Row("none", (TableCell(), TableCell("3")), "h"),
    ),
    caption="What it is.",
    notes=("Read me.",),
  )


def test_to_markdown_bolds_underlines_and_escapes():
  assert tables.to_markdown(small_table()) == textwrap.dedent(
    """\
    ### T

    |  | a\\|b | c |
    | --- | --- | --- |
    | x | **1.0** | <u>2.0</u> |
    | long | +1 | +2<br>[0, 4] |
    | none |  | 3 |

    What it is. **Bold**: the best student, <u>underlined</u>: the second \
(the oracle is not ranked).

    * Read me.
    """
  )


def test_marks_go_by_the_number_and_not_by_its_digits():
  texts = ("88.6 ± 0.1", "88.60 ± 0.2", "9.5", "88.59", "= vanilla KD", "")
  texts += ("99.0 (n=1)",)
  rows = [Row("", (TableCell(text),)) for text in texts]
  marks = [row.cells[0].mark for row in formats.mark_rows(rows)]
  assert marks == ["best", "best", "", "second", "", "", ""]


def test_to_text_aligns_and_separates_groups():
  assert tables.to_text(small_table()) == textwrap.dedent(
    """\
    T
    =

          a|b  c
    -----------------
    x     1.0  2.0
    -----------------
    long  +1   +2
               [0, 4]
    none       3
    -----------------

    What it is.
    * Read me.
    """
  )


def test_to_text_of_a_terminal_has_labels_of_several_lines():
  label = "LELP - best baseline without subclass distillation"
  row = Row(label, (TableCell("+1\n[0, 2]"),))
  table = Table("T", ("x",), (row,), "")
  lines = tables.to_text(table, width=80).split("\n")
  at = lines.index("LELP - best baseline without  +1")
  assert lines[at + 1] == "subclass distillation         [0, 2]"
  assert f"{label}  +1" in tables.to_text(table)


def test_headers_of_several_lines_details_and_footnotes():
  table = Table(
    title="T",
    header=("A\nx", "A\nyy"),
    rows=(
      Row("m", (TableCell("1", footnotes=(1, 2)), TableCell("2"))),
      Row("more", (TableCell("3"), TableCell()), detail=True),
    ),
    caption="What.",
    footnotes=("One.", "Two."),
    corner="C\nD",
  )
  assert tables.to_text(table) == textwrap.dedent(
    """\
    T
    =

    C       A         A
    D       x         yy
    --------------------
    m       1 [1, 2]  2
      more  3
    --------------------

    What.
    [1] One.
    [2] Two.
    """
  )
  markdown = tables.to_markdown(table)
  assert "| C<br>D | A<br>x | A<br>yy |" in markdown
  assert "| m | 1 [1, 2] | 2 |" in markdown
  assert "| &emsp;more | 3 |  |" in markdown
  assert "* [2] Two." in markdown


def test_to_text_breaks_a_wide_table_into_blocks():
  text = tables.to_text(tables.accuracy_table(make_results()), width=50)
  assert max(len(line) for line in text.splitlines()) <= 50
  assert text.count("Vanilla distillation ") == 3
  wide = tables.to_text(tables.accuracy_table(make_results()))
  assert wide.count("\nVanilla distillation ") == 1
