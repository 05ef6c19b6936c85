"""The process that installs packages: `python -u -P -m medtl.installation`. Nothing is imported into Slicer.

In:  one line, a `Job` as JSON. The end of the input cancels.
Out: one ASCII JSON object a line: {"stage", "what", "fraction"}, fraction null where it is not known; lines of pip are
     {"log"}. At last {"problem", "what", "reason"}; the problem is "" when all is installed.

All files of a group are fetched before one is written. So a cancel leaves everything as it was, except while files are
written: then it waits for their end. A removal that is cancelled ends after the package that is being removed.
"""

import json
import os
import sys
import threading
import zipfile
from contextlib import suppress
from typing import Any

from ..typed_json import decode
from .install import install
from .job import Job
from .pip import Pip, Problem, kind_of


def say(**record: Any) -> None:
    """Write one line. That nobody reads any more is no reason to stop while files are written."""
    with suppress(OSError):
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Do the job that standard input names."""
    job, pip = decode(Job, json.loads(sys.stdin.buffer.readline()), "job"), Pip(say)

    def wait_for_the_end() -> None:
        while os.read(0, 1000):  # sys.stdin has a lock that would be held when the process ends
            pass
        pip.cancel()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    try:
        install(job, pip)
        say(problem="", what="", reason="")
    except Problem as problem:
        say(problem=problem.kind, what=problem.what, reason=problem.reason)
    except (
        OSError,
        ValueError,
        KeyError,
        zipfile.BadZipFile,
    ) as error:
        # A full disk, or files that pip does not write.
        say(problem=kind_of(str(error)), what="", reason=str(error)[:300])


if __name__ == "__main__":
    main()
