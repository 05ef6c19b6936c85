"""The section Cases: keys and clicks a case, seconds from N to a usable view, memory after 60 cases, a list of 10,000.

    .venv-slicer/bin/python Testing/benchmarks/cases.py [--images DIR] [--count 20] [--only keys,seconds,memory,many]

- keys: 20 cases are worked through with the real panel on the stand-in for Slicer; every shortcut and mouse press that
  Qt delivers is counted. Beside them stand the steps that other extensions document: SlicerCART, docs/quickstart.rst of
  9f25ca9, steps 7 to 10; SegmentationReview, README.md of 002deec, steps 3 and 4. Neither segments.
- seconds: from the key N until the next volume, its segmentation and its table are shown, with the real engine; "with
  the background" means that the engine had ended before N was pressed.
- memory: of this process (Slicer's stand-in), resident, with a volume of 20 MB a case.
- many: with a list of 10,000 cases. CPU seconds are the process's own; the wall clock counts other programs, too.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), *(str(ROOT / "Testing" / part) for part in ("", "slicer", "engine", "benchmarks"))]
sys.path.append(str(ROOT / "MedTLSegment"))

import host  # noqa: E402

host.start()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from case_user import CaseUser  # noqa: E402
from tables import table  # noqa: E402

from medtl.io.write import write_image  # noqa: E402
from medtl.phantom import head  # noqa: E402
from medtl.volume import Geometry  # noqa: E402
from medtl.worklist.case_list import make_list  # noqa: E402
from medtl.worklist.find import Found  # noqa: E402
from MedTLLib.jobs.worker import Worker  # noqa: E402

PATIENCE = 1200.0
RIVALS = (
    ("SegmentationReview: rate, next", "3", "0", "no"),
    ("SegmentationReview: rate, next, by its keys", "0", "2", "no"),
    ("SegmentationReview: correct, save the mask, rate, next", "5", "0", "no"),
    ("SlicerCART: open, paint, save", "3", "0", "no"),
)


class EventLog(qt.QWidget):
    """Counts shortcuts and mouse presses that Qt delivers."""

    def __init__(self) -> None:
        qt.QWidget.__init__(self)
        self.counts: Counter[str] = Counter()
        slicer.app.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        names = {qt.QEvent.Shortcut: "keys", qt.QEvent.MouseButtonPress: "clicks"}
        if event.type() in names:
            self.counts[names[event.type()]] += 1
        return False


def heads(folder: Path, count: int, size: tuple[int, int, int] = (56, 56, 10)) -> Path:
    """A folder of so many heads; each file is a link to one of five."""
    folder.mkdir(parents=True)
    spacing = (196 / size[0], 196 / size[1], 120 / size[2])
    for number in range(count):
        path = folder / f"case {number + 1}.nrrd"
        if number < 5:
            volume = head(number + 1, size, spacing).volume
            write_image(path, volume.array, volume.geometry)
        else:
            os.link(folder / f"case {number % 5 + 1}.nrrd", path)
    return folder


def new_user(folder: Path, engine: Any = None) -> CaseUser:
    """The panel in an empty scene."""
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    return CaseUser(folder, engine)


def work_through(user: CaseUser, count: int, each: Callable[[int], None] = lambda number: None) -> None:
    """Press N from the first case to the last; the fake engine answers at once."""
    for number in range(1, count + 1):
        while user.worker.jobs:
            user.answer(TRUTH)
        each(number)
        user.next()


TRUTH = head(1, (56, 56, 10), (3.5, 3.5, 12.0)).labelmap.array > 0


def measure_keys(folder: Path) -> None:
    """Print keys and clicks a case."""
    user = new_user(folder / "keys-engine")
    user.choose(heads(folder / "keys", 20))
    log = EventLog()
    work_through(user, 20)
    slicer.app.removeEventFilter(log)
    states = Counter(user.states())
    user.close()
    ours = ("MedTL: save, next, segment", *(f"{log.counts[kind] / 20:g}" for kind in ("clicks", "keys")), "yes")
    print(f"20 cases, states at the end: {dict(states)}\n")
    print(*table(("a case", "clicks", "keys", "segments by itself"), (ours, *RIVALS)), "", sep="\n")


def measure_seconds(folder: Path, images: Path, count: int, python: str) -> None:
    """Print seconds from N to a usable view, with and without the background."""
    rows = []
    for background in (True, False):
        work = folder / f"seconds-{background}"
        work.mkdir()
        worker = Worker([python, "-u", "-P", "-m", "medtl.worker"], work)
        user = new_user(work, worker)
        user.ui.allModelsCheckBox.checked = True
        if not background:
            user.cases.startAhead = lambda: None
        links = work / "images"
        links.mkdir()
        files = sorted(images.glob("*.nrrd"))[:count]
        for file in files:
            (links / file.name).symlink_to(file)
        user.choose(links)
        spent = []
        for number in range(len(files)):
            host.process_until(partial(is_usable, user), PATIENCE, "A result")
            if background:
                host.process_until(partial(is_free, user), PATIENCE, "The background")
            began = time.perf_counter()
            user.next()
            if number < len(files) - 1:
                host.process_until(partial(is_usable, user), PATIENCE, "The next")
                spent.append(time.perf_counter() - began)
        user.close()
        worker.stop()
        low, high = min(spent), max(spent)
        name = "with the background" if background else "without"
        rows.append((name, str(len(spent)), f"{statistics.median(spent):.2f}", f"{low:.2f}", f"{high:.2f}"))
    print(f"seconds from N to a usable view, {len(files)} volumes of {images}\n")
    print(*table(("", "n", "median", "least", "most"), rows), "", sep="\n")


def is_usable(user: CaseUser) -> bool:
    """Whether the volume, its segmentation and its table are shown, and nothing is going on."""
    shown = user.segmentation is not None and bool(user.rows())
    return shown and user.widget.logic.run.job is None


def is_free(user: CaseUser) -> bool:
    """Whether no case is segmented in the background."""
    return not user.cases.background.ahead.name


def resident() -> float:
    """Megabytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory(folder: Path) -> None:
    """Print the memory of this process while 60 cases are worked through."""
    images = folder / "memory"
    images.mkdir()
    grid = Geometry((256, 256, 160), (1.0, 1.0, 1.0))
    array = np.random.default_rng(0).integers(0, 1000, grid.shape).astype(np.int16)
    write_image(images / "case 1.nrrd", array, grid)
    for number in range(2, 61):
        os.link(images / "case 1.nrrd", images / f"case {number}.nrrd")
    mask = np.zeros(grid.shape, bool)
    mask[60:90, 100:140, 100:140] = True
    user = new_user(folder / "memory-engine")
    user.ui.allModelsCheckBox.checked = True
    user.choose(images)
    rows = []
    for number in range(1, 61):
        while user.worker.jobs:
            user.answer(mask)
        if number in (1, 2, 5, 10, 20, 30, 40, 50, 60):
            rows.append((str(number), f"{resident():.0f}", str(slicer.mrmlScene.GetNumberOfNodes())))
        user.next()
    user.close()
    print(f"memory, {array.nbytes / 1e6:.0f} MB a volume\n")
    print(*table(("case", "MB", "nodes in the scene"), rows), "", sep="\n")


