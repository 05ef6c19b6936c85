import importlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from near_patient import (
    around,
    bins_of,
    closest,
    closest_groups,
    details,
    fingerprints,
    folds_in_runs,
    folds_of_groups,
    hold_out_groups,
    joined,
    versions_of,
)
from PIL import Image

DATASETS = Path(__file__).resolve().parents[2] / "datasets"

# 60 groups of 1 to 9 pictures of two kinds; "big" holds a third of the kind a.
GROUPS = [f"g{n:02d}" for n in range(60) for _ in range(1 + n * 7 % 9)] + ["big"] * 80
KINDS = ["a" if g == "big" or int(g[1:]) % 2 else "b" for g in GROUPS]
ITEMS = list(zip(GROUPS, KINDS, strict=True))


def slowly_joined(keys):
    """Groups merged one key after another, until none changes."""
    groups = [{n} for n in range(len(keys))]
    for key in {key for of_item in keys for key in of_item}:
        together = [group for group in groups if any(key in keys[n] for n in group)]
        groups = [group for group in groups if group not in together] + [set().union(*together)]
    return {frozenset(group) for group in groups}


def as_sets(numbers):
    return {frozenset(n for n, number in enumerate(numbers) if number == one) for one in set(numbers)}


def test_items_that_share_a_key_are_one_group_along_the_chain():
    assert joined([["a"], ["b"], ["b", "c"], ["c"], []]) == (0, 1, 1, 1, 2)
    assert joined([]) == ()


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_those_of_the_slow_way(seed):
    rng = np.random.default_rng(seed)
    keys = [[f"k{k}" for k in rng.integers(0, 60, rng.integers(0, 4))] for _ in range(50)]
    assert as_sets(joined(keys)) == slowly_joined(keys)


# Ten patients, of whom a plane has one, two or three slices each; the second batch shows one plane only.
SECTIONS = {
    "a": {"axial": ((1, 10),), "coronal": ((31, 40), (11, 20)), "sagittal": ((41, 70),)},
    "b": {"axial": ((80, 84),)},
}


