import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medtl.errors import InputError
from medtl.io.read import read_labelmap, read_volume
from medtl.phantom import head, write

SMALL = {"size": (56, 56, 12), "spacing": (4.0, 4.0, 10.0)}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_lesion_is_brighter_than_the_brain_and_lies_in_one_hemisphere(seed):
    made = head(seed, **SMALL, direction=AXIAL)
    healthy = head(seed, **SMALL, direction=AXIAL, lesion=False)
    inside = made.labelmap.array > 0
    brightness = np.median(made.volume.array[inside]) / np.median(healthy.volume.array[inside])
    assert 1.3 < brightness < 1.8
    columns = np.flatnonzero(inside.any((0, 1)))
    assert columns.max() < 27 or columns.min() > 28


@pytest.mark.parametrize("seed", range(6))
def test_the_lesion_has_the_size_of_a_tumour(seed):
    assert 10.0 < head(seed, **SMALL).lesion_ml < 60.0


def test_the_lesion_volume_is_that_of_its_voxels():
    made = head(0, **SMALL)
    assert made.lesion_ml == pytest.approx(np.count_nonzero(made.labelmap.array) * 4 * 4 * 10 / 1000)


def test_a_head_without_lesion_is_the_same_head_away_from_it():
    with_one, without = head(5, **SMALL), head(5, **SMALL, lesion=False)
    assert not without.labelmap.array.any()
    assert without.lesion_ml == 0.0
    same = with_one.volume.array == without.volume.array
    assert same.mean() > 0.95
    assert not same[with_one.labelmap.array > 0].all()


def test_one_seed_gives_one_head_and_another_seed_another():
    first, again, other = head(3, **SMALL), head(3, **SMALL), head(4, **SMALL)
    np.testing.assert_array_equal(first.volume.array, again.volume.array)
    np.testing.assert_array_equal(first.labelmap.array, again.labelmap.array)
    assert (first.labelmap.array != other.labelmap.array).any()


def test_the_same_head_is_seen_on_a_flipped_grid():
    plain = head(1, **SMALL, direction=AXIAL)
    flipped = head(1, **SMALL, direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    np.testing.assert_array_equal(plain.labelmap.array, flipped.labelmap.array[:, :, ::-1])


def test_the_lesion_stays_where_it_is_in_mm_whatever_the_grid():
    centres = []
    for direction in (AXIAL, head(1, **SMALL).volume.geometry.direction):
        made = head(1, size=(64, 64, 40), spacing=(3.5, 3.5, 4.0), direction=direction)
        index = np.argwhere(made.labelmap.array)[:, ::-1].mean(0)
        centres.append((made.labelmap.geometry.affine @ [*index, 1.0])[:3])
    np.testing.assert_allclose(centres[0], centres[1], atol=0.5)


def test_the_default_grid_is_an_oblique_head_of_16_bit():
    made = head()
    assert made.volume.array.dtype == np.int16
    assert made.volume.array.shape == made.labelmap.array.shape == (24, 224, 224)
    assert made.volume.geometry == made.labelmap.geometry
    axes = made.volume.geometry.axes
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert abs(axes).max() < 0.9999
    assert made.volume.array[:, :8, :8].mean() < 0.1 * np.median(made.volume.array[made.labelmap.array > 0])


def test_written_heads_are_read_back_with_their_case_list(tmp_path):
    cases = write(tmp_path / "new" / "folder", count=2, seed=7)
    with cases.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == ["phantom-7", "phantom-8"]
    made = head(8)
    volume = read_volume(cases.parent / rows[1]["image"])
    labels = read_labelmap(cases.parent / rows[1]["label"])
    np.testing.assert_array_equal(volume.array, made.volume.array)
    np.testing.assert_array_equal(labels.array, made.labelmap.array)
    assert labels.geometry.close_to(made.labelmap.geometry, 1e-6)


def test_heads_can_be_written_again_but_another_case_list_stays(tmp_path):
    first = write(tmp_path).read_bytes()
    assert write(tmp_path).read_bytes() == first
    (tmp_path / "cases.csv").write_text("image,label\nmine.nrrd,mine-label.nrrd\n")
    with pytest.raises(InputError, match=r"cases\.csv exists already"):
        write(tmp_path)
    assert "mine.nrrd" in (tmp_path / "cases.csv").read_text()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        write(tmp_path / "file" / "heads")


def test_making_a_head_needs_no_torch():
    code = (
        "import sys, medtl.phantom; medtl.phantom.head(0, (8, 8, 4), (20., 20., 30.)); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_an_image_of_the_users_is_not_replaced(tmp_path):
    (tmp_path / "phantom-0_label.nrrd").write_text("mine")
    with pytest.raises(InputError, match=r"phantom-0_label\.nrrd exists already"):
        write(tmp_path)
    assert (tmp_path / "phantom-0_label.nrrd").read_text() == "mine"