def measure_many(folder: Path, count: int = 10_000) -> None:
    """Print what a long list costs."""
    rows = []
    for size in (10, count):
        images = heads(folder / f"many-{size}", 3)
        found = [Found((images / f"case {n}.nrrd",), f"case {n}") for n in range(1, size + 1)]
        path = make_list(images, found, "beside")
        user = new_user(folder / f"many-{size}-engine")
        steps = {
            "open": partial(user.cases.session.open, path),
            "show": user.cases.update,
            "search": partial(search, user, f"case {size}"),
            "sort": partial(user.cases.table.onHeader, 1),
        }
        spent = {name: seconds(step) for name, step in steps.items()}
        search(user, "")
        user.cases.table.onHeader(1)
        user.cases.table.onHeader(1)
        user.cases.onOpened()
        while user.worker.jobs:
            user.answer(TRUTH)
        spent["N"] = seconds(user.next)
        user.close()
        rows.append((f"{size:,} cases", *(f"{wall:.3f} ({cpu:.3f})" for wall, cpu in spent.values())))
    print("seconds (CPU seconds) of each step; N with a small volume whose segmentation is ready\n")
    print(*table(("", *spent), rows), "", sep="\n")


def search(user: CaseUser, text: str) -> None:
    """Type into the search field, without the pause."""
    user.ui.caseSearch.text = text
    user.cases.table.update()


def seconds(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the wall clock and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    parser.add_argument("--python", default=given, help="interpreter of the engine")
    parser.add_argument("--images", type=Path, help="volumes (.nrrd) in place of synthetic heads")
    parser.add_argument("--count", type=int, default=20, help="how many volumes")
    parser.add_argument("--only", default="keys,seconds,memory,many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MEDTL_HOME"] = str(folder / "home")
        chosen = options.only.split(",")
        if "keys" in chosen:
            measure_keys(folder)
        if "many" in chosen:
            measure_many(folder)
        if "memory" in chosen:
            measure_memory(folder)
        if "seconds" in chosen:
            images = options.images or heads(folder / "heads", options.count, (224, 224, 24))
            measure_seconds(folder, images, options.count, options.python)


if __name__ == "__main__":
    main()
