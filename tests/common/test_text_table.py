"""Text tables: alignment, rules, indentation."""

from minidl.common.text_table import format_table

ROWS = [("name", "n", "note"), ("a", "10", ""), ("longer", "7", "last")]


def test_columns_are_as_wide_as_their_longest_cell_and_lines_have_no_trailing_spaces():
    assert format_table(ROWS, right=[1]) == [
        "name     n  note",
        "a       10",
        "longer   7  last",
    ]


def test_rules_enclose_the_rows_below_the_heading():
    heading, rule, *rows, last = format_table(ROWS, rules=True)
    assert heading.startswith("name    n ")
    assert rule == last == "-" * len("longer  10  last")
    assert len(rows) == 2


def test_indentation_precedes_each_line():
    assert format_table(ROWS[1:], indent="> ") == [
        ">  a".replace("  ", " ") + "       10",
        "> longer  7   last",
    ]


def test_no_rows_make_no_lines():
    assert format_table([]) == []
