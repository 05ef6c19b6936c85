"""What the user is asked before packages are installed: which, from where, how large, how long it takes."""

from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from slicer.i18n import tr as _

from medtl.counted import counted
from medtl.requirements import system_of

from .needed import broken, names_of, own_changes, parts_of
from .offline import check_pack
from .programs import find_program

# Megabytes to download and on disk, minutes at 50 Mbit/s: PyTorch with CUDA, without it, and all the rest.
TORCH_CUDA, TORCH_CPU, REST = (3000, 6000, 15), (300, 1000, 3), (25, 80, 1)


def plan(needed: Sequence[Requirement], pack: Path | None = None) -> str:
    """The question for the user: what would be installed, from where, its size and how long it takes.

    `pack` (`medtl.pack`) is installed from instead of the network.

    Raises: InputError when the pack does not have it, or cannot be used here.
    """
    if pack:
        check_pack(pack, needed)
    torch, rest = parts_of(needed)
    lines = [_("MedTL computes in its own process. It needs these packages in Slicer's Python:")]
    halves = broken()
    line = _("– {names}, {source}")
    folder = _("from {folder}").format(folder=pack)
    if torch:
        source = folder if pack else _("from download.pytorch.org, in the build for this computer")
        lines.append(line.format(names=names_of(torch), source=source))
    if rest:
        source = folder if pack else _("from pypi.org")
        lines.append(line.format(names=names_of(rest), source=source))
    if halves:
        found = "; ".join(f"{name}: {why}" for name, why in halves.items())
        lines.append(_("Repair removes what is broken and installs it again. {found}").format(found=found))
    download, disk, minutes = (sum(numbers) for numbers in zip(*costs(needed), strict=True))
    if pack:
        text = _("About {disk} on disk; nothing is downloaded.")
    else:
        text = _("About {download} to download, {disk} on disk and {minutes} at 50 Mbit/s.")
    time = counted(minutes, _("1 minute"), _("{count} minutes"))
    lines.append(text.format(download=size_text(download), disk=size_text(disk), minutes=time))
    own = own_changes(needed) or _("Slicer's own packages stay as they are.")
    lines.append(_("Slicer can be used meanwhile.") + f" {own} " + _("No image leaves this computer."))
    if reason := system_of().reason:
        lines.append(_("Versions for {system}: {reason}").format(system=system_of().name, reason=reason))
    return "\n".join(lines)


def torch_cost() -> tuple[int, int, int]:
    return TORCH_CUDA if find_program("nvidia-smi") else TORCH_CPU  # as the PyTorch extension decides


def costs(needed: Sequence[Requirement]) -> list[tuple[int, int, int]]:
    torch, rest = parts_of(needed)
    return [*([torch_cost()] if torch else ()), *([REST] if rest else ())]


def size_text(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
