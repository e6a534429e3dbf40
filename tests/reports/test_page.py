"""The page needs nothing but itself, and shows what a reader must know."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from slackwise.reports.page import page
from slackwise.reports.table import COLUMNS, cells, lines, table


class Elements(HTMLParser):
    """Every element with its attributes, and what is left open."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] in ("p", "li", "tr", "td", "th", "dt", "dd") and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(found: dict[str, Any]) -> str:
    return page(found)


def test_the_page_is_well_formed(html: str) -> None:
    assert Elements(html).open == []


def test_the_page_loads_nothing(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base")
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert "@import" not in html
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", html))


def test_the_page_holds_three_figures_for_each_model(html: str, found: dict[str, Any]) -> None:
    assert sum(tag == "svg" for tag, _ in Elements(html).found) == 3 * len(found["cards"])


@pytest.mark.parametrize("label", ["TTFT, s", "share of requests at or below", "SLO attainment", "arrivals per second"])
def test_axes_are_labelled_with_units(html: str, label: str) -> None:
    assert label in html


def test_the_page_says_how_it_came_about(html: str, found: dict[str, Any]) -> None:
    card = found["cards"][0]
    assert found["command"] in html
    assert card["objectives_line"] in html
    assert card["reported"]["source"] in html
    assert f"<dd>{card['reported']['image_count']}</dd>" in html
    for name, number in found["versions"].items():
        assert f"{name} {number}" in html


def test_every_row_has_its_utilisation_beside_its_latency(html: str, found: dict[str, Any]) -> None:
    for row in found["rows"]:
        for kind, share in row["utilisation"].items():
            assert f"{kind} {100 * share:.0f} %" in html


def test_the_page_is_the_same_every_time(html: str, found: dict[str, Any]) -> None:
    assert page(found) == html


def test_what_comes_from_data_is_escaped(found: dict[str, Any]) -> None:
    changed = copy.deepcopy(found)
    changed["cards"][0]["reported"]["source"] = "<script>alert(1)</script>"
    assert "<script>" not in page(changed)


def test_requests_that_were_never_served_do_not_break_the_page(found: dict[str, Any]) -> None:
    changed = copy.deepcopy(found)
    for row in changed["cards"][0]["rows"]:
        row["ttft_p99_s"] = row["ttft_p99_relative"] = row["interval"] = None
    for curves in changed["cards"][0]["ttft"]["by_name"].values():
        curves["image"][-5:] = [None] * 5
    assert "(no interval)" in page(changed)


def test_the_table_has_a_row_for_each_configuration_and_model(found: dict[str, Any]) -> None:
    assert table(found).row_count == len(found["rows"]) + 2 * len(found["cards"])
    assert all(len(cells(row)) == len(COLUMNS) for row in found["rows"])


def test_the_lines_under_the_table_say_what_it_rests_on(found: dict[str, Any]) -> None:
    text = " ".join(" ".join(lines(found, width=100)).split())
    card = found["cards"][0]
    for words in (card["verdict"], card["objectives_line"], "image_count sqrt", "seed 0", found["objective"]):
        assert words in text


def test_no_line_under_the_table_is_wider_than_asked(found: dict[str, Any]) -> None:
    assert max(len(line) for line in lines(found, width=90)) <= 90
