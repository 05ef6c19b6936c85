"""Which segment belongs to which label of a model: the only place of this rule, and the ids and tags that it uses.

A segment that MedTL writes has the id `<family>.<label id>` and the tags `MedTL.model` (the family: the name of the
first model of the line) and `MedTL.label`. Other programs change label values and the order of segments, and users
change names. So the segment of a label is found by its tags, else by its id, else by its name. Label values count only
where no segment matches any label in these ways.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .counted import counted
from .errors import InputError
from .model.card import Label, ModelCard
from .volume import Labelmap, Segment, label_boxes

MODEL_TAG = "MedTL.model"
LABEL_TAG = "MedTL.label"
ALGORITHM_TAG = "DICOM.SegmentAlgorithmName"  # name and version of the model
TYPE_TAG = "DICOM.SegmentAlgorithmType"  # one of the three that follow
AUTOMATIC, SEMIAUTOMATIC, MANUAL = "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"
SHA256_TAG = "MedTL.sha256"  # of the model's weights
SEEDS_TAG = "MedTL.seeds"  # SEED marks, as JSON
REJECTED_TAG = "MedTL.rejected"  # lesions that were rejected, as JSON
SPLIT_TAG = "MedTL.split"  # what segment a lesion was split off, as JSON
PROTECTED_TAG = "MedTL.locked"  # set, and not "0": no prediction changes the segment
TUMOUR_WORDS = ("tumour", "tumor", "lesion")
LESION_WORDS = (*TUMOUR_WORDS, "cyst", "metasta", "nodule")

Match = Callable[[Segment, Label, ModelCard], bool]


def id_of(card: ModelCard, label: str) -> str:
    """The id of the segment of a label (its id) of the model."""
    return f"{card.family}.{label}"


def family_of(segment: Segment) -> str:
    """The family of the model that wrote the segment: its tag, else the part of its id before the last dot."""
    return dict(segment.tags).get(MODEL_TAG) or segment.id.rpartition(".")[0]


def is_own(segment: Segment, family: str) -> bool:
    """True for a segment that a model of this family wrote and may replace: it has an id and the tag of the family. A
    copy has another id, a segment of the user's has no tag."""
    return segment.id.startswith(f"{family}.") and dict(segment.tags).get(MODEL_TAG) == family


def _by_tags(segment: Segment, label: Label, card: ModelCard) -> bool:
    tags = dict(segment.tags)
    return tags.get(LABEL_TAG) == label.id and tags.get(MODEL_TAG, card.family) == card.family


def _by_id(segment: Segment, label: Label, card: ModelCard) -> bool:
    return segment.id == id_of(card, label.id)


def _by_name(segment: Segment, label: Label, card: ModelCard) -> bool:
    return segment.name.strip().casefold() in (label.name.casefold(), label.id.casefold())


MATCHES: tuple[Match, ...] = (_by_tags, _by_id, _by_name)


def candidates(segments: Sequence[Segment], card: ModelCard) -> dict[str, tuple[Segment, ...]]:
    """The segments that may belong to each label, by label id: those that match by tags, else by id, else by name. The
    segment with the label's own id comes first. Labels without a segment are absent; no segment is in two groups."""
    groups: dict[str, tuple[Segment, ...]] = {}
    for matches in MATCHES:
        for label in card.labels:
            taken = [segment for group in groups.values() for segment in group]
            group = [segment for segment in segments if segment not in taken and matches(segment, label, card)]
            if group and label.id not in groups:
                own = [segment for segment in group if _by_id(segment, label, card)]
                groups[label.id] = tuple(dict.fromkeys((*own, *group)))
    return groups


def label_segments(segments: Sequence[Segment], card: ModelCard) -> dict[str, Segment]:
    """The segment of each of the model's labels, by label id; labels without one are absent.

    Raises: InputError when two segments may be the same label's and neither has its id.
    """
    groups = candidates(segments, card)
    for label in card.labels:
        group = groups.get(label.id, ())
        if len(group) > 1 and (_by_id(group[0], label, card) == _by_id(group[1], label, card)):
            raise InputError(
                f"Expected one segment for the label {label.name} of {card.name}, found {len(group)}: "
                f"{describe_segments(group)}. Rename or remove all but one."
            )
    return {label_id: group[0] for label_id, group in groups.items()}


def label_values(labelmap: Labelmap, card: ModelCard) -> dict[str, int]:
    """The value in the labelmap of each of the model's labels, by label id: that of its segment, or the model's own
    value where no segment belongs to any label. Labels whose segment is missing are absent.

    Raises: InputError when two segments may be the same label's.
    """
    by_label = label_segments(labelmap.segments, card)
    if not by_label:
        return {label.id: label.value for label in card.labels}
    return {label_id: segment.value for label_id, segment in by_label.items()}


