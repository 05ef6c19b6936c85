"""Seconds of each step on Slicer's main thread, and the longest gap in which Slicer does not answer.

    .venv-slicer/bin/python Testing/benchmarks/panel.py [--quick]

The steps are handing a volume over, reading the result, filling the segments, and updating the table and the views. The
gap is the longest time in which a timer did not fire between the click on Segment and the result, with the real engine.
The small volume is the phantom. The large one has the size of a CT, 512×512×300 voxels: the phantom with every voxel
repeated. The first run of each starts the engine (cold), the second one uses it (warm).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "MedTLSegment")]

import host  # noqa: E402

host.start()

import numpy as np  # noqa: E402
import qt  # noqa: E402
from tables import table  # noqa: E402

from medtl.phantom import head  # noqa: E402
from medtl.volume import Volume  # noqa: E402
from MedTLLib import samples  # noqa: E402
from MedTLLib.jobs import segment as segment_job  # noqa: E402
from MedTLLib.jobs.shared import shared_engine  # noqa: E402
from MedTLLib.jobs.worker import Worker  # noqa: E402
from MedTLLib.packages import packages  # noqa: E402
from MedTLLib.panels import segment as segment_panel  # noqa: E402

PATIENCE = 1200.0
REPEAT = (4, 4, 4)
AIM = 0.1


def large() -> Volume:
    """A volume of 512×512×300 voxels (x, y, z) of 0.4×0.4×0.5 mm."""
    small = head(1, (128, 128, 75), (1.6, 1.6, 2.0)).volume
    array = small.array
    for axis, count in enumerate(REPEAT):
        array = np.repeat(array, count, axis=axis)
    spacing = tuple(mm / count for mm, count in zip(small.geometry.spacing, REPEAT, strict=True))
    return Volume(array, replace(small.geometry, size=array.shape[::-1], spacing=spacing), "large")


class Clock:
    """The beats of a timer, and how long the functions that it stands before took."""

    def __init__(self) -> None:
        self.beats: list[float] = []
        self.spent: dict[str, float] = {}
        self.timer = qt.QTimer()
        self.timer.setInterval(5)
        self.timer.connect("timeout()", lambda: self.beats.append(time.perf_counter()))

    def before(self, owner: Any, name: str) -> Callable[[], None]:
        """Time a function of a module or an object from now on; what is returned ends that."""
        function = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.spent[name] = time.perf_counter() - began

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, function)


def measure(widget: Any, volume: Volume, name: str) -> list[list[str]]:
    """The rows of the table for a volume: the engine cold, then warm."""
    ui, panel = widget.ui, widget.segment
    node = samples.volume_node(volume, name)
    ui.inputSelector.setCurrentNode(node)
    ui.allModelsCheckBox.checked = True
    rows = []
    for state in ("cold", "warm"):
        clock = Clock()
        timed = ((segment_panel, "begin"), (segment_job, "read"), (segment_job, "finish"), (panel, "onFinished"))
        ends = [clock.before(*each) for each in timed]
        clock.timer.start()
        host.process_until(lambda clock=clock: clock.beats, 10.0, "A beat")
        first = clock.beats[-1]
        qt.QTimer.singleShot(0, ui.segmentButton.click)
        host.process_until(lambda: panel.run.job is not None, PATIENCE, "The start")
        host.process_until(lambda: panel.run.job is None, PATIENCE, "The result")
        host.process_until(lambda clock=clock: "onFinished" in clock.spent, 60.0, "The table")
        count = len(clock.beats)
        host.process_until(lambda clock=clock, count=count: len(clock.beats) > count, 60.0, "A beat after the result")
        clock.timer.stop()
        for end in ends:
            end()
        if not ui.statusLabel.text.startswith("Done"):
            raise SystemExit(ui.statusLabel.text)
        gaps = np.diff([beat for beat in clock.beats if beat >= first])
        size, seconds = "×".join(str(n) for n in volume.geometry.size), clock.spent
        parts = [*(seconds[name] for _, name in timed), gaps.max(), clock.beats[-1] - first]
        held = f"{np.count_nonzero(gaps > AIM)} of {len(gaps)}"
        rows.append([f"{name}, {size}", state, *(f"{part:.2f}" for part in parts), held])
    widget.logic.engine.stop()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    parser.add_argument("--python", default=given, help="interpreter of the engine")
    parser.add_argument("--quick", action="store_true", help="the phantom alone")
    options = parser.parse_args()
    packages.missing = lambda *arguments: ()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDTL_HOME"] = str(Path(folder) / "home")
        volumes = [("phantom", head(1).volume), *([] if options.quick else [("CT-like", large())])]
        host.open_views()
        shared_engine.replace(
            lambda: Worker([options.python, "-u", "-P", "-m", "medtl.worker"], Path(folder)), packages
        )
        widget = host.load_module(ROOT / "MedTLSegment" / "MedTLSegment.py")
        rows = [row for name, volume in volumes for row in measure(widget, volume, name)]
        widget.logic.engine.stop()
    columns = ["volume", "engine", "handing over, s", "reading, s", "filling, s", "table and views, s"]
    columns += ["longest gap, s", "in all, s", f"gaps over {AIM:g} s"]
    print(*table(columns, rows), sep="\n")


if __name__ == "__main__":
    main()
