"""The table of stages: every stage that a job reports is in it, and the bar never moves back."""

from pathlib import Path

import numpy as np
import pytest
from small_classifier import spots
from small_model import bands

from medtl import worker_jobs
from medtl.io.write import write_image
from medtl.progress import STAGES, overall_fraction, rounded_seconds
from medtl.volume import Geometry


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    array = np.zeros((6, 64, 64), np.int16)
    array[:, 10:54, 10:54] = 100
    array[2:4, 28:34, 28:34] = 200
    write_image(tmp_path / "head.nrrd", array, Geometry((64, 64, 6), (3.0, 3.0, 5.0)))
    return tmp_path / "head.nrrd"


@pytest.mark.parametrize("job", ["segment", "suggest", "classify"])
def test_the_bar_of_a_real_job_never_moves_back(
    job: str, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spots() if job == "classify" else bands()
    monkeypatch.setattr(worker_jobs, "warm_model", lambda *_: model)
    calls: list[tuple[str, float]] = []
    options = {"heatmap": str(tmp_path / "heat.nrrd")} if job == "classify" else {}
    request = {"model": "m", "input": str(picture), "output": str(tmp_path / "out.seg.nrrd"), "options": options}
    worker_jobs.JOBS[job](request, lambda stage, fraction: calls.append((stage, fraction)))
    bar = [overall_fraction(job, *call) for call in calls]
    assert bar == sorted(bar)
    assert bar[0] == 0.0
    assert bar[-1] == pytest.approx(1.0)
    assert list(dict.fromkeys(stage for stage, _ in calls)) == list(STAGES[job])


@pytest.mark.parametrize("job", STAGES)
def test_the_shares_of_a_job_are_one_in_all(job: str) -> None:
    shares = [stage.share for stage in STAGES[job].values()]
    assert sum(shares) == pytest.approx(0.0 if job == "finetune" else 1.0)
    assert all(share >= 0.0 for share in shares)


def test_seconds_are_listed_in_the_order_of_the_work() -> None:
    found = rounded_seconds("segment", {"write": 0.00049, "infer": 1.23456, "load": 2.0})
    assert list(found.items()) == [("load", 2.0), ("infer", 1.235), ("write", 0.0)]
