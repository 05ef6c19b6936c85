"""Segmenting with a network whose answer is known: every voxel, in the right place, whatever the grid."""

import math
import tracemalloc
import weakref
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage
from small_model import CUBES, LESION, PLAIN, WINDOW, Bands, bands, windowed
from strategies import geometries, rotation

from medtl import segmentation as module
from medtl.errors import Cancelled, DeviceError, InputError, ModelError
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image
from medtl.model.card import Calibration, Cleanup, InputSpec, Label, Normalisation
from medtl.postprocess import clean, fill_holes, keep_attached, keep_components
from medtl.segmentation import InferenceOptions, OutputOptions, ReadOptions, segment, segment_file, smoothed
from medtl.typed_json import encode
from medtl.volume import PLANES, Geometry, Volume
from medtl.windows.sliding import logit_planes

THREE = (Label(1, "a", "A"), Label(2, "b", "B"), Label(3, "c", "C"))
STAGES = ("read", "prepare", "infer", "clean", "write")
TISSUE_LIKE = InputSpec(spacing=1.0, scaling="window", window=(0.0, 200.0))


def noise(geometry: Geometry, seed: int = 0, **kwargs: object) -> Volume:
    """Voxels of 0 to 200, none near 75, which is where the two bands of the usual model meet."""
    array = np.random.default_rng(seed).choice([0, 20, 50, 100, 150, 200], geometry.shape).astype(np.int16)
    return Volume(array, geometry, **kwargs)


def blob(
    size: tuple[int, int, int], spacing: tuple[float, float, float], radius: float = 8.0, off_mm: float = 0.0
) -> Volume:
    """A bright smooth ball in the middle of the slices, or off it by that much in rows and columns."""
    x, y, z = (mm * (np.arange(n) - (n - 1) / 2) for n, mm in zip(size, spacing))
    distance = np.sqrt(z[:, None, None] ** 2 + (y[:, None] - off_mm) ** 2 + (x - off_mm) ** 2)
    return Volume(np.clip(100 + 20 * (radius - distance), 0, 200).astype(np.int16), Geometry(size, spacing))


def bright(volume: Volume) -> np.ndarray:
    """The twin of the usual model: nearer to 0.5 (150) than to -1 (0)."""
    return volume.array > 75


