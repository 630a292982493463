"""HTML elements: escaping, rounding, tables."""

import pytest
from support.pages import Markup

from minidl.report.html import LONG, UNDEFINED, counted, listed, number, pairs, percent, plot, table

HOSTILE = '<img src=x onerror="f()">&'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0.0%"),
        (0.0004, "< 0.1%"),
        (0.0005, "0.1%"),
        (0.98305, "98.3%"),
        (0.9994, "99.9%"),
        (0.9995, "> 99.9%"),
        (1, "100.0%"),
        (None, UNDEFINED),
    ],
)
def test_only_exact_shares_are_rounded_to_0_or_100_percent(value, expected):
    assert percent(value) == expected


def test_numbers():
    assert [number(x) for x in (0.5, 0.99951, 1, None)] == ["0.500", "> 0.999", "1.000", UNDEFINED]
    assert [counted(n, "samples") for n in (0, 1, 2500)] == [
        "0 samples",
        "1 sample",
        "2,500 samples",
    ]


def test_enumerations():
    assert listed(["cats", "dogs"]) == "cats and dogs"
    assert listed(list("abcde")) == "a, b, c, d and e"
    assert listed(list("abcdef")) == "6 classes"


def test_every_element_escapes_its_text():
    for page in (
        plot("<svg></svg>", HOSTILE),
        pairs(HOSTILE, {HOSTILE: HOSTILE}),
        table([HOSTILE], [[HOSTILE, HOSTILE]], [HOSTILE, HOSTILE]),
    ):
        markup = Markup(page)
        assert markup.problems == []
        assert markup.images == []
        assert HOSTILE in "".join(markup.words)


def test_tables_have_all_cells_and_scroll_if_they_are_long():
    rows = [["cats", "1", "2"], ["dogs", "3", "4"]]
    page = table(["photos", "recall"], rows, ["all", "4", "6"])
    assert Markup(page).words == [
        *("class", "photos", "recall"),
        *("cats", "1", "2"),
        *("dogs", "3", "4"),
        *("all", "4", "6"),
    ]
    assert "tall" not in page
    assert "tall" in table(["photos"], [["a", "1"]] * (LONG + 1), ["all", "16"])
