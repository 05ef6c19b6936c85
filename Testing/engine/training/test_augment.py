from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from medtl.training.augment import Augmentation, augment, change_lesion, strip, warp

SIZE, WINDOW = 128, (96, 80)
NOTHING = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})
GEOMETRY_ONLY = replace(NOTHING, rotation=20.0, zoom=0.28, stretch=0.08, shift=20.0, elastic=5.0)
EVERYTHING = replace(Augmentation(), **{f.name: 1.0 for f in fields(Augmentation) if f.name.startswith("p_")})


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def heads(count=8, channels=3):
    """Slices of a head, its lesion to one side, its brain without the scalp."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radius = np.hypot(y / 42, x / 34)
    lesion = np.hypot(y - 6, x - 12) < 9
    image = np.where(radius < 1, np.where(radius < 0.82, 1.0, 2.0), 0.0) + 0.6 * lesion
    image, lesion, brain = (torch.from_numpy(a).float() for a in (image, lesion, radius < 0.82))
    return (
        image.expand(count, channels, -1, -1).clone(),
        lesion.expand(count, -1, -1).long(),
        brain.expand(count, -1, -1),
    )


def test_the_label_moves_with_the_image():
    _, label, brain = heads(32)
    image = label[:, None].float()
    moved, truth = augment(image, label, brain, WINDOW, GEOMETRY_ONLY, seeded())
    assert moved.shape == (32, 1, *WINDOW)
    assert truth.any(2).any(1).sum() > 25  # few lesions are moved out of sight
    assert torch.equal(moved[:, 0] > 0.5, truth.bool())
    assert len({tuple(np.round(np.argwhere(t).mean(0))) for t in truth.numpy() if t.any()}) > 20


def test_without_changes_a_slice_is_cut_out_of_the_middle_or_mirrored():
    random = torch.rand((16, 2, SIZE, SIZE), generator=seeded())
    moved = warp(random, WINDOW, NOTHING, seeded())
    middle = random[:, :, 16:112, 24:104]
    kept = [torch.allclose(a, b, atol=1e-4) for a, b in zip(moved, middle, strict=True)]
    mirrored = [torch.allclose(a.flip(2), b, atol=1e-4) for a, b in zip(moved, middle, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert any(kept)
    assert any(mirrored)


def test_a_turn_is_that_of_the_slow_way():
    """A pixel at (x, y) from the middle comes from there turned by the angle; scipy does the same with a matrix."""
    from scipy import ndimage

    image, _, _ = heads(1, 1)
    image = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    moved = warp(image, (SIZE, SIZE), replace(NOTHING, rotation=30.0), seeded(3))[0, 0].numpy()

    def turned(degrees, mirror):
        slow = ndimage.rotate(image[0, 0].numpy(), degrees, reshape=False, order=1)
        return float(np.abs((slow[:, ::-1] if mirror else slow) - moved).mean())

    found = min((turned(degrees, mirror), degrees) for degrees in np.arange(-30, 30.5, 0.5) for mirror in (False, True))
    assert found[0] < 0.01
    assert abs(found[1]) > 2


def test_a_seed_gives_the_same_slices_again_and_another_others():
    one, two, other = (augment(*heads(), WINDOW, Augmentation(), seeded(n)) for n in (5, 5, 6))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])


def test_slices_of_a_batch_are_changed_each_in_its_own_way():
    image, _ = augment(*heads(), WINDOW, Augmentation(), seeded())
    assert len({float(slice_.mean()) for slice_ in image}) == len(image)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_values_are_finite_and_no_intensity_is_below_air(seed):
    image, label = augment(*heads(), WINDOW, EVERYTHING, seeded(seed))
    assert torch.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() < 20
    assert set(label.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("seed", range(5))
def test_air_stays_dark(seed):
    loud = replace(EVERYTHING, noise=0.0, rotation=0.0, zoom=0.0, stretch=0.0, shift=0.0, elastic=0.0)
    image, _ = augment(*heads(), (SIZE, SIZE), loud, seeded(seed))
    assert image[..., :6, :6].max() < 0.01


def test_stripping_keeps_the_lesion_and_takes_the_scalp():
    image, label, brain = heads()
    label[:, 20:26, 60:66] = 1  # in the scalp, where no brain is
    left = strip(image, brain[:, None].float(), label.bool(), 1.0, seeded())
    lesion = label[:, None].bool().expand_as(image)
    assert torch.equal(left[lesion], image[lesion])
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    scalp = torch.from_numpy(np.hypot(y / 42, x / 34) > 0.97).expand_as(image) & ~lesion
    assert left[scalp].abs().max() == 0
    inner = torch.from_numpy(np.hypot(y / 42, x / 34) < 0.65).expand_as(image)
    assert torch.equal(left[inner], image[inner])


def test_no_slice_is_stripped_at_probability_0():
    image, label, brain = heads()
    assert torch.equal(strip(image, brain[:, None].float(), label.bool(), 0.0, seeded()), image)


def test_a_lesion_gets_fainter_or_brighter_and_the_brain_around_it_stays():
    image, label, _ = heads(16)
    changed = change_lesion(image, label.bool(), replace(NOTHING, p_faint=1.0), seeded())
    far = torch.nn.functional.max_pool2d(label[:, None].float(), 7, 1, 3).expand_as(image) == 0
    assert torch.equal(changed[far], image[far])
    middles = changed[:, 0, 70, 76]
    assert (middles < 1.5).any()
    assert (middles > 1.65).any()
    assert middles.min() > 1  # still brighter than brain


def test_a_necrotic_core_is_dark_and_within_the_lesion():
    image, label, _ = heads(16)
    changed = change_lesion(image, label.bool(), replace(NOTHING, p_necrosis=1.0), seeded())
    far = torch.nn.functional.max_pool2d(label[:, None].float(), 7, 1, 3).expand_as(image) == 0
    assert torch.equal(changed[far], image[far])
    assert (changed < 0.8 * image).any()
    assert (changed <= image).all()
