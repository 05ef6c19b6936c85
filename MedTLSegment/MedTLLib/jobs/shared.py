"""The engine that both modules share, so that imports and weights load once and jobs wait for each other."""

import weakref
from collections.abc import Callable

from ..packages import packages
from ..packages.packages import Packages
from .run import Engine
from .worker import Worker


class SharedEngine:
    """One warm engine: made for the first user, stopped after the last one.

    Users are the logic objects of the modules; garbage-collected ones do not count. `make` makes the engine, which
    needs these `packages`.
    """

    def __init__(self, make: Callable[[], Engine], packages: Packages) -> None:
        self.packages = packages
        self._make = make
        self._engine: Engine | None = None
        self._users: weakref.WeakSet[object] = weakref.WeakSet()

    def take(self, user: object) -> Engine:
        """The engine; it starts its process with its first job."""
        if self._engine is None:
            self._engine = self._make()
        self._users.add(user)
        return self._engine

    def give_back(self, user: object) -> None:
        """The user is done; after the last one the process is stopped. Further calls change nothing."""
        if user in self._users:
            self._users.discard(user)
            if not self._users and self._engine is not None:
                self._engine.stop()
                self._engine = None

    def replace(self, make: Callable[[], Engine], packages: Packages) -> tuple[Callable[[], Engine], Packages]:
        """Make the next engine in this way, with these packages; what was used until now is returned."""
        before = self._make, self.packages
        self._make, self.packages, self._engine = make, packages, None
        return before


shared_engine = SharedEngine(Worker, packages)
