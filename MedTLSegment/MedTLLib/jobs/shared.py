"""The engine that both modules share, so that imports and weights are paid for once and jobs wait for each other."""

import weakref
from collections.abc import Callable

from .run import Engine
from .worker import Worker


class SharedEngine:
    """One warm engine: made for the first user, stopped after the last one.

    Users are the logic classes of the modules; one that is garbage counts no more. `make` makes the engine.
    """

    def __init__(self, make: Callable[[], Engine]) -> None:
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

    def make_with(self, make: Callable[[], Engine]) -> Callable[[], Engine]:
        """Make the next engine in this way; what made it until now is returned."""
        before, self._make, self._engine = self._make, make, None
        return before


shared_engine = SharedEngine(Worker)