def test_a_bin_holds_the_same_patients_in_each_plane():
    patient = {1 + n: n for n in range(10)}
    patient |= {number: n // 2 for n, number in enumerate([*range(31, 41), *range(11, 21)])}
    patient |= {41 + n: n // 3 for n in range(30)}
    places = bins_of(SECTIONS, 12)
    assert {places[number] for number in range(80, 85)} == {("b", 0)}
    assert {place[1] for place in places.values() if place[0] == "a"} == set(range(5))
    assert all(places[number] == ("a", patient[number] // 2) for number in patient)
    assert len(places) == len(patient) + 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0, 1, 3])
def test_what_is_around_a_held_group_is_that_of_the_slow_way(seed, margin):
    rng = np.random.default_rng(seed)
    places = [None if n % 9 == 0 else ("ab"[n % 2], int(rng.integers(12))) for n in range(40)]
    groups = [f"g{k}" for k in rng.integers(0, 20, 40)]
    held = {"g1", "g7"}
    expected = set()
    for n, m in np.ndindex(40, 40):
        if groups[n] in held and groups[m] not in held and places[n] and places[m]:
            (batch, number), (other, next_number) = places[n], places[m]
            if batch == other and abs(number - next_number) <= margin:
                expected.add(groups[m])
    assert around(places, groups, held, margin) == expected


def test_folds_are_runs_of_bins_with_as_many_pictures():
    places = [(batch, n // 3) for batch in "ba" for n in range(60)]
    groups = [f"{batch}{number:02d}" for batch, number in places]
    folds = folds_in_runs(places, groups, 4)
    for batch in "ab":
        along = [folds[f"{batch}{number:02d}"] for number in range(20)]
        assert along == sorted(along)
        assert Counter(along) == dict.fromkeys(range(4), 5)


def test_a_group_that_recurs_has_the_fold_of_its_first_bin():
    places = [("a", n) for n in range(10)]
    groups = ["far" if n in (0, 9) else f"g{n}" for n in range(10)]
    folds = folds_in_runs(places, groups, 2)
    assert folds["far"] == folds["g1"] == 0
    assert folds["g8"] == 1


def test_the_brain_slices_have_a_place_each_and_no_test_slice_is_next_to_a_training_slice(monkeypatch):
    monkeypatch.syspath_prepend(str(DATASETS))
    brain_cases = importlib.import_module("brain_cases")
    places = bins_of(brain_cases.SECTIONS, brain_cases.BIN)
    listed = [pair for planes in brain_cases.SECTIONS.values() for runs in planes.values() for pair in runs]
    assert sorted(n for first, last in listed for n in range(first, last + 1)) == list(range(1, 3065))
    slices = [
        brain_cases.Picture(Path(f"{n}.png"), "glioma", "glioma", False, f"{n}", f"{n}", n, False)
        for n in range(1, 3065)
    ]
    groups = [str(places[p.source_index]) for p in slices]
    side = dict(zip(range(1, 3065), brain_cases.near_patient_sides(slices, groups, 0), strict=True))
    assert {side[n] for n in range(1841, 3063)} == {"train"}
    for first, last in listed:
        assert not any(
            {side[n], side[m]} == {"train", "test"} for n in range(first, last) for m in range(n, min(n + 6, last + 1))
        )
    assert set(side.values()) == set(brain_cases.SIDES)


def counts_of(chosen):
    return Counter(kind for group, kind in ITEMS if group in chosen)


def test_each_kind_gives_its_share_in_whole_groups():
    held, all_of = counts_of(hold_out_groups(GROUPS, KINDS, 0.2, 0)), Counter(KINDS)
    assert all(0.17 < held[kind] / all_of[kind] < 0.23 for kind in "ab")


def test_no_huge_group_is_drawn():
    assert not any("big" in hold_out_groups(GROUPS, KINDS, 0.1, seed) for seed in range(20))


def test_a_draw_depends_on_the_seed_and_not_on_the_order_of_the_pictures():
    groups, kinds = zip(*ITEMS[::-1], strict=True)
    assert hold_out_groups(groups, kinds, 0.2, 3) == hold_out_groups(GROUPS, KINDS, 0.2, 3)
    assert folds_of_groups(groups, kinds, 5, 3) == folds_of_groups(GROUPS, KINDS, 5, 3)
    assert hold_out_groups(GROUPS, KINDS, 0.2, 4) != hold_out_groups(GROUPS, KINDS, 0.2, 3)


def test_a_draw_stays_what_it_was():
    """Frozen: a shipped model's test pictures must not become training pictures of its successor."""
    groups, kinds = ["p", "p", "q", "r", "r", "s", "t"], ["a", "a", "a", "a", "a", "b", "b"]
    assert hold_out_groups(groups, kinds, 0.4, 0) == {"p", "q", "t"}
    assert folds_of_groups(groups, kinds, 2, 0) == {"p": 0, "r": 1, "q": 0, "s": 1, "t": 0}


def test_a_group_of_two_kinds_counts_as_the_one_it_has_most_of():
    groups, kinds = ["x"] * 3 + ["y"] * 3, ["a", "a", "b", "b", "b", "b"]
    assert set(folds_of_groups(groups, kinds, 2, 0)) == {"x", "y"}
    assert hold_out_groups(groups, kinds, 1.0, 0) == {"x", "y"}


def test_every_fold_has_as_many_pictures_of_a_kind():
    folds = folds_of_groups(GROUPS, KINDS, 3, 0)
    sizes = Counter((folds[group], kind) for group, kind in ITEMS if group != "big")
    assert set(folds) == set(GROUPS)
    assert max(sizes[f, "b"] for f in range(3)) - min(sizes[f, "b"] for f in range(3)) <= 9
    with_big = Counter(folds[group] for group, kind in ITEMS if kind == "a")
    assert max(with_big.values()) <= 80


def heads(count, seed=0):
    """Pictures of as many different heads: blots on an oval."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    oval = (y**2 + x**2 < 0.8).astype(float)
    drawn = []
    for _ in range(count):
        blots = [
            rng.normal() * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 0.01) for a, b in rng.uniform(-0.7, 0.7, (40, 2))
        ]
        drawn.append(oval * (100 + 30 * np.sum(blots, axis=0)))
    return drawn


def prints_of(pictures):
    return fingerprints([details(picture) for picture in pictures])


def test_products_of_fingerprints_are_correlations():
    pictures = heads(4)
    prints = fingerprints([*pictures, np.full((64, 64), 7.0)])
    expected = np.corrcoef([p.ravel() for p in pictures])
    np.testing.assert_allclose((prints @ prints.T)[:4, :4], expected, atol=1e-5)
    assert not prints[4].any()


def test_the_same_head_is_known_brighter_mirrored_turned_and_other_heads_are_not():
    pictures = heads(6)
    copies = [np.sqrt(np.maximum(picture, 0))[:, ::-1] for picture in pictures]
    versions = versions_of([details(copy) for copy in copies], (-4.0, 4.0), mirrored=True)
    found = closest(prints_of(pictures), versions)
    assert [(pair.first, pair.second) for pair in found] == [(n, n) for n in range(6)]
    assert min(pair.correlation for pair in found) > 0.9
    others = closest(prints_of(pictures), [prints_of(heads(6, seed=1))])
    assert max(pair.correlation for pair in others) < 0.8


def test_a_turned_head_is_found_by_turning():
    pictures = heads(3)
    upright = [details(p) for p in pictures]
    turned = versions_of(upright, (4.0,), mirrored=False)[1]
    with_turns, without = (versions_of(upright, turns, mirrored=False) for turns in ((4.0,), ()))
    assert min(pair.correlation for pair in closest(turned, with_turns)) > 0.99
    assert max(pair.correlation for pair in closest(turned, without)) < 0.95


def test_the_closest_pair_of_every_two_groups_is_that_of_the_slow_way():
    pictures = heads(12)
    prints = prints_of(pictures)
    groups = [3, 0, 0, 1, 2, 2, 2, 1, 3, 0, 4, 4]
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    for n in range(12):
        for m in range(12):
            if groups[n] < groups[m]:
                pair = (groups[n], groups[m])
                best[pair] = max(best.get(pair, (-2.0, 0, 0)), (float(prints[n] @ prints[m]), n, m))
    found = closest_groups(prints, [prints], groups)
    assert {(p.first, p.second) for p in found} == {(n, m) for _, n, m in best.values()}
    assert [p.correlation for p in found] == sorted((p.correlation for p in found), reverse=True)


def test_the_masks_lie_where_the_tumours_of_their_pictures_are(tmp_path, monkeypatch):
    """A picture that shows its tumour as a bright box, the same mirrored, and one without an outline."""
    monkeypatch.syspath_prepend(str(DATASETS))
    brain_cases, outlines = importlib.import_module("brain_cases"), importlib.import_module("brain_outlines")
    box = np.zeros((512, 512), np.uint8)
    box[100:201, 320:441] = 255
    border = np.array([[320, 100], [440, 100], [440, 200], [320, 200]], float)
    seen = {"plain": box, "mirrored": box[:, ::-1], "none": np.zeros_like(box)}
    for name, pixels in seen.items():
        Image.fromarray(pixels).resize((256, 256), Image.Resampling.BOX).save(tmp_path / f"{name}.jpg", quality=95)
    pictures = [
        brain_cases.Picture(tmp_path / f"{name}.jpg", "glioma", "glioma", False, name, name, index, name == "mirrored")
        for name, index in (("plain", 7), ("mirrored", 7), ("none", None))
    ]
    found = brain_cases.write_masks(pictures, {7: outlines.Outline("glioma", border)}, tmp_path / "masks")
    assert found == ["masks/plain.png", "masks/mirrored.png", ""]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["mirrored.png", "plain.png"]
    for picture, file in zip(pictures, found[:2]):
        mask = np.asarray(Image.open(tmp_path / file)) > 0
        shown = np.asarray(Image.open(picture.path)) > 127
        assert mask.shape == (256, 256)
        assert (mask & shown).sum() / (mask | shown).sum() > 0.97
