"""The records of tunings in a card's entry `training`, and how they are made anonymous."""

from collections.abc import Mapping, Sequence
from typing import Any


def anonymise_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """A card's entry `training` with the cases of each tuning numbered: "case 1" instead of a file name, and no hash of
    an image's voxels. Slices, labels and counts stay, and so do cases that are numbered already."""
    records = [_anonymous_record(record) for record in records_of(training)]
    return {**training, **({"tuned": records} if records else {})}


def anonymise_readme(text: str, training: Mapping[str, Any]) -> str:
    """The card for people of a tuned model with its cases numbered as `anonymise_training` numbers them."""
    lines = text.replace("\r\n", "\n").split("\n")  # Windows writes both
    for record in records_of(training):
        start = 0
        for seed, numbered in zip(_seeds(record), _seeds(_anonymous_record(record)), strict=True):
            line = f"- {seed.get('case')}, slice {seed.get('slice')}"
            if line in lines[start:]:
                start = lines.index(line, start)
                lines[start] = f"- {numbered['case']}, slice {seed.get('slice')}"
                start += 1
    return "\n".join(lines)


def _anonymous_record(record: Any) -> Any:
    """The record of a tuning without names and hashes of images."""
    if not _seeds(record):
        return record
    cases: dict[tuple[str, str], str] = {}
    seeds = []
    for seed in _seeds(record):
        image = (str(seed.get("case")), str(seed.get("image_sha256")))
        number = cases.setdefault(image, f"case {len(cases) + 1}")
        seeds.append({"case": number, **{key: seed[key] for key in ("slice", "labels") if key in seed}})
    return {**record, "seeds": seeds}


def records_of(training: Mapping[str, Any]) -> Sequence[Any]:
    """The records of the tunings in an entry `training`; empty where the entry has another form."""
    records = training.get("tuned")
    return records if isinstance(records, list | tuple) else ()


def _seeds(record: Any) -> Sequence[Mapping[str, Any]]:
    """The SEEDs of the record of a tuning."""
    seeds = record.get("seeds") if isinstance(record, Mapping) else None
    return [seed for seed in seeds if isinstance(seed, Mapping)] if isinstance(seeds, list | tuple) else []
