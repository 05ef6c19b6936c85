"""Broken copies of valid files: each is read or refused in one line, and nothing else comes out of a reader.

`Testing/benchmarks/fuzz_readers.py` does the same for hours, in processes that may crash.
"""

import tempfile
from pathlib import Path
from random import Random

import pytest
from mutations import Target, attempt, mutated, targets

COPIES = 150

with tempfile.TemporaryDirectory() as folder:
    TARGETS = list(targets(Path(folder)))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_valid_file_is_read(target: Target, tmp_path: Path) -> None:
    for name, data in target.files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert target.read(tmp_path / target.path) is not None


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_broken_copy_is_read_or_refused_in_one_line(target: Target, capfd: pytest.CaptureFixture[str]) -> None:
    answers = [attempt(target, seed) for seed in range(COPIES)]
    assert all(answer and "\n" not in answer and "Traceback" not in answer for answer in answers)
    assert any(answer != "read" for answer in answers)
    assert capfd.readouterr() == ("", "")


def test_a_seed_repeats_a_broken_copy() -> None:
    data = bytes(range(256)) * 9
    copies = [mutated(data, Random(seed)) for seed in (1, 1, 2)]
    assert copies[0] == copies[1] != copies[2]
    assert data not in copies