def label_numbers(labelmap: Labelmap, card: ModelCard) -> np.ndarray:
    """The number of each voxel's label among the model's, from 1, uint16 (Z, Y, X); 0 for none of them.

    Raises: InputError when a label has no segment, two segments may be the same label's, or two labels overlap.
    """
    values = label_values(labelmap, card)
    if missing := [label.name for label in card.labels if label.id not in values]:
        raise InputError(
            f"Expected a segment for each label of {card.name}, found none for {', '.join(missing)}: it was removed "
            "since the prediction. Segment again, or add it back."
        )
    numbers = np.zeros(labelmap.array.shape, np.uint16)
    for number, label in enumerate(card.labels, start=1):
        mask = labelmap.mask(values[label.id])
        if shared := int(np.count_nonzero(numbers[mask])):
            voxels = counted(shared, "1 voxel", "{count} voxels")
            raise InputError(
                f"Expected labels that do not overlap, found {voxels} of {label.name} in another label, too. "
                "Take the shared voxels out of one."
            )
        numbers[mask] = number
    return numbers


def unknown_values(labelmap: Labelmap, values: Mapping[str, int]) -> tuple[int, ...]:
    """The values in the labelmap that belong to none of these labels, in order."""
    return tuple(value for value in label_boxes(labelmap.array) if value not in values.values())


def named_segment(labelmap: Labelmap, text: str) -> Segment | None:
    """The segment that a text names: by its id, else its name, else its label value; None where there is none.

    A labelmap without segments has one for each value.

    Raises: InputError when it names several.
    """
    ways: tuple[Callable[[Segment], bool], ...] = (
        lambda segment: segment.id == text,
        lambda segment: segment.name == text,
        lambda segment: text.strip().casefold() in (segment.name.strip().casefold(), dict(segment.tags).get(LABEL_TAG)),
        lambda segment: str(segment.value) == text.strip(),
    )
    segments = all_segments(labelmap)
    for way in ways:
        if named := [segment for segment in segments if way(segment)]:
            return _only(named, f"called {text!r}")
    return None


def tumour_segment(segments: Sequence[Segment]) -> Segment | None:
    """The segment of the tumour: one that MedTL wrote as a tumour, else one with such a name; None where there is none.

    Raises: InputError when there are several.
    """
    groups = tumour_segments(segments)
    return _only(groups, "of a tumour") if groups else None


def tumour_segments(segments: Sequence[Segment]) -> list[Segment]:
    """The segments that MedTL wrote as a tumour, else those with just that name, else those with it in their name."""
    written = [
        segment
        for segment in segments
        if MODEL_TAG in dict(segment.tags) and dict(segment.tags).get(LABEL_TAG) in TUMOUR_WORDS
    ]
    exact = [segment for segment in segments if segment.name.strip().casefold() in TUMOUR_WORDS]
    return (
        written
        or exact
        or [segment for segment in segments if any(word in segment.name.casefold() for word in TUMOUR_WORDS)]
    )


def has_lesions(segment_id: str, name: str) -> bool:
    """True for a segment whose parts are lesions, each to be counted and measured, by its label's id or its name; not
    for an organ, which counts as a whole."""
    text = f"{segment_id.rpartition('.')[2]} {name}".casefold()
    return any(word in text for word in LESION_WORDS)


def is_by_hand(algorithm_type: str) -> bool:
    """True where the tag `TYPE_TAG` of a segment says that all or part of it was drawn or edited by hand. AUTOMATIC
    tells nothing: programs leave it as it is when the user edits the segment."""
    return algorithm_type.strip().upper() in (SEMIAUTOMATIC, MANUAL)


def all_segments(labelmap: Labelmap) -> tuple[Segment, ...]:
    """The segments of a labelmap, and one for each of its values that no segment has."""
    named = {segment.value for segment in labelmap.segments}
    values = [value for value in label_boxes(labelmap.array) if value not in named]
    return (*labelmap.segments, *(Segment(value, str(value), str(value)) for value in values))


def describe_segments(segments: Sequence[Segment]) -> str:
    """Names and ids of segments, for a message."""
    return ", ".join(
        f"{segment.name} ({segment.id})" if segment.name != segment.id else segment.name for segment in segments
    )


def _only(segments: Sequence[Segment], what: str) -> Segment:
    if len(segments) > 1:
        alike = len({segment.id for segment in segments}) < len(segments)
        found = (
            ", ".join(f"{one.name} (value {one.value})" for one in segments) if alike else describe_segments(segments)
        )
        raise InputError(
            f"Expected one segment {what}, found {len(segments)}: {found}. Choose one by its "
            f"{'label value' if alike else 'id'}, or keep only that one.",
            option="segment",
        )
    return segments[0]
