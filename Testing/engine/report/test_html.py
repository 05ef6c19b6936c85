"""The report as HTML: well formed, without network or script; names from files are text, never markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from medtl.errors import InputError
from medtl.report.classification import Classified
from medtl.report.content import report_of
from medtl.report.html import render, write_html
from medtl.results import Trend, TrendStudy
from medtl.trend.studies import Study
from medtl.trend.trend import NOTE, trend_rows
from medtl.volume import Geometry, Labelmap, Segment, Volume

GRID = Geometry((40, 30, 20), (1.0, 1.0, 2.0))
VOID = {"meta", "img", "br", "line", "circle", "polyline", "link", "input", "hr"}
HOSTILE = (
    """<script>alert(1)</script><img src=x onerror=alert(2)>"'`</style></title><svg onload=alert(3)>{{ 7*7 }}&amp;"""
)


class Page(HTMLParser):
    """The page as a browser takes it: its tags must be closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def study(name: str = "Tumour", stop: int = 20) -> Study:
    array = np.zeros(GRID.shape, np.uint8)
    array[4:8, 4:9, 10:stop] = 1
    array[12:14, 4:7, 8:12] = 1
    tags = (("DICOM.SegmentAlgorithmName", f"{name} 1.0"), ("MedTL.sha256", name))
    image = np.full(GRID.shape, 100, np.int16)
    image[0] = 0
    labelmap = Labelmap(array, GRID, (Segment(1, "m.tumour", name, tags=tags),))
    return Study("2026-03-02", labelmap, Volume(image, GRID, name=name, modality=name[:2]))


def full_report(name: str = "Tumour", reasons: tuple[str, ...] = ()):
    """A report with all of its parts."""
    now, before = study(name), study(name, 16)
    dates = ["2026-01-31", "2026-03-02"]
    rows, _ = trend_rows(dates, [before.labelmap, now.labelmap], [np.eye(4)] * 2)
    trend = Trend((TrendStudy(dates[0], None), TrendStudy(dates[1], 0.61)), True, rows, (), NOTE)
    classified = Classified(name, "1.0", name, name, {name: 0.9, "other": 0.1}, reasons)
    uncertainty = np.zeros(GRID.shape, np.float32)
    uncertainty[5, 4:9, 8:12] = 0.5
    return report_of(now, trend, classified, uncertainty, (name,))


def test_the_page_says_what_was_found():
    report = full_report()
    page = Page(render(report))
    for row in report.findings:
        assert f"{row.volume_ml:.2f}" in page.text
        assert f"{row.longest_mm:.1f} × {row.perpendicular_mm:.1f}" in page.text
    for value in report.trend.rows[0].values:
        assert f"{value.volume_ml:.2f}" in page.text
        assert value.date in page.text
    assert f"{report.trend.rows[0].values[1].change_to_first:+.0f} %" in page.text
    assert "0.61" in page.text
    assert "Tumour, 90 %" in page.text
    assert "5 (10 mm²)" in page.text
    assert "Segmented by Tumour 1.0, SHA-256 Tumour." in page.text
    assert page.text.count("Research use, not for diagnosis.") == 2
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 2 * 3 + 1


def test_a_side_is_said_to_be_that_of_the_middle_of_the_image():
    report = full_report()
    for side, told in (
        ("left", "left of middle"),
        ("right", "right of middle"),
        ("both", "both sides of middle"),
        ("", "–"),
    ):
        text = Page(render(replace(report, findings=(replace(report.findings[0], side=side),)))).text
        assert told in text
        assert ("the middle of what the image shows" in text) == bool(side)


def test_a_model_that_abstains_is_uncertain():
    text = Page(render(full_report(reasons=("no class stands out",)))).text
    assert "Uncertain: review" in text
    assert "no class stands out" in text
    assert "Tumour, 90 %" not in text


def test_nothing_is_loaded_from_anywhere_and_nothing_runs():
    text = render(full_report(HOSTILE))
    page = Page(text)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "a", "form", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert attributes.get(name, "data:image/png").startswith("data:image/png")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_names_from_files_are_text():
    plain, hostile = Page(render(full_report("Tumour"))), Page(render(full_report(HOSTILE)))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]  # not one tag more
    assert HOSTILE in hostile.text
    assert "{{ 7*7 }}" in hostile.text  # no template of theirs is run


def test_a_report_of_little_is_whole():
    empty = Labelmap(np.zeros(GRID.shape, np.uint8), GRID)
    page = Page(render(report_of(Study("", empty))))
    assert "Nothing was found." in page.text
    assert "does not say which model" in page.text
    assert not [tag for tag, _ in page.tags if tag in ("img", "svg")]


@pytest.mark.parametrize(
    ("names", "told"), [("A, B", "Drawn or edited by hand: A, B."), ("", "Not edited by hand."), (None, "")]
)
def test_the_page_says_whether_it_was_edited_by_hand_where_that_is_known(names, told):
    text = Page(render(replace(full_report(), by_hand=names))).text
    assert told in text
    assert ("by hand" in text) == bool(told)


def test_without_a_registration_the_page_says_so():
    report = full_report()
    page = Page(render(replace(report, trend=replace(report.trend, matched=False))))
    assert "were not registered" in page.text


def test_the_bars_are_as_long_as_the_probabilities():
    widths = [a["style"] for tag, a in Page(render(full_report())).tags if a.get("class") == "fill"]
    assert widths == ["width: 90.0%", "width: 10.0%"]


def test_an_existing_file_stays_and_a_folder_that_is_missing_is_said(tmp_path):
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_html(tmp_path / "r.html", full_report(), False)
    assert (tmp_path / "r.html").read_text() == "mine"
    write_html(tmp_path / "r.html", full_report(), True)
    Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    with pytest.raises(InputError, match="does not exist"):
        write_html(tmp_path / "gone" / "r.html", full_report(), False)


def test_bytes_that_are_no_text_do_not_end_the_report(tmp_path):
    write_html(tmp_path / "r.html", full_report("name\udce9"), False)
    assert "name" in (tmp_path / "r.html").read_text(encoding="utf-8")
