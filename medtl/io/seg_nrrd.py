"""Slicer's segmentation file, `.seg.nrrd`: the header entries that describe segments.

Source: Slicer, Libs/MRML/Core/vtkMRMLSegmentationStorageNode.cxx.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..counted import counted
from ..errors import InputError
from ..volume import Geometry, Labelmap, Segment

SEGMENT_ID = re.compile(r"Segment(0|[1-9]\d{0,8})_ID", re.ASCII)


def segments_of(metadata: dict[str, str], layers: int, path: Path) -> list[tuple[Segment, int]]:
    """The segments that a header names, in the order of their numbers, each with the index of its layer.

    Raises: InputError when an entry is not the number that it should be, or there are fewer layers.
    """
    segments: list[tuple[Segment, int]] = []
    for number in sorted(int(found[1]) for found in map(SEGMENT_ID.fullmatch, metadata) if found):
        key = f"Segment{number}_"
        try:
            segment = _segment(metadata, key)
            layer = int(metadata.get(key + "Layer", len(segments) if layers > 1 else 0))
        except ValueError as error:
            raise InputError(
                f"Expected numbers that can be in the {key} entries of the header, found another text in {path} "
                f"({error}). Save the segmentation again in Slicer."
            ) from error
        if not 0 <= layer < layers:
            raise InputError(
                f"Expected layers 0 to {layers - 1}, found segment {segment.name} on layer {layer} in {path}. "
                "Save the segmentation again in Slicer."
            )
        segments.append((segment, layer))
    return segments


def _segment(metadata: dict[str, str], key: str) -> Segment:
    pairs = (part.partition(":") for part in metadata.get(key + "Tags", "").split("|") if ":" in part)
    tags = {name: value for name, _, value in pairs}
    terminology = tags.pop("TerminologyEntry", "")
    if tags.get("Segmentation.Status") == "inprogress":  # the default that writing adds
        del tags["Segmentation.Status"]
    red, green, blue = (float(c) for c in metadata.get(key + "Color", "0.5 0.5 0.5").split())
    value = int(metadata.get(key + "LabelValue", 1))
    if not 1 <= value <= 65535:
        raise ValueError(f"a label value of {value}, which is not from 1 to 65535")
    return Segment(
        value=value,
        id=metadata[key + "ID"],
        name=metadata.get(key + "Name", metadata[key + "ID"]),
        colour=(red, green, blue),
        terminology=terminology,
        tags=tuple(tags.items()),
    )


def merge_layers(layers: np.ndarray, geometry: Geometry, segments: list[tuple[Segment, int]]) -> Labelmap:
    """One labelmap of the layers (L, Z, Y, X) of a segmentation; where segments overlap, the later one counts.

    `covered` of the result has the voxels that a segment loses; a warning has their number. Segments are numbered from
    1 in their order where several have the same value.
    """
    distinct = len({segment.value for segment, _ in segments}) == len(segments)
    numbered = [each if distinct else replace(each, value=n) for n, (each, _) in enumerate(segments, start=1)]
    labels = np.zeros(layers.shape[1:], dtype=np.uint16)
    named = np.zeros(layers.shape, dtype=bool)
    covered = [np.zeros((0, 2), np.int64)]
    sizes: dict[int, int] = {}
    for segment, (stored, layer) in zip(numbered, segments, strict=True):
        mask = layers[layer] == stored.value
        named[layer] |= mask
        voxels = np.flatnonzero(mask)
        earlier = labels.ravel()[voxels]
        covered.append(np.stack([earlier, voxels], axis=1)[earlier > 0])
        sizes[segment.value] = len(voxels)
        labels[mask] = segment.value
    lost = np.concatenate(covered)
    warnings = []
    if not distinct:
        values = ", ".join(f"{each.value} {each.name}" for each in numbered)
        warnings.append(f"Several segments have the same label value in the file; they are numbered {values}.")
    if len(lost):
        counts = {int(value): int(n) for value, n in zip(*np.unique(lost[:, 0], return_counts=True), strict=True)}
        names = [
            f"{each.name} {counts[each.value]} of {sizes[each.value]}" for each in numbered if counts.get(each.value)
        ]
        shared = counted(len(np.unique(lost[:, 1])), "1 voxel", "{count} voxels")
        warnings.append(
            f"Segments overlap in {shared}. Where a voxel has one label only, the later segment counts; voxels lost to "
            f"it: {', '.join(names)}."
        )
    if unnamed := int(np.count_nonzero(layers) - np.count_nonzero(named)):
        lone = counted(unnamed, "1 voxel that belongs", "{count} voxels that belong")
        warnings.append(f"Left out: {lone} to no segment that the header names.")
    return Labelmap(labels, geometry, tuple(numbered), tuple(warnings), lost)


def _reference_geometry(geometry: Geometry) -> str:
    """Slicer's own form of the grid, index to RAS mm and extent: without it Slicer saves an edited file cropped."""
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine
    extent = (bound for n in geometry.size for bound in (0, n - 1))
    numbers = ";".join([*(repr(float(v)) for v in to_ras.ravel()), *(str(n) for n in extent)])
    return f"Reference image geometry|{numbers};|Grid of the segmented volume.&"


def split_layers(labelmap: Labelmap) -> tuple[np.ndarray, dict[int, int]]:
    """The layers (L, Z, Y, X) of a labelmap, and the layer of each label value that is not on the first: each segment
    that others cover in part has one of its own, so that nothing of it is lost."""
    below = {int(value): number for number, value in enumerate(np.unique(labelmap.covered[:, 0]), start=1)}
    first = np.where(np.isin(labelmap.array, list(below)), 0, labelmap.array) if below else labelmap.array
    others = [np.where(labelmap.mask(value), value, 0).astype(first.dtype) for value in below]
    return np.stack([first, *others]), below


def segment_keys(labelmap: Labelmap, layers: Mapping[int, int] = {}) -> dict[str, str]:
    """The header entries that make a NRRD file a segmentation for Slicer; `layers` has the layer of label values that
    are not on the first.

    Slicer cuts a layer to the extent of its first segment, so each has the whole grid.
    """
    keys = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segmentation_ConversionParameters": _reference_geometry(labelmap.geometry),
    }
    extent = " ".join(f"0 {n - 1}" for n in labelmap.geometry.size)
    for number, segment in enumerate(labelmap.segments):
        tags = {"Segmentation.Status": "inprogress", "TerminologyEntry": segment.terminology, **dict(segment.tags)}
        entries = {
            "ID": segment.id,
            "Name": segment.name,
            "Color": " ".join(f"{c:.6g}" for c in segment.colour),
            "NameAutoGenerated": "0",
            "ColorAutoGenerated": "0",
            "Extent": extent,
            "LabelValue": str(segment.value),
            "Layer": str(layers.get(segment.value, 0)),
            "Tags": "".join(f"{k}:{v.replace('|', '/')}|" for k, v in tags.items() if v),
        }
        keys |= {f"Segment{number}_{key}": re.sub(r"\s+", " ", value) for key, value in entries.items()}
    return keys
