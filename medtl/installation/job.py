"""What the process that installs packages is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Group:
    """Requirements that are installed together, by pip or by the `tool` in its place, a package that is fetched for it.

    `tested` are versions ("name==1.0") of those that are new. The packages `beside` ("name==1.0") are installed and
    have to fit. `index` is where pip looks in place of its own index.
    """

    requirements: tuple[str, ...]
    tool: str = ""
    tested: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    index: str = ""


@dataclass(frozen=True)
class Job:
    """The paths to `remove` are put back when the rest fails; the packages to `uninstall` go for good, by pip, in this
    order.

    The packages `kept` stay as they are. `pack` (`medtl.pack`) is installed from instead of the network. At the end the
    `imports`, name of a package to module, are tried. `longest` is how long a path may be. `folder` is a temporary
    folder.
    """

    remove: tuple[str, ...] = ()
    uninstall: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    kept: tuple[str, ...] = ()
    pack: str | None = None
    imports: Mapping[str, str] = field(default_factory=dict)
    longest: int | None = None
    folder: str = ""
