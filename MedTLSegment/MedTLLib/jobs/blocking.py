"""A whole job in one call, for scripts and the Python console."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from medtl.errors import MedTLError

from ..packages.packages import Packages
from .job import Job, discard
from .run import Engine, JobRun


def run_blocking(engine: Engine, kind: type[Job], make: Callable[[Path], Job]) -> Any:
    """The outcome of the job that `make(folder)` gives; Slicer's events are processed until it is done.

    Raises: ValueError on bad input, RuntimeError when the engine fails or the scene is closed meanwhile.
    """
    was_stopped = engine.state == "stopped"
    run = JobRun(engine)
    jobs: list[Job] = []
    ended: list[Any] = []
    closed: list[bool] = []

    def on_scene_close(caller: Any, event: Any) -> None:
        closed.append(True)
        run.close()

    def make_job(folder: Path) -> Job:
        try:
            jobs.append(make(folder))
        except MedTLError as error:
            raise ValueError(str(error)) from error
        return jobs[-1]

    mrml = slicer.mrmlScene
    observer = mrml.AddObserver(mrml.StartCloseEvent, on_scene_close)
    try:
        run.begin(kind, make_job, ended.append)
        loop = qt.QEventLoop()
        while not ended and not closed:
            loop.processEvents(qt.QEventLoop.WaitForMoreEvents)
    finally:
        mrml.RemoveObserver(observer)
        if was_stopped:  # no other module uses it, so no process is left behind
            engine.stop()
    if closed:  # the scene that is open now may be of another patient
        raise RuntimeError(_("The scene was closed while the model ran: there is no result. Start it again."))
    if ended[0] is None:
        discard(jobs[0])
        bad_input = bool(run.failures) and run.failures[-1].kind in ("InputError", "ModelError")
        raise (ValueError if bad_input else RuntimeError)(run.text)
    return ended[0]


def check_packages(packages: Packages) -> None:
    """Raise RuntimeError when the engine's packages are missing."""
    if packages.missing():
        raise RuntimeError(_("Python packages are missing. Open the module MedTL Segment to install them."))