def slowly_labelled(volume: Volume, plane: str, shift: tuple[int, int]) -> np.ndarray:
    """The twin of the usual model that looks `shift` pixels (rows, columns of the plane) onwards, in world space: for
    each voxel the voxel is found whose centre lies there in mm, around the volume's end where it must."""
    geometry = volume.geometry
    # LPS directions of slices, rows and columns; the index axes that follow them best, all three together.
    towards = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}[plane]
    wanted = [{"L": (1, 0, 0), "P": (0, 1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}[letter] for letter in towards]
    along = np.array(wanted) @ geometry.axes
    best = max(permutations(range(3)), key=lambda p: (abs(along[0, p[0]]), abs(along[1, p[1]]) + abs(along[2, p[2]])))
    move = np.zeros(3, int)
    for k, count in zip((1, 2), shift):
        move[best[k]] = count * (1 if along[k, best[k]] > 0 else -1)
    found = np.zeros(geometry.shape, bool)
    for z, y, x in np.ndindex(geometry.shape):
        i, j, k = np.mod(np.array([x, y, z]) + move, geometry.size)
        found[z, y, x] = volume.array[k, j, i] > 75
    return found


@given(geometries(), st.sampled_from(PLANES), st.integers(0, 2**31))
@hypothesis_settings(max_examples=60)
def test_every_voxel_of_any_grid_gets_its_own_label(geometry, plane, seed):
    volume = noise(geometry, seed)
    result = segment(volume, bands(spec=replace(WINDOW, plane=plane)))
    np.testing.assert_array_equal(result.labelmap.array, bright(volume))
    assert result.labelmap.geometry == geometry
    assert result.labelmap.array.dtype == np.uint8


@given(geometries(), st.sampled_from(PLANES), st.integers(0, 2**31), st.sampled_from([(0, 1), (1, 0), (2, -1)]))
@hypothesis_settings(max_examples=60)
def test_the_network_sees_the_plane_the_same_way_round_whatever_the_axes(geometry, plane, seed, shift):
    x, y, z = (4 * -(-n // 4) for n in geometry.size)  # no padding: the look around the end stays within the volume
    geometry = replace(geometry, size=(x, y, z))
    volume = noise(geometry, seed)
    result = segment(volume, bands(spec=replace(WINDOW, plane=plane), shift=shift))
    np.testing.assert_array_equal(result.labelmap.array, slowly_labelled(volume, plane, shift))


@pytest.mark.parametrize("plane", PLANES)
def test_the_same_image_with_other_axes_gets_the_same_labels_in_the_world(plane):
    axes = rotation((0.2, -0.1, 0.15))
    first = noise(Geometry((8, 12, 4), (0.8, 0.9, 3.0), (5.0, -7.0, 30.0), tuple(axes.ravel())))
    model = bands(spec=replace(WINDOW, plane=plane), shift=(1, 2))
    wanted = segment(first, model).labelmap.array
    assert 0 < wanted.sum() < wanted.size
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        moved = sitk.Flip(sitk.PermuteAxes(image_of(first.array, first.geometry), order), [s < 0 for s in signs], False)
        geometry = Geometry(moved.GetSize(), moved.GetSpacing(), moved.GetOrigin(), moved.GetDirection())
        result = segment(Volume(sitk.GetArrayFromImage(moved), geometry), model)
        back = sitk.Resample(
            image_of(result.labelmap.array, geometry), image_of(wanted, first.geometry), sitk.Transform(),
            sitk.sitkNearestNeighbor,
        )  # fmt: skip
        np.testing.assert_array_equal(sitk.GetArrayFromImage(back), wanted)


def image_of(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """A SimpleITK image, made without the engine."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 9), (3, 2, 1), (31, 33, 1), (5, 7, 3), (2, 40, 2)])
@pytest.mark.parametrize("mm", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("spec", [TISSUE_LIKE, InputSpec(spacing=1.0)], ids=["window", "tissue"])
def test_tiny_and_odd_volumes_come_back_on_their_own_grid(size, mm, spec):
    axes = tuple(rotation((0.1, 0.3, -0.2)).ravel())
    volume = noise(Geometry(size, (mm, mm, 2.5), (1.5, 2.5, -9.5), axes))
    options = InferenceOptions(keep_probabilities=True, keep_uncertainty=True)
    result = segment(volume, bands(spec=spec, cleanup=Cleanup(0.001, 0.1, True)), options)
    assert result.labelmap.array.shape == volume.array.shape
    assert result.labelmap.geometry.close_to(volume.geometry, 1e-6)
    assert result.probabilities.shape == (1, *volume.array.shape)
    assert np.isfinite(result.probabilities).all()
    assert np.isfinite(result.uncertainty).all()


@pytest.mark.parametrize("mm", [0.4, 0.5, 2.0, 2.3])
def test_on_a_resampled_grid_the_ball_stays_in_its_place(mm):
    n = round(60 / mm)
    volume = blob((n, n + 3, 5), (mm, mm, 3.0), radius=13.0, off_mm=-16.0)
    result = segment(volume, bands(spec=TISSUE_LIKE))
    found, truth = result.labelmap.array > 0, bright(volume)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.96
    middle = [np.mean(np.nonzero(a), axis=1) for a in (found, truth)]
    np.testing.assert_allclose(middle[0], middle[1], atol=max(0.1 / mm, 0.09))  # 0.1 mm, or a tenth of a voxel


def test_segments_have_the_model_s_ids_names_colours_and_tags():
    labels = (Label(7, "core", "Tumour core", (0.1, 0.2, 0.3), "T~a"), Label(2, "rim", "Rim", (1.0, 0.0, 0.5)))
    result = segment(noise(Geometry((5, 4, 3))), bands(-1.0, 0.0, 1.0, labels=labels, name="two"))
    first, second = result.labelmap.segments
    assert (first.value, first.id, first.name, first.colour) == (7, "two.core", "Tumour core", (0.1, 0.2, 0.3))
    assert first.terminology == "T~a"
    card = bands(labels=labels, name="two").card
    algorithm = {"DICOM.SegmentAlgorithmType": "AUTOMATIC", "DICOM.SegmentAlgorithmName": f"two {card.version}"}
    algorithm["MedTL.sha256"] = card.sha256
    assert dict(first.tags) == {"MedTL.label": "core", "MedTL.model": "two", **algorithm}
    assert (second.value, second.id) == (2, "two.rim")
    assert dict(second.tags) == {"MedTL.label": "rim", "MedTL.model": "two", **algorithm}


@pytest.mark.parametrize(("values", "dtype"), [((3, 1, 2), np.uint8), ((255, 4, 9), np.uint8), ((256, 1, 65534), "u2")])
def test_several_labels_keep_their_values(values, dtype):
    labels = tuple(Label(v, f"l{v}", f"L{v}") for v in values)
    volume = Volume(
        np.random.default_rng(1).choice([0, 70, 130, 200], (4, 9, 11)).astype(np.uint8), Geometry((11, 9, 4))
    )
    result = segment(volume, bands(-1.0, -0.3, 0.3, 1.0, labels=labels))
    wanted = np.select([volume.array == v for v in (70, 130, 200)], values, 0)
    np.testing.assert_array_equal(result.labelmap.array, wanted)
    assert result.labelmap.array.dtype == dtype


def test_volumes_are_counted_voxels_in_ml_and_unknown_where_the_spacing_is_not_real():
    geometry = Geometry((6, 5, 4), (0.5, 2.0, 3.0))
    volume = noise(geometry)
    model = bands(-1.0, 0.5, 9.0, labels=THREE[:2])
    assert segment(volume, model).volumes_ml == (pytest.approx(bright(volume).sum() * 0.003), 0.0)
    assert segment(replace(volume, real_spacing=False), model).volumes_ml == (None, None)


def twin_probabilities(volume: Volume, centres: tuple[float, ...], sharpness: float, temperature: float) -> np.ndarray:
    """Softmax written out, (classes, Z, Y, X)."""
    seen = np.clip(volume.array / 100.0 - 1.0, -1, 1)
    powers = np.exp([-sharpness * (seen - c) ** 2 / temperature for c in centres])
    return powers / powers.sum(0)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_and_uncertainty_are_softmax_and_its_entropy(temperature):
    centres = (-1.0, 0.0, 0.6, 1.0)
    volume = noise(Geometry((7, 6, 5), (1, 1, 2)))
    model = bands(*centres, labels=THREE, sharpness=3.0, calibration=Calibration(temperature))
    result = segment(volume, model, InferenceOptions(keep_probabilities=True, keep_uncertainty=True))
    wanted = twin_probabilities(volume, centres, 3.0, temperature)
    assert result.probabilities.shape == (3, 5, 6, 7)
    assert result.uncertainty.shape == (5, 6, 7)
    assert result.probabilities.dtype == result.uncertainty.dtype == np.float32
    np.testing.assert_allclose(result.probabilities, wanted[1:], atol=1e-5)
    np.testing.assert_allclose(result.uncertainty, -(wanted * np.log(wanted)).sum(0) / np.log(4), atol=1e-5)
    assert 0 <= result.uncertainty.min() <= result.uncertainty.max() <= 1 + 1e-6


def test_probabilities_are_none_unless_asked_for():
    result = segment(noise(Geometry((5, 4, 3))), bands())
    assert result.probabilities is None
    assert result.uncertainty is None


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_foreground_is_where_its_classes_together_exceed_the_threshold(threshold):
    centres = (-1.0, 0.0, 0.6, 1.0)
    volume = noise(Geometry((9, 9, 5)), 2)
    model = bands(*centres, labels=THREE, sharpness=1.5, calibration=Calibration(1.0, threshold))
    p = twin_probabilities(volume, centres, 1.5, 1.0)
    wanted = np.where(p[1:].sum(0) > threshold, p[1:].argmax(0) + 1, 0)
    np.testing.assert_array_equal(segment(volume, model).labelmap.array, wanted)


def test_a_hotter_temperature_makes_the_model_less_sure():
    volume = noise(Geometry((9, 9, 5)))
    sure, unsure = (
        segment(volume, bands(sharpness=3.0, calibration=Calibration(t)), InferenceOptions(keep_uncertainty=True))
        for t in (1.0, 4.0)
    )
    assert unsure.uncertainty.mean() > sure.uncertainty.mean() + 0.1


def test_flipping_averages_with_the_left_right_mirror_image():
    volume = noise(Geometry((8, 8, 3)), 5)
    options = InferenceOptions(flip=True, keep_probabilities=True)
    result = segment(volume, bands(shift=(0, 1), sharpness=2.0), options)
    here, there = (
        twin_probabilities(replace(volume, array=np.roll(volume.array, s, axis=2)), (-1.0, 0.5), 2.0, 1.0)[1]
        for s in (-1, 1)  # mirrored, the network looks to the other side
    )
    np.testing.assert_allclose(result.probabilities[0], (here + there) / 2, atol=1e-5)


def test_neighbouring_slices_are_given_at_their_distance_in_mm():
    class Above(Bands):
        """Sees the last channel: the upper neighbour."""

        def encode(self, x):
            return [x[:, -1:]]

    volume = noise(Geometry((6, 6, 12), (1, 1, 1.5)), 3)
    model = bands(spec=replace(WINDOW, neighbours=1, neighbour_mm=3.0))
    model = replace(model, networks=(Above().eval(),))
    upper = np.minimum(np.arange(12) + 2, 11)
    np.testing.assert_array_equal(segment(volume, model).labelmap.array, bright(volume)[upper])


@pytest.mark.parametrize(("slice_mm", "deviation"), [(1.0, 1.5), (3.0, 0.5), (0.1, 5.0)])
def test_neighbouring_slices_are_averaged_with_gaussian_weights_in_mm(slice_mm, deviation):
    """Its twin adds up all slices; slices without anything in them do not count."""
    volume = noise(Geometry((6, 5, 40), (1, 1, slice_mm)), 4)
    options = InferenceOptions(keep_probabilities=True, keep_uncertainty=True)
    centres, spec = (-1.0, 0.0, 0.6, 1.0), replace(WINDOW, smoothing_mm=1.5)
    plain = segment(volume, bands(*centres, labels=THREE), options)
    smooth = segment(volume, bands(*centres, labels=THREE, spec=spec), options)
    apart = np.subtract.outer(np.arange(40), np.arange(40))
    weights = np.exp(-((apart / deviation) ** 2) / 2) * (abs(apart) <= math.ceil(3 * deviation))
    wanted = np.einsum("kn,cnyx->ckyx", weights / weights.sum(1, keepdims=True), plain.probabilities)
    np.testing.assert_allclose(smooth.probabilities, wanted, atol=1e-5)
    p = np.concatenate((1 - wanted.sum(0, keepdims=True), wanted)).clip(1e-12)
    np.testing.assert_allclose(smooth.uncertainty, -(p * np.log(p)).sum(0) / np.log(4), atol=1e-4)


def test_slices_of_unknown_distance_are_not_averaged():
    volume = replace(noise(Geometry((6, 5, 20)), 4), real_spacing=False)
    smooth = segment(volume, bands(spec=replace(WINDOW, smoothing_mm=3.0)))
    np.testing.assert_array_equal(smooth.labelmap.array, bright(volume))


def test_no_more_planes_are_held_than_are_averaged():
    alive = 0

    def planes():
        nonlocal alive
        for k in range(100):
            plane = torch.rand(1, 2, 4, 4)
            alive += 1
            weakref.finalize(plane, gone)
            yield k, plane, (slice(0, 4), slice(0, 4))

    def gone():
        nonlocal alive
        alive -= 1

    most = max(alive for _ in smoothed(planes(), 2.0))
    assert most <= 2 * 6 + 3


def test_empty_slices_are_not_computed_and_give_background():
    array = np.zeros((20, 64, 64), np.int16)
    array[8:11, 10:54, 10:54] = 150
    model = bands(2.0, -0.2, spec=InputSpec())  # whatever is seen is labelled
    options = InferenceOptions(keep_probabilities=True, keep_uncertainty=True)
    result = segment(Volume(array, Geometry((64, 64, 20))), model, options)
    assert sum(shape[0] for shape in model.networks[0].seen) == 3
    assert result.labelmap.array[8:11, 20:40, 20:40].all()
    empty = np.r_[0:8, 11:20]
    assert not result.labelmap.array[empty].any()
    assert not result.probabilities[:, empty].any()
    assert not result.uncertainty[empty].any()


def test_only_a_few_slices_are_in_memory_at_once(monkeypatch):
    monkeypatch.setattr(module, "BATCH_PIXELS", 4 * 64 * 64)
    model = bands(-1.0, 0.0, 0.5, 1.0, labels=THREE)
    volume = noise(Geometry((64, 64, 30)))
    segment(volume, model)
    assert max(shape[0] for shape in model.networks[0].seen) == 4
    assert sum(shape[0] for shape in model.networks[0].seen) == 30


def test_memory_does_not_grow_with_the_volume_but_for_the_labels():
    model = bands(-1.0, 0.0, 0.5, 1.0, labels=THREE)
    peaks = []
    for depth in (32, 256):
        volume = noise(Geometry((128, 128, depth)))
        tracemalloc.start()
        segment(volume, model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = 128 * 128 * (256 - 32)
    assert peaks[1] - peaks[0] < 6 * more  # one softmax of the whole would be 16 bytes a voxel, one float32 4


@given(st.integers(0, 2**31), st.floats(0, 12), st.floats(0, 1), st.floats(0.1, 0.5))
@hypothesis_settings(max_examples=50)
def test_components_under_the_limits_are_removed(seed, smallest, share, density):
    mask = np.random.default_rng(seed).random((5, 9, 8)) < density
    numbered, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = {n: int((numbered == n).sum()) for n in range(1, count + 1)}
    largest = max(sizes.values(), default=0)
    wanted = np.zeros_like(mask)
    for n, size in sizes.items():
        if size >= smallest and size >= share * largest:
            wanted |= numbered == n
    np.testing.assert_array_equal(keep_components(mask, smallest, share), wanted)


@pytest.mark.parametrize("seed", range(5))
def test_parts_that_do_not_touch_the_anchor_are_removed(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.integers(0, 3, (6, 14, 13)) * (rng.random((6, 14, 13)) < 0.12)).astype(np.uint8)
    numbered, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    wanted = labels.copy()
    for part in range(1, count + 1):
        if not (labels[numbered == part] == 1).any():
            wanted[numbered == part] = 0
    assert (wanted != labels).any()
    np.testing.assert_array_equal(keep_attached(labels, 1), wanted)
    card = replace(bands().card, labels=THREE, cleanup=Cleanup(anchor="a"))
    volume = Volume(np.zeros(labels.shape, np.int16), Geometry(labels.shape[::-1]))
    np.testing.assert_array_equal(clean(labels, volume, card, lambda *_: None), wanted)
    alone = np.where(labels == 2, labels, 0)  # without the anchor nothing is known
    np.testing.assert_array_equal(clean(alone, volume, card, lambda *_: None), alone)


@given(st.integers(0, 2**31), st.floats(0.3, 0.8))
@hypothesis_settings(max_examples=50)
def test_holes_are_what_cannot_be_reached_from_the_slice_s_border(seed, density):
    mask = np.random.default_rng(seed).random((3, 8, 9)) < density
    wanted = mask.copy()
    for k, plane in enumerate(mask):
        padded = np.pad(plane, 1)
        reached, todo = np.zeros_like(padded), [(0, 0)]
        while todo:
            r, c = todo.pop()
            if 0 <= r < padded.shape[0] and 0 <= c < padded.shape[1] and not padded[r, c] and not reached[r, c]:
                reached[r, c] = True
                todo += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
        wanted[k] = ~reached[1:-1, 1:-1]
    np.testing.assert_array_equal(fill_holes(mask), wanted)


def a_ring_and_a_speck() -> Volume:
    """A ring of 20 voxels around a hole of 5, and one voxel apart; 8 µL each."""
    array = np.zeros((3, 12, 16), np.int16)
    array[1, 3:8, 3:8] = 150
    array[1, 4:7, 4:7] = 0
    array[1, 5, 4] = 150
    array[1, 10, 14] = 150
    return Volume(array, Geometry((16, 12, 3), (2, 2, 2)))


@pytest.mark.parametrize(
    ("rule", "speck", "hole"),
    [
        (Cleanup(), True, False),
        (Cleanup(min_ml=0.01), False, False),
        (Cleanup(min_ml=0.007), True, False),
        (Cleanup(min_share=0.1), False, False),
        (Cleanup(min_share=0.05), True, False),
        (Cleanup(fill_holes=True), True, True),
        (Cleanup(0.01, 0.1, True), False, True),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_cleaning_up_follows_the_card_and_can_be_switched_off(rule, speck, hole, on):
    volume = a_ring_and_a_speck()
    labels = segment(volume, bands(cleanup=rule), InferenceOptions(cleanup=on)).labelmap.array
    assert bool(labels[1, 10, 14]) == (speck or not on)
    assert bool(labels[1, 5, 5]) == (hole and on)
    assert labels[1, 3:8, 3].all()


def test_holes_are_filled_in_the_model_s_plane_and_never_over_another_label():
    array = np.zeros((9, 9, 9), np.int16)
    array[2:7, 4, 2:7] = 100
    array[4, 4, 4] = 0
    array[3, 4, 3] = 200
    model = bands(-1.0, 0.0, 1.0, labels=THREE[:2], cleanup=Cleanup(fill_holes=True))
    volume = Volume(array, Geometry((9, 9, 9)))
    coronal = replace(model, card=replace(model.card, input=replace(WINDOW, plane="coronal")))
    assert segment(volume, model).labelmap.array[4, 4, 4] == 0
    filled = segment(volume, coronal).labelmap.array
    assert filled[4, 4, 4] == 1
    assert filled[3, 4, 3] == 2


def test_min_ml_is_left_out_where_the_spacing_is_not_real():
    volume = replace(a_ring_and_a_speck(), real_spacing=False)
    assert segment(volume, bands(cleanup=Cleanup(min_ml=0.5))).labelmap.array[1, 10, 14]


@pytest.mark.parametrize(("pixels", "real", "stays"), [(1, False, True), (2, False, False), (2, True, True)])
def test_min_pixels_counts_only_where_the_spacing_is_not_real(pixels, real, stays):
    volume = replace(a_ring_and_a_speck(), real_spacing=real)
    labels = segment(volume, bands(cleanup=Cleanup(min_pixels=pixels))).labelmap.array
    assert bool(labels[1, 10, 14]) == stays
    assert labels[1, 3, 3:8].all()


class StopAt:
    """A report that cancels at the first call of a stage, or when it ends; notes what it was told."""

    def __init__(self, stage: str, at: float = 0.0) -> None:
        self.stage, self.at, self.calls = stage, at, []

    def __call__(self, stage: str, fraction: float) -> None:
        self.calls.append((stage, fraction))
        if stage == self.stage and fraction >= self.at:
            raise Cancelled("stopped")


@pytest.fixture
def scan(tmp_path) -> Path:
    path = tmp_path / "in" / "scan.nrrd"
    path.parent.mkdir()
    volume = noise(Geometry((12, 10, 6), (0.9, 0.9, 4.0), (3, -2, 50), tuple(rotation((0.1, 0.0, 0.2)).ravel())))
    write_image(path, volume.array, volume.geometry)
    return path


def test_the_volume_of_a_file_is_not_in_memory_while_windows_are_computed(scan, tmp_path, monkeypatch):
    held = []

    class Reader:
        def read_volume(self, path, **options):
            volume = read_volume(path, **options)
            held.append(weakref.ref(volume.array))
            return volume

    def infer(*arguments):
        held.append(held[0]() is None)
        return infer_windows(*arguments)

    infer_windows = module.infer_windows
    monkeypatch.setattr(module, "infer_windows", infer)
    outputs = OutputOptions(tmp_path / "out.nrrd")
    segment_file(scan, windowed(CUBES), outputs, reader=Reader())
    assert held[1:] == [True]


@pytest.mark.parametrize("at", [0.0, 1.0])
@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_at_any_stage_leaves_nothing(stage, at, scan, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH_PIXELS", 1)
    (tmp_path / "out").mkdir()
    outputs = [tmp_path / "out" / n for n in ("labels.seg.nrrd", "p.nrrd", "u.nrrd")]
    model = bands(cleanup=Cleanup(fill_holes=True))
    progress = StopAt(stage, at)
    with pytest.raises(Cancelled):
        segment_file(scan, model, OutputOptions(*outputs), progress=progress)
    assert progress.calls[-1][0] == stage
    assert list((tmp_path / "out").iterdir()) == []


def test_cancelling_keeps_an_older_result_whole(scan, tmp_path):
    output = tmp_path / "labels.seg.nrrd"
    output.write_text("precious")
    with pytest.raises(Cancelled):
        segment_file(scan, bands(), OutputOptions(output, force=True), progress=StopAt("write", 1.0))
    assert output.read_text() == "precious"


def test_progress_goes_through_the_stages_in_order_and_fractions_rise(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH_PIXELS", 1)
    progress = StopAt("never")
    result = segment_file(scan, bands(), OutputOptions(tmp_path / "x.seg.nrrd"), progress=progress)
    assert list(dict.fromkeys(stage for stage, _ in progress.calls)) == list(STAGES)
    for stage in STAGES:
        fractions = [f for s, f in progress.calls if s == stage]
        assert fractions == sorted(fractions)
        assert all(0 <= f <= 1 for f in fractions)
    assert len({f for s, f in progress.calls if s == "infer"}) == 7  # six slices and the end
    assert set(result.seconds) == set(STAGES)


class Failing(Bands):
    """Fails as it runs."""

    error: BaseException = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    def encode(self, x):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you…"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried to allocate"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_running_out_of_memory_is_said_in_one_line_with_advice(error, scan, tmp_path):
    failing = Failing().eval()
    failing.error = error
    model = replace(bands(), networks=(failing,))
    with pytest.raises(DeviceError, match=r"Not enough memory for a volume of 12×10×6 voxels\. .*smaller volume"):
        segment_file(scan, model, OutputOptions(tmp_path / "x.nrrd"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_limit_of_threads_holds_for_its_job_alone(scan, tmp_path):
    class Counting(Bands):
        def encode(self, x):
            found.append(torch.get_num_threads())
            return super().encode(x)

    found, before = [], torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model = replace(bands(), networks=(Counting().eval(),))
        segment_file(scan, model, OutputOptions(tmp_path / "one.nrrd"), options=InferenceOptions(threads=1))
        segment_file(scan, model, OutputOptions(tmp_path / "all.nrrd"))
    finally:
        torch.set_num_threads(before)
    assert (found[0], found[-1]) == (1, 3)


def test_another_failure_is_not_called_out_of_memory():
    failing = Failing().eval()
    failing.error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        segment(noise(Geometry((4, 4, 4))), replace(bands(), networks=(failing,)))


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nrrd", ".nii.gz"])
def test_a_second_reader_sees_the_labels_lie_on_the_input(suffix, scan, tmp_path):
    output = tmp_path / f"labels{suffix}"
    record = encode(segment_file(scan, bands(), OutputOptions(output)))
    image, labels = sitk.ReadImage(str(scan)), sitk.ReadImage(str(output))
    assert labels.GetSize() == image.GetSize()
    for corner in product(*((0, n - 1) for n in image.GetSize())):
        a, b = (i.TransformIndexToPhysicalPoint(corner) for i in (image, labels))
        # NIfTI keeps single precision
        np.testing.assert_allclose(a, b, atol=1e-6 if suffix != ".nii.gz" else 2e-5)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(image) > 75)
    count = int((sitk.GetArrayFromImage(image) > 75).sum())
    ml = count * np.prod(image.GetSpacing()) / 1000
    (found,) = record["segments"]
    parts = found.pop("lesions")
    assert found == {"id": "small.lesion", "name": "Lesion", "volume_ml": pytest.approx(ml)}
    assert sum(part["volume_ml"] for part in parts) == pytest.approx(ml)
    assert [list(part) for part in parts] == [["volume_ml", "diameter_mm", "centre"]] * len(parts)
    assert record["input"] == str(scan)
    assert record["output"] == str(output)


def test_the_segmentation_file_names_its_segments(scan, tmp_path):
    segment_file(scan, bands(), OutputOptions(tmp_path / "x.seg.nrrd"))
    (found,) = read_labelmap(tmp_path / "x.seg.nrrd").segments
    assert (found.id, found.name, found.terminology) == ("small.lesion", "Lesion", LESION[0].snomed)
    assert found.colour == pytest.approx(LESION[0].colour)
    assert {"MedTL.label", "MedTL.model"} <= set(dict(found.tags))


def test_probabilities_and_uncertainty_are_written_on_the_input_s_grid(scan, tmp_path):
    volume = read_volume(scan)
    outputs = OutputOptions(tmp_path / "x.nrrd", tmp_path / "p.nrrd", tmp_path / "u.nii.gz")
    centres = (-1.0, 0.0, 0.6, 1.0)
    segment_file(scan, bands(*centres, labels=THREE, sharpness=2.0), outputs)
    wanted = twin_probabilities(volume, centres, 2.0, 1.0)
    p = sitk.ReadImage(str(tmp_path / "p.nrrd"))
    assert p.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_allclose(np.moveaxis(sitk.GetArrayFromImage(p), -1, 0), wanted[1:], atol=1e-5)
    u = read_volume(tmp_path / "u.nii.gz")
    assert u.geometry.close_to(volume.geometry, 2e-5)
    np.testing.assert_allclose(u.array, -(wanted * np.log(wanted)).sum(0) / np.log(4), atol=1e-5)


@pytest.mark.parametrize("which", ["output", "probabilities", "uncertainty"])
def test_an_existing_output_is_refused_before_any_work_and_replaced_only_by_force(which, scan, tmp_path):
    files = {n: tmp_path / f"{n}.nrrd" for n in ("output", "probabilities", "uncertainty")}
    files[which].write_text("precious")
    outputs = OutputOptions(files["output"], files["probabilities"], files["uncertainty"])
    model = bands(sharpness=2.0)
    with pytest.raises(InputError, match="exists already"):
        segment_file(scan, model, outputs)
    assert files[which].read_text() == "precious"
    assert model.networks[0].seen == []
    assert sum(f.exists() for f in files.values()) == 1
    segment_file(scan, model, replace(outputs, force=True))
    assert all(read_volume(f).array.shape == (6, 10, 12) for f in files.values())


@pytest.mark.parametrize("which", ["output", "probabilities", "uncertainty"])
@pytest.mark.parametrize("link", [False, True])
def test_the_input_is_never_overwritten(which, link, scan, tmp_path):
    before = scan.read_bytes()
    target = scan
    if link:
        target = tmp_path / "link.nrrd"
        target.symlink_to(scan)
    files = {"output": tmp_path / "o.nrrd", which: target}
    output = files.pop("output")
    with pytest.raises(InputError, match="is an input or a part of one"):
        segment_file(scan, bands(), OutputOptions(output, force=True, **files))
    assert scan.read_bytes() == before


@pytest.mark.parametrize("which", ["output", "probabilities", "uncertainty"])
def test_the_data_of_a_detached_header_are_never_overwritten(which, tmp_path):
    volume = noise(Geometry((12, 10, 6)))
    sitk.WriteImage(sitk.GetImageFromArray(volume.array), str(tmp_path / "c.mhd"))
    (tmp_path / "c.raw").rename(tmp_path / "c.nrrd")
    header = (tmp_path / "c.mhd").read_text()
    (tmp_path / "c.mhd").write_text(header.replace("c.raw", "c.nrrd"))
    before = (tmp_path / "c.nrrd").read_bytes()
    files = {"output": tmp_path / "o.nrrd", which: tmp_path / "c.nrrd"}
    with pytest.raises(InputError, match="is an input or a part of one"):
        segment_file(tmp_path / "c.mhd", bands(), OutputOptions(files.pop("output"), force=True, **files))
    assert (tmp_path / "c.nrrd").read_bytes() == before


@pytest.mark.parametrize("which", ["output", "probabilities", "uncertainty"])
@pytest.mark.parametrize("bad", ["x.txt", "missing/x.nrrd", "in"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(which, bad, scan, tmp_path):
    older = tmp_path / "older.seg.nrrd"
    older.write_text("precious")
    files = {"output": older, which: tmp_path / bad}
    output, model = files.pop("output"), bands()
    with pytest.raises(InputError):
        segment_file(scan, model, OutputOptions(output, force=True, **files))
    assert model.networks[0].seen == []
    assert older.read_text() == "precious"


@pytest.mark.parametrize("which", ["probabilities", "uncertainty"])
def test_two_outputs_to_one_file_are_refused(which, scan, tmp_path):
    with pytest.raises(InputError, match="same name"):
        segment_file(scan, bands(), OutputOptions(tmp_path / "x.nrrd", **{which: tmp_path / "in/../x.nrrd"}))
    assert not (tmp_path / "x.nrrd").exists()


@pytest.mark.parametrize("which", ["store_labelmap", "store_image"])
def test_a_failing_write_leaves_older_results_whole(which, scan, tmp_path, monkeypatch):
    names = ("x.seg.nrrd", "p.nrrd", "u.nrrd")
    output, p, u = (tmp_path / "out" / n for n in names)
    output.parent.mkdir()
    for file in (output, p, u):
        file.write_text("precious")

    def full(path, *_):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, which, full)
    with pytest.raises(InputError, match="No space left"):
        segment_file(scan, bands(), OutputOptions(output, p, u, force=True))
    assert {f.name: f.read_text() for f in output.parent.iterdir()} == dict.fromkeys(names, "precious")


def test_a_picture_has_no_volume_in_ml(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).choice([0, 50, 150], (20, 30)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slice.png")
    (found,) = segment_file(tmp_path / "slice.png", bands(), OutputOptions(tmp_path / "x.seg.nrrd")).segments
    assert found.volume_ml is None
    assert {(part.volume_ml, part.diameter_mm) for part in found.lesions} <= {(None, None)}
    np.testing.assert_array_equal(read_labelmap(tmp_path / "x.seg.nrrd").array[0], pixels == 150)


def test_a_large_picture_is_segmented_on_its_own_pixels(tmp_path):
    big = blob((700, 640, 1), (0.3, 0.3, 1.0), radius=40.0)
    result = segment(replace(big, real_spacing=False), bands(spec=TISSUE_LIKE))
    truth = bright(big)
    assert 2 * (result.labelmap.array & truth).sum() / (result.labelmap.array.sum() + truth.sum()) > 0.98


def test_frame_and_component_choose_what_is_segmented(tmp_path):
    frames = np.stack([np.full((4, 5, 6), 0), np.full((4, 5, 6), 150)]).astype(np.uint8)
    frames[:, 0, 0, 0] = 75, 20
    image = sitk.JoinSeries([sitk.GetImageFromArray(f) for f in frames])
    sitk.WriteImage(image, str(tmp_path / "4d.nii.gz"))
    for frame, wanted in ((0, 0), (1, 119)):
        output = tmp_path / f"{frame}.nrrd"
        segment_file(tmp_path / "4d.nii.gz", bands(), OutputOptions(output), ReadOptions(frame=frame))
        assert (read_labelmap(output).array > 0).sum() == pytest.approx(wanted, abs=1)


def test_warnings_of_the_volume_reach_the_record(tmp_path):
    array = np.random.default_rng(0).random((10, 12, 14)).astype(np.float32) * 200
    array[3, 4, 5] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "x.mha"))
    result = segment_file(tmp_path / "x.mha", bands(), OutputOptions(tmp_path / "x.nrrd"))
    assert any("NaN" in w for w in result.warnings)


@pytest.mark.parametrize("names", [("labels.seg.nrrd",), ("labels.nrrd", "p.nrrd", "u.nrrd")])
def test_an_output_that_appears_meanwhile_stays_as_it_is(names, scan, tmp_path):
    """Another program writes to the same name after our check and before our rename."""
    (tmp_path / "out").mkdir()
    paths = [tmp_path / "out" / name for name in names]

    def appear(stage: str, fraction: float) -> None:
        if (stage, fraction) == ("write", 1.0):
            paths[-1].write_text("theirs")

    with pytest.raises(InputError, match=f"{names[-1]} exists already"):
        segment_file(scan, bands(), OutputOptions(*paths), progress=appear)
    assert [f.name for f in (tmp_path / "out").iterdir()] == [names[-1]]
    assert paths[-1].read_text() == "theirs"
    segment_file(scan, bands(), OutputOptions(*paths, force=True), progress=appear)
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == sorted(names)
    assert sitk.ReadImage(str(paths[-1])).GetSize() == (12, 10, 6)


class Broken(Bands):
    """Adds a value to the logits of one class, everywhere or at one pixel of one slice."""

    def __init__(self, value: float, label: int, everywhere: bool) -> None:
        super().__init__()
        self.value, self.label, self.everywhere = value, label, everywhere

    def decode(self, features):
        logits = super().decode(features)
        where = logits[:, self.label] if self.everywhere else logits[0, self.label, 0, 0]
        where += self.value
        return logits


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_network_whose_output_is_not_finite_is_an_error_and_no_empty_result(
    value, label, everywhere, flip, scan, tmp_path
):
    model = replace(bands(), networks=(Broken(value, label, everywhere).eval(),))
    with pytest.raises(ModelError, match=r"finite numbers from the network of small, found NaN or infinity"):
        segment_file(scan, model, OutputOptions(tmp_path / "x.nrrd"), options=InferenceOptions(flip=flip))
    assert not (tmp_path / "x.nrrd").exists()


def test_large_finite_logits_are_no_error():
    volume = noise(Geometry((8, 8, 3)))
    result = segment(volume, bands(sharpness=1e37))
    np.testing.assert_array_equal(result.labelmap.array, bright(volume))


@pytest.mark.parametrize("threads", [0, -1, 10**9, 10**30])
def test_an_impossible_number_of_threads_is_refused(threads):
    with pytest.raises(InputError, match=r"Expected 1 to \d+ threads, found .* CPU cores"):
        InferenceOptions(threads=threads)


@given(geometries(), st.sampled_from(["LPS", "RAS", "SAR"]), st.permutations((0, 1, 2)), st.integers(0, 2**31))
@hypothesis_settings(max_examples=40)
def test_a_3d_network_sees_the_same_scene_in_any_order_of_axes(geometry, orientation, axes, seed):
    spec = replace(CUBES, orientation=orientation, axes=tuple(axes), patch=(4, 3, 5), normalisation=(PLAIN,))
    volume = noise(geometry, seed)
    expected = segment(volume, windowed(spec)).labelmap.array
    # The same voxels at the same places, stored in another order: x and z change places, y runs backwards.
    z, y, x = volume.array.shape
    columns = geometry.axes[:, [2, 1, 0]] * [1, -1, 1]
    last = geometry.affine @ [0, y - 1, 0, 1]
    other = Geometry((z, y, x), tuple(np.array(geometry.spacing)[[2, 1, 0]]), tuple(last[:3]), tuple(columns.ravel()))
    stored = np.ascontiguousarray(volume.array.transpose(2, 1, 0)[:, ::-1])
    found = segment(Volume(stored, other), windowed(spec)).labelmap
    assert found.geometry == other
    np.testing.assert_array_equal(found.array, expected.transpose(2, 1, 0)[:, ::-1])


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        (windowed(CUBES), InferenceOptions(flip=True), "flip) has no effect: small has no mirrored windows."),
        (
            windowed(replace(CUBES, mirror=(0,))),
            InferenceOptions(flip=True),
            "flip) has no effect: small averages mirrored windows by itself.",
        ),
        (windowed(replace(CUBES, mirror=(0,))), InferenceOptions(mirror=False), None),
        (windowed(CUBES), InferenceOptions(mirror=False), "Leaving out mirrored windows has no effect"),
        (bands(), InferenceOptions(mirror=False), "Leaving out mirrored windows has no effect"),
        (bands(), InferenceOptions(flip=True), None),
    ],
)
def test_a_choice_without_effect_is_named(model, options, text):
    volume = noise(Geometry((12, 10, 8)))
    found = [one for one in segment(volume, model, options).warnings if "no effect" in one]
    assert len(found) == (text is not None)
    assert all(text in one for one in found)
    assert not [one for one in segment(volume, model).warnings if "no effect" in one]


@pytest.mark.parametrize(("bf16", "precision"), [(False, "fp32"), (True, "bf16")])
def test_the_precision_of_the_network_is_stated(bf16, precision, tmp_path):
    model = replace(windowed(CUBES), bf16=bf16)
    write_image(tmp_path / "a.nrrd", noise(Geometry((12, 10, 8))).array, Geometry((12, 10, 8)))
    found = segment_file(tmp_path / "a.nrrd", model, OutputOptions(tmp_path / "a.seg.nrrd"))
    assert found.precision == precision
    assert encode(found)["precision"] == precision


@given(geometries(), st.integers(0, 2**31))
@hypothesis_settings(max_examples=20)
def test_as_stored_a_3d_network_sees_the_array_of_the_file(geometry, seed):
    spec = replace(CUBES, orientation="stored", spacing=geometry.spacing[::-1])
    volume = noise(geometry, seed)
    turned = Geometry(geometry.size, geometry.spacing)
    expected = segment(Volume(volume.array, turned), windowed(spec)).labelmap.array
    np.testing.assert_array_equal(segment(volume, windowed(spec)).labelmap.array, expected)


def slowly_segmented(volume: Volume, model, spec) -> np.ndarray:
    """The twin of a 3D network with argmax on a volume that is stored as the network wants it: whole volumes only."""
    nonzero = np.argwhere(volume.array != 0)
    low, high = nonzero.min(0), nonzero.max(0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high))
    image = volume.array[box].astype(np.float64)
    filled = ndimage.binary_fill_holes(volume.array != 0)[box]
    image[filled] = (image[filled] - image[filled].mean()) / image[filled].std()
    factors = np.divide(volume.geometry.spacing[::-1], spec.spacing)
    shape = [max(1, round(n * f)) for n, f in zip(image.shape, factors)]
    small = ndimage.zoom(image, np.divide(shape, image.shape), order=3, mode="nearest", grid_mode=True)
    small = np.clip(small, image.min(), image.max()).astype(np.float32)
    logits = torch.stack(list(logit_planes(small[None], model, spec)), 1).double().numpy()
    back = np.divide(image.shape, shape)
    full = np.stack([ndimage.zoom(one, back, order=1, mode="nearest", grid_mode=True) for one in logits])
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[box] = full.argmax(0)
    return labels


@pytest.mark.parametrize("patch", [(6, 8, 7), (9, 5)])
def test_windows_give_the_labels_of_whole_volumes(patch):
    spacing = (1.5, 1.0, 1.3)
    spec = replace(
        CUBES,
        patch=patch,
        spacing=(2.0, 1.3, 0.9) if len(patch) == 3 else (1.3, 0.9),
        normalisation=(Normalisation("zscore", masked=True),),
        orientation="stored",
        mirror=(1,),
    )
    volume = blob((22, 18, 14), spacing[::-1], radius=6)
    volume.array[7, 9, 10] = 0  # a hole counts as body
    model = windowed(spec, labels=3, folds=2)
    twin = replace(spec, spacing=(spacing[0], *spec.spacing)) if len(patch) == 2 else spec
    labels = segment(volume, model).labelmap.array
    assert len(np.unique(labels)) > 2
    assert np.mean(labels != slowly_segmented(volume, model, twin)) < 1e-3


def test_without_mirroring_a_window_is_computed_once():
    spec = replace(CUBES, patch=(4, 4, 4), spacing=(1.0, 1.0, 1.0), mirror=(0, 1, 2))
    volume, model = noise(Geometry((9, 9, 9))), windowed(spec, labels=3)
    plain = segment(volume, model, InferenceOptions(mirror=False)).labelmap.array
    np.testing.assert_array_equal(plain, segment(volume, windowed(replace(spec, mirror=()), labels=3)).labelmap.array)
    assert (plain != segment(volume, model).labelmap.array).any()


def test_probabilities_and_uncertainty_of_windows_fit_the_labels():
    spec = replace(CUBES, spacing=(2.0, 1.5, 1.5))
    for decision, labels in (("argmax", 3), ("regions", 2)):
        model = windowed(spec, labels, decision=decision)
        volume = blob((20, 16, 12), (1.0, 1.0, 1.0), radius=5)
        result = segment(volume, model, InferenceOptions(keep_probabilities=True, keep_uncertainty=True))
        inside = np.zeros(volume.array.shape, bool)
        hit = np.argwhere(volume.array != 0)
        inside[tuple(slice(a, b + 1) for a, b in zip(hit.min(0), hit.max(0)))] = True
        assert not result.probabilities[:, ~inside].any()
        assert not result.uncertainty[~inside].any()
        assert 0 <= result.uncertainty.min() < result.uncertainty.max() <= 1 + 1e-6
        if decision == "argmax":
            full = np.concatenate([1 - result.probabilities.sum(0, keepdims=True), result.probabilities])
            expected = full.argmax(0)
        else:
            expected = np.where(result.probabilities[1] > 0.5, 2, result.probabilities[0] > 0.5)
        assert np.mean((expected != result.labelmap.array)[inside]) < 1e-3  # but where two are equal


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 9), (9, 1, 9), (2, 3, 40)])
@pytest.mark.parametrize("patch", [(6, 8, 7), (8, 7)])
def test_a_volume_smaller_than_a_window_is_segmented(shape, patch):
    volume = Volume(np.full(shape, 150, np.int16), Geometry(shape[::-1], (1.0, 1.0, 1.0)))
    spec = replace(CUBES, patch=patch, spacing=(1.0,) * len(patch))
    assert segment(volume, windowed(spec)).labelmap.array.shape == shape


def test_an_image_of_0_is_segmented_as_a_whole():
    volume = Volume(np.zeros((5, 6, 7), np.int16), Geometry((7, 6, 5)))
    spec = replace(CUBES, normalisation=(Normalisation("zscore", masked=True),))
    assert segment(volume, windowed(spec)).labelmap.array.shape == (5, 6, 7)


TWO_CHANNELS = replace(CUBES, normalisation=(PLAIN, PLAIN))


def test_a_channel_that_is_missing_is_refused_with_its_name():
    with pytest.raises(InputError, match=r"Expected 2 volumes for small \(MR0, MR1\), found 1; missing: MR1"):
        segment(noise(Geometry((8, 8, 8))), windowed(TWO_CHANNELS))
    with pytest.raises(InputError, match=r"Expected 1 volume for small \(CT\), found 2"):
        segment([noise(Geometry((8, 8, 8)))] * 2, bands())


def test_a_channel_on_another_grid_is_resampled_with_a_warning():
    first = blob((20, 16, 12), (1.0, 1.0, 1.0))
    fine = replace(first, warnings=("first says so",))
    same = segment([fine, first], windowed(TWO_CHANNELS))
    assert same.warnings == ("first says so",)
    # The same scene, sampled twice as finely, with voxel centres on those of the first.
    array = ndimage.zoom(first.array.astype(float), np.divide((23, 31, 39), (12, 16, 20)), order=1)
    other = Volume(array.astype(np.float32), Geometry((39, 31, 23), (0.5, 0.5, 0.5)))
    result = segment([fine, other], windowed(TWO_CHANNELS))
    assert "MR1 was resampled onto the grid of MR0: it has another size" in result.warnings[1]
    assert result.labelmap.geometry == first.geometry
    np.testing.assert_array_equal(result.labelmap.array, same.labelmap.array)
    beside = replace(first, geometry=replace(first.geometry, origin=(0.0, 2.5, 0.0)))
    assert "lies up to 2.5 mm beside it" in segment([first, beside], windowed(TWO_CHANNELS)).warnings[0]
    elsewhere = replace(first, geometry=replace(first.geometry, origin=(500.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="Expected volumes that overlap"):
        segment([first, elsewhere], windowed(TWO_CHANNELS))


def test_a_grid_that_does_not_fit_into_memory_is_refused_before_it_is_made():
    spec = replace(CUBES, spacing=(0.002, 0.002, 0.002))
    with pytest.raises(ModelError, match="GB of free memory for a grid of"):
        segment(noise(Geometry((9, 9, 9), (5.0, 5.0, 5.0))), windowed(spec))
