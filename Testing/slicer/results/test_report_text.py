"""The text for the clipboard and the engine's report say the same about sides."""

import numpy as np
import pytest
from study_user import FIRST, LESION, ball, segmented

from medtl.report.content import report_of
from medtl.report.side import SIDES
from medtl.trend.studies import Study as EngineStudy
from medtl.volume import Labelmap, Segment
from MedTLLib.results.report_text import side_text, sides_of
from MedTLLib.results.studies import study_of


@pytest.mark.parametrize("places", [((-30, 0, 30), (35, 10, 20)), ((0, 0, 30),), ((-20, -20, 45), (-40, 20, 10))])
def test_the_sides_are_those_of_the_engines_report(scene, places):
    mask = np.logical_or.reduce([ball(FIRST, place, 15 - 4 * n) for n, place in enumerate(places)])
    _, node = segmented(FIRST, mask, "head")
    labelmap = Labelmap(mask.astype(np.uint8), FIRST.volume.geometry, (Segment(1, LESION, "Glioma"),))
    rows = report_of(EngineStudy("", labelmap, FIRST.volume)).findings
    sides = sides_of(study_of(node))
    assert {(LESION, str(row.lesion or "all")): row.side for row in rows} == sides


def test_the_words_are_those_of_the_engines_report():
    assert {side: side_text(side) for side in SIDES} == SIDES


def test_an_empty_segment_has_no_side(scene):
    _, node = segmented(FIRST, np.zeros(FIRST.volume.array.shape, bool), "head")
    assert sides_of(study_of(node)) == {(LESION, "all"): ""}
