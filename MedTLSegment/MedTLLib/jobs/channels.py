"""Which volume of the scene is which channel of a model: by the names of sequences, modality and grid. No Qt."""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.model.card import ModelCard
from medtl.model.series_name import has_words, is_channel, sequence_of

from ..mrml import scene
from ..mrml.views import LABEL_MAP
from .segment import problem_of

MODALITIES = {"": "", "CT": "CT", "PET": "PT"}  # of DICOM, by the sequence; others are MR
NUMBER = re.compile(r"_(\d{4})$")  # at the end of a name: that of the channel, as nnU-Net names files


def filled(card: ModelCard, chosen: Sequence[Any], swap: bool = True) -> list[Any]:
    """A volume for each channel of the model: those that are `chosen`, and in place of None the one whose name is that
    of the channel; None where none or several are as likely.

    The first channel has a volume. With `swap`, another one takes its place where it is of another, empty channel.
    Volumes are taken from the same study, or the same folder of the subject hierarchy, as the first.
    """
    names, first, found = card.input.channels, chosen[0], list(chosen)
    if problem_of(first):
        return found
    if swap and not _fits(names, 0, first):
        empty = (number for number, volume in enumerate(chosen) if volume is None)
        found[0] = None if any(_fits(names, number, first) for number in empty) else first
    there = [first, *(each for each in _beside(first) if each is not first and why_unlike(card, each) == "")]
    for number, name in enumerate(names):
        if found[number] is None:
            left = [each for each in there if each not in found and _fits(names, number, each)]
            found[number] = _likeliest(name, left, first)
    return filled(card, chosen, swap=False) if found[0] is None else found


def why_not(card: ModelCard, volumes: Sequence[Any]) -> str:
    """Why the model cannot run on these volumes, one a channel (None: not chosen); empty when it can. The first volume
    is checked as the input of every model is."""
    names = card.input.channels
    missing = [name for name, volume in zip(names, volumes, strict=True) if volume is None]
    if missing:
        return str(_("Choose the volume of each channel. Missing: {names}.").format(names=", ".join(missing)))
    for number, volume in enumerate(volumes):
        if volume in volumes[:number]:
            text = _("{volume} is chosen for {first} and for {second}. Choose a volume of its own for each channel.")
            first, second = names[volumes.index(volume)], names[number]
            return str(text.format(volume=volume.GetName(), first=first, second=second))
    for volume in volumes[1:]:
        try:
            scene.check_volume(volume)
            scene.geometry_of(volume)
        except InputError as error:
            return str(error)
    return ""


def remarks(card: ModelCard, volumes: Sequence[Any]) -> str:
    """What speaks against the chosen volumes, a line each; empty for nothing. The model can run nevertheless."""
    lines = []
    for number, (name, volume) in enumerate(zip(card.input.channels, volumes, strict=True)):
        if volume is None or problem_of(volume):
            continue
        found, wanted, modality = _sequence(volume), sequence_of(name), scene.facts_of(volume).modality
        if not _has_modality(name, volume):
            text = _("{channel}: {volume} is {found} by its header.")
            lines.append(text.format(channel=name, volume=volume.GetName(), found=modality))
        elif found and wanted not in ("", found):
            text = _("{channel}: {volume} is {found} by its name.")
            lines.append(text.format(channel=name, volume=volume.GetName(), found=found))
        if number and (reason := why_unlike(card, volume)):  # of the first, the list of models tells
            lines.append(f"{name}: {reason}")
    return "\n".join(lines)


def why_unlike(card: ModelCard, volume: Any) -> str:
    """Why the volume cannot be a channel of the model, or is unlike its training images; empty where it is not."""
    if problem := problem_of(volume):
        return problem
    return "; ".join(scene.mismatches_of(card, scene.facts_of(volume), scene.geometry_of(volume)))


def _beside(volume: Any) -> list[Any]:
    """The images of the scene under the same parent in the subject hierarchy: of the same study."""
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    parent = items.GetItemParent(items.GetItemByDataNode(volume))
    return [
        each
        for each in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if not each.IsA(LABEL_MAP)
        and not each.GetHideFromEditors()
        and items.GetItemParent(items.GetItemByDataNode(each)) == parent
    ]


def _names(volume: Any) -> tuple[str, ...]:
    """What the series is called: its description in DICOM where there is one, and the name of the node."""
    return tuple(filter(None, (scene.facts_of(volume).description, volume.GetName())))


def _sequence(volume: Any) -> str:
    return next(filter(None, map(sequence_of, _names(volume))), "")


def _has_modality(channel: str, volume: Any) -> bool:
    """Whether the volume may be of the channel's modality, where both are known."""
    modality, wanted = scene.facts_of(volume).modality, MODALITIES.get(sequence_of(channel), "MR")
    return "" in (modality, wanted) or modality == wanted


def _fits(names: Sequence[str], number: int, volume: Any) -> bool:
    """Whether the volume is of this channel by its name, and not of another modality."""
    if not _has_modality(names[number], volume):
        return False
    called = next((name for name in _names(volume) if sequence_of(name)), volume.GetName())
    if is_channel(names[number], called):
        return True
    numbered = NUMBER.search(volume.GetName())
    return not sequence_of(called) and numbered is not None and int(numbered[1]) == number


def _likeliest(channel: str, volumes: Sequence[Any], first: Any) -> Any:
    """The volume with all words of the channel's name, then that whose name begins most like the first one's; None
    where there is none, or two are alike."""

    def likeness(volume: Any) -> tuple[bool, int]:
        words = any(has_words(channel, name) for name in _names(volume))
        pairs = zip(volume.GetName(), first.GetName())
        return words, sum(1 for _pair in takewhile(lambda pair: pair[0] == pair[1], pairs))

    ranked = sorted(volumes, key=likeness, reverse=True)
    if len(ranked) > 1 and likeness(ranked[0]) == likeness(ranked[1]):
        return None
    return ranked[0] if ranked else None
