"""Why packages cannot be installed, each in one sentence with what to do: before it is started, and after it failed."""

import importlib.util
import shutil
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

import slicer
import slicer.packaging
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from medtl.errors import InputError

from .consent import costs, size_text
from .needed import parts_of
from .offline import check_pack


def check_free_to_change() -> None:
    """Raises: InputError when no package may be installed or removed now."""
    if slicer.app.testingEnabled():
        raise InputError(_("Nothing is installed while Slicer runs in testing mode. Start it without --testing."))
    if slicer.packaging.isPipInstallInProgress():
        raise InputError(_("Another installation of Python packages is running. Wait for its end and try again."))


def check(needed: Sequence[Requirement], pack: Path | None) -> None:
    """Raises: InputError when an installation cannot succeed, so the user is not asked for nothing."""
    check_free_to_change()
    folder = Path(sysconfig.get_paths()["purelib"])
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = _(
            "Packages are installed into {folder}, which cannot be written ({reason}). "
            "Install Slicer into a folder of your own, or ask whoever manages this computer to install them."
        )
        raise InputError(text.format(folder=folder, reason=error.strerror)) from error
    disk, free = sum(cost[1] for cost in costs(needed)), shutil.disk_usage(folder).free // 1_000_000
    if free < disk:
        text = _("Expected {disk} free in {folder}, found {free}. Make room and try again.")
        raise InputError(text.format(disk=size_text(disk), folder=folder, free=size_text(free)))
    if pack:
        check_pack(pack, needed)
    elif parts_of(needed)[0] and importlib.util.find_spec("PyTorchUtils") is None:
        raise InputError(
            _("The PyTorch extension is missing. Install it in the Extensions Manager, restart Slicer and try again.")
        )


def problem_text(kind: str, what: str, reason: str, removal: bool = False) -> str:
    """One sentence for a problem of the installation, or of the removal, with what to do."""
    if kind == "pack":  # its error says what to do
        return reason
    advice = {
        "network": _("The server cannot be reached. Check the network and its proxy and try again."),
        "proxy": _(
            "The proxy asks for a name and a password. Set the variable HTTPS_PROXY to "
            "http://NAME:PASSWORD@HOST:PORT, or ask whoever manages this network; then restart Slicer."
        ),
        "disk": _("The disk is full. Make room and try again."),
        "rights": _("Close other windows of Slicer, restart it and try again."),
        "busy": _("Another Slicer installs packages into the same folder. Wait for its end and try again."),
        "missing": _("Start Slicer by its launcher, or install Slicer again."),
        "paths": _(
            "Install Slicer into a folder with a short name, such as C:\\Slicer; or let an administrator set "
            "LongPathsEnabled to 1 in the registry, under HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control"
            "\\FileSystem, and restart the computer."
        ),
        "import": _("It is installed, but cannot be used: press Repair."),
    }.get(kind, _("The output of pip is in Slicer's log. Try again."))
    text = _("{what} could not be installed ({reason}). {advice}")
    if removal:
        text = _("{what} could not be removed ({reason}). {advice}")
    return str(text.format(what=what, reason=reason or kind, advice=advice))
