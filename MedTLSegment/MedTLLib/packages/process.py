"""A process that installs packages, as Slicer sees it: started, heard, cancelled; the main thread is never blocked.

What the process does and how it speaks is described in `medtl/installation`.
"""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import qt
import slicer.packaging
from slicer.i18n import tr as _

from medtl.installation.job import Job
from medtl.progress import json_line
from medtl.typed_json import encode

from .programs import engine_environment, find_launcher, new_folder

log = logging.getLogger(__name__)


class Installation:
    """One run of the process. While it runs, Slicer's own installations are refused, as this one is while they run.

    `on_progress(text, fraction)` tells what is done, fraction None where it is not known; `on_end(kind, what, reason)`
    is called once, from the event loop: kind is "" when all is installed, else that of the `Problem`, "missing" or
    "died".
    """

    def __init__(
        self,
        job: Job,
        on_progress: Callable[[str, float | None], None],
        on_end: Callable[[str, str, str], None],
        command: Sequence[str] | None = None,
    ) -> None:
        self._on_progress, self._on_end = on_progress, on_end
        self._unread, self._last_line = b"", ""
        self._answer: tuple[str, str, str] | None = None
        self._folder = new_folder()
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(engine_environment())
        self._process.connect("readyReadStandardOutput()", self._read)
        self._process.connect("readyReadStandardError()", self._read_stderr)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: self._finished(code))
        launcher = find_launcher()
        given = command or ([str(launcher)] if launcher else [])
        slicer.packaging._pip_install_in_progress = True  # the only way to tell Slicer
        if given:
            self._process.start(given[0], [*given[1:], "-u", "-P", "-m", "medtl.installation"])
            self._process.write(json_line(encode(replace(job, folder=str(self._folder)))).encode("ascii"))
        else:
            qt.QTimer.singleShot(0, lambda: self._end("missing", "", _("PythonSlicer was not found")))

    def cancel(self) -> None:
        """Stop; what is being written is written to its end, so that no package is left in halves."""
        self._process.closeWriteChannel()

    def _failed(self, error: Any) -> None:
        if error == qt.QProcess.FailedToStart:  # any other one is followed by "finished"
            self._end("missing", "", self._process.errorString())

    def _finished(self, code: int) -> None:
        self._read()
        self._read_stderr()
        self._end(*(self._answer or ("died", "", self._last_line or f"exit status {code}")))

    def _end(self, kind: str, what: str, reason: str) -> None:
        slicer.packaging._pip_install_in_progress = False
        shutil.rmtree(self._folder, ignore_errors=True)
        self._process.deleteLater()
        self._on_end(kind, what, reason)

    def _read_stderr(self) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace").strip()
        if text:
            self._last_line = text.splitlines()[-1]
            log.warning("installer: %s", text)

    def _read(self) -> None:
        self._unread += bytes(self._process.readAllStandardOutput().data())
        *lines, self._unread = self._unread.split(b"\n")
        for record in map(json.loads, lines):
            match record:
                case {"log": line}:
                    log.info("pip: %s", line)
                case {"stage": stage, "what": what, "fraction": fraction}:
                    self._on_progress(progress_text(stage, what), fraction)
                case {"problem": kind, "what": what, "reason": reason}:
                    self._answer = (kind, what, reason)


def progress_text(stage: str, what: str) -> str:
    """The sentence for a stage of the installation."""
    texts = {
        "unpack": _("Checking and unpacking {what}…"),
        "look": _("Looking for {what}…"),
        "download": _("Downloading {what}…"),
        "try": _("Trying {what}…"),
        "remove": _("Removing {what}… Cancel waits for its end."),
        "write": _("Writing {what}… Cancel waits for its end."),
    }
    return str(texts[stage].format(what=what))
