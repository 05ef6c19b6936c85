"""A user who works through a list and whose Slicer is killed in the middle of a case: run by test_cases.py."""

import os
import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path += [str(TESTING), str(TESTING / "slicer"), str(TESTING / "engine")]
sys.path += [str(TESTING.parent), str(TESTING.parent / "MedTLSegment")]

import host  # noqa: E402

host.start()

from case_user import TRUTH, CaseUser  # noqa: E402
from panel_user import MODEL, paint  # noqa: E402

from medtl.model.card import load_card  # noqa: E402
from medtl.model.store import find_model  # noqa: E402
from MedTLLib.seeds import marks  # noqa: E402


def main(images: Path, folder: Path, cases: int) -> None:
    """Press N until this case is open, paint, mark two SEEDs, and be killed once that is saved."""
    host.new_scene()
    host.open_views()
    user = CaseUser(folder)
    user.choose(images)
    user.answer()
    for _ in range(cases - 1):
        user.answer()
        user.next()
    mask = TRUTH.copy()
    mask[5, :6, :6] = True
    paint(user.segmentation, user.volume, mask)
    card = load_card(find_model(MODEL))
    for k in (4, 5):
        marks.mark(user.segmentation, user.volume, card, k)
    result = user.cases.session.list.result(user.cases.session.case)
    user.cases.saving.quiet.pause = 1
    host.process_until(lambda: user.on_disk().cases[user.name].seeds == 2, 20.0, f"{result} with two SEEDs")
    os.kill(os.getpid(), 9)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
