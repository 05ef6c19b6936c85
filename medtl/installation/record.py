"""Which packages MedTL installed: a file beside them, name to version. What was there before is not in it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

RECORD = "medtl-installed.json"


def read_record(site: Path) -> dict[str, str]:
    """Name and version of what MedTL installed into this folder; {} where the file is missing or damaged."""
    try:
        record = json.loads((site / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(version) for name, version in record.items()} if isinstance(record, dict) else {}


def write_record(site: Path, record: Mapping[str, str]) -> None:
    """Write the record, whole or not at all; without packages there is no file. Raises: OSError."""
    if not record:
        (site / RECORD).unlink(missing_ok=True)
    elif record != read_record(site):
        part = site / f"{RECORD}.part"
        part.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
        part.replace(site / RECORD)


@contextmanager
def recorded(site: Path, new: Mapping[str, str]) -> Iterator[None]:
    """Record these packages before the work inside writes them, so that one that is interrupted is known, too. Where
    it fails, the record is as before."""
    before = read_record(site)
    write_record(site, {**before, **new})
    try:
        yield
    except BaseException:
        with suppress(OSError):
            write_record(site, before)
        raise
