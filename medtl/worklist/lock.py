"""Who works on a list: one process at a time, named in the list itself."""

import getpass
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime

from ..io.into_place import is_running, machine_tag


@dataclass(frozen=True)
class Holder:
    """The process that has a list open: its user, the computer's name and tag, its number, and since when (ISO 8601,
    UTC)."""

    user: str
    computer: str
    machine: str
    process: int
    since: str

    @property
    def may_live(self) -> bool:
        """False where the process was on this computer and has ended. Nobody can know it of another computer."""
        return self.machine != machine_tag() or is_running(self.process)

    @property
    def is_this_process(self) -> bool:
        """True for this very process."""
        return (self.machine, self.process) == (machine_tag(), os.getpid())

    @property
    def text(self) -> str:
        """Who, which computer, since when."""
        return f"{self.user} on {self.computer} since {self.since.replace('T', ' ').removesuffix('Z')} UTC"


def this_process() -> Holder:
    """This process, from now on."""
    return Holder(user_name(), platform.node() or "this computer", machine_tag(), os.getpid(), now())


def user_name() -> str:
    """The name with which the user logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without such a user
        return "unknown"


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
