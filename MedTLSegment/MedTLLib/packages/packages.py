"""What the panels use of the engine's packages, and what tests put in its place."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from packaging.requirements import Requirement

from medtl.errors import MedTLError
from medtl.installation.installed import Package as Package

from .consent import plan as plan
from .installing import install as install
from .installing import try_imports as try_imports
from .needed import broken as broken
from .needed import missing as missing
from .needed import own_changes as own_changes
from .needed import required as required
from .removal import removable as removable
from .removal import remove as remove


class Cancellable(Protocol):
    """An installation, or a removal, that runs."""

    def cancel(self) -> None:
        """Stop it; `on_error` gets Cancelled."""
        ...


class Packages(Protocol):
    """The packages that the engine needs; this module is the real one."""

    def missing(self) -> tuple[Requirement, ...]:
        """What is not installed or too old; () when the engine can run."""
        ...

    def plan(self, needed: Sequence[Requirement], pack: Path | None = None) -> str:
        """What the user is asked before it is installed, from a pack where one is given.

        Raises: InputError when the pack does not have it.
        """
        ...

    def own_changes(self, needed: Sequence[Requirement]) -> str:
        """What the user is asked where packages change that Slicer itself uses; empty where none does."""
        ...

    def broken(self) -> dict[str, str]:
        """What is wrong with each package that is installed by halves, or cannot be imported."""
        ...

    def removable(self) -> tuple[Package, ...]:
        """What MedTL installed and nothing else needs."""
        ...

    def remove(
        self,
        names: Sequence[str],
        on_progress: Callable[[str, float | None], None],
        on_done: Callable[[], None],
        on_error: Callable[[MedTLError], None],
        stop_worker: Callable[[], None],
    ) -> Cancellable:
        """Start to remove packages; at the end comes `on_done` or `on_error`, the latter with Cancelled after a cancel,
        when some packages are gone."""
        ...

    def try_imports(self, on_end: Callable[[], None]) -> None:
        """Import the packages in a process of its own; afterwards `broken` names the one that cannot be imported."""
        ...

    def install(
        self,
        on_progress: Callable[[str, float | None], None],
        on_done: Callable[[tuple[str, ...]], None],
        on_error: Callable[[MedTLError], None],
        stop_worker: Callable[[], None],
        pack: Path | None = None,
    ) -> Cancellable | None:
        """Start to install what is missing, from a pack where one is given; at the end comes `on_done`, with the
        packages that changed while they were loaded, or `on_error`."""
        ...
