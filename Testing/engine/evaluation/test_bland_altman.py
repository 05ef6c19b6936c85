"""The plot of Bland and Altman: what stands in the SVG, read as XML."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtl.evaluation.agreement import Agreement, CaseAgreement, LabelAgreement, _summary, ratings_agreement
from medtl.evaluation.bland_altman import plot, ticks

SVG = "{http://www.w3.org/2000/svg}"


def result(*volumes: tuple[str, float, float], label: str = "Tumour") -> Agreement:
    cases = tuple(
        CaseAgreement(name, (LabelAgreement(label, 0.9, 1.0, first, second),), None, None)
        for name, first, second in volumes
    )
    labels = {label: _summary([case.labels[0] for case in cases])} if cases else {}
    return Agreement("one", "two", len(cases), labels, ratings_agreement([]), cases, (), (), ())


def points(text: str) -> dict[str, tuple[float, float]]:
    circles = ElementTree.fromstring(text).iter(f"{SVG}circle")
    return {c.find(f"{SVG}title").text: (float(c.get("cx")), float(c.get("cy"))) for c in circles}


def texts(text: str) -> list[str]:
    return [each.text for each in ElementTree.fromstring(text).iter(f"{SVG}text")]


def test_a_point_lies_at_the_mean_and_the_difference():
    placed = points(plot(result(("a", 10, 12), ("b", 20, 20), ("c", 30, 26))))
    (xa, ya), (xb, yb), (xc, yc) = placed["a"], placed["b"], placed["c"]
    assert (xb - xa) / (xc - xb) == pytest.approx((20 - 11) / (28 - 20), abs=0.02)
    assert (ya - yb) / (yb - yc) == pytest.approx(2 / 4, abs=0.02)
    assert ya < yb < yc  # upwards is more


def test_the_mean_and_the_limits_are_drawn_and_named():
    shown = texts(plot(result(("a", 10, 12), ("b", 20, 20))))
    assert {"Tumour (n = 2)", "mean 1", "+1.96 SD 3.77", "-1.96 SD -1.77"} <= set(shown)


def test_one_case_has_a_mean_and_no_limits():
    shown = texts(plot(result(("a", 10, 12))))
    assert "mean 2" in shown
    assert not any("SD" in text for text in shown)


def test_names_cannot_break_the_file():
    text = plot(result(('<a href="x">&', 1, 2), ("b\x00\n", 2, 3), label="<script>\x01"))
    assert '<a href="x">&' in points(text)
    assert texts(text)[0].split() == ["<script>", "(n", "=", "2)"]


def test_equal_readers_and_empty_labels_can_be_drawn():
    assert len(points(plot(result(("a", 0, 0), ("b", 0, 0))))) == 2
    assert points(plot(result())) == {}


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_are_round_rise_and_hold_the_values(low, span):
    found = ticks(low, low + span)
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert found[0] <= low + 1e-6 * max(1, span)
    assert found[-1] >= low + span - 1e-6 * max(1, span)
    assert 2 <= len(found) <= 12
    assert max(steps) - min(steps) <= 1e-6 * max(steps)
