"""Lesions of two dates: matched as a slow twin matches them, voxel by voxel; what became of them is said by date."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import rotation

from medtl.measurement import components
from medtl.trend.matching import REACH_MM, Part, groups, links
from medtl.volume import Geometry

ANGLES, MM = st.floats(-0.5, 0.5), st.floats(-6, 6)


def movement(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(angles), shift
    return matrix


def parts_of(array: np.ndarray, geometry: Geometry, to_first: np.ndarray) -> list[Part]:
    return [Part(indices, geometry, to_first) for indices in components(array)]


@st.composite
def lesions(draw: st.DrawFn) -> list[Part]:
    """A few boxes on a small grid of any spacing and direction, moved a little."""
    spacing = draw(st.tuples(*(st.sampled_from([0.8, 1.0, 2.5, 5.0]) for _ in range(3))))
    flips = np.array(draw(st.tuples(*(st.sampled_from([-1.0, 1.0]) for _ in range(3)))))
    axes = rotation(draw(st.tuples(ANGLES, ANGLES, ANGLES))) * flips
    size = (12, 11, 10)
    origin = -axes @ (np.array(spacing) * (np.array(size) - 1) / 2)
    geometry = Geometry(size, spacing, tuple(origin), tuple(axes.ravel()))
    array = np.zeros(geometry.shape, bool)
    for _ in range(draw(st.integers(0, 4))):
        z, y, x = (draw(st.integers(0, n - 1)) for n in geometry.shape)
        depth, height, width = (draw(st.integers(1, 4)) for _ in range(3))
        array[z : z + depth, y : y + height, x : x + width] = True
    return parts_of(array, geometry, movement(draw(st.tuples(ANGLES, ANGLES, ANGLES)), draw(st.tuples(MM, MM, MM))))


def slow_links(before: list[Part], after: list[Part]) -> list[tuple[int, int]]:
    """The twin: every voxel's centre is asked for the voxel of the other lesion that it lies in, and all distances
    are compared."""

    def points(part: Part) -> list[np.ndarray]:
        whole = part.to_first @ part.geometry.affine
        return [(whole @ [*index, 1.0])[:3] for index in part.indices]

    def share(one: Part, other: Part) -> float:
        back = np.linalg.inv(other.to_first @ other.geometry.affine)
        voxels = {tuple(int(n) for n in index) for index in other.indices}
        hits = [tuple(int(n) for n in np.rint((back @ [*p, 1.0])[:3])) in voxels for p in points(one)]
        return sum(hits) / len(hits)

    pairs = list(itertools.product(range(len(before)), range(len(after))))
    found = [(i, j) for i, j in pairs if max(share(before[i], after[j]), share(after[j], before[i])) >= 0.1]
    left = [(i, j) for i, j in pairs if i not in {a for a, _ in found} and j not in {b for _, b in found}]
    gap = {(i, j): min(np.linalg.norm(p - q) for p in points(before[i]) for q in points(after[j])) for i, j in left}
    reach = {(i, j): REACH_MM + max(*before[i].geometry.spacing, *after[j].geometry.spacing) / 2 for i, j in left}
    for i, j in left:
        others = [gap[pair] for pair in left if pair != (i, j) and (pair[0] == i or pair[1] == j)]
        if gap[i, j] <= reach[i, j] and all(gap[i, j] <= other for other in others):
            found.append((i, j))
    return sorted(found)


@settings(max_examples=150, deadline=None)
@given(lesions(), lesions())
def test_lesions_are_matched_as_the_slow_twin_matches_them(before, after):
    assert links(before, after) == slow_links(before, after)
    assert sorted((j, i) for i, j in links(after, before)) == links(before, after)  # both ways alike


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_groups_are_what_hangs_together(data):
    """The twin walks from lesion to lesion."""
    counts = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    joints = [
        data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
        for pairs in (list(itertools.product(range(a), range(b))) for a, b in itertools.pairwise(counts))
    ]
    found = groups(counts, joints)
    seen = [(date, number) for group in found for date, numbers in enumerate(group.members) for number in numbers]
    assert sorted(seen) == [(date, number) for date, count in enumerate(counts) for number in range(count)]
    neighbours: dict = {node: set() for node in seen}
    for date, pairs in enumerate(joints):
        for i, j in pairs:
            neighbours[date, i].add((date + 1, j))
            neighbours[date + 1, j].add((date, i))
    for group in found:
        nodes = {(date, number) for date, numbers in enumerate(group.members) for number in numbers}
        reached, todo = set(), [min(nodes)]
        while todo:
            node = todo.pop()
            if node not in reached:
                reached.add(node)
                todo += neighbours[node]
        assert reached == nodes
    assert [min((d, n[0]) for d, n in enumerate(g.members) if n) for g in found] == sorted(
        min((d, n[0]) for d, n in enumerate(g.members) if n) for g in found
    )


GRID = Geometry((40, 12, 12), (1.0, 1.0, 1.0))


def rods(*spans: tuple[int, int]) -> list[Part]:
    """Lesions that reach from one x index to another."""
    array = np.zeros(GRID.shape, bool)
    for start, stop in spans:
        array[4:8, 4:8, start:stop] = True
    return parts_of(array, GRID, np.eye(4))


@pytest.mark.parametrize(
    ("dates", "events"),
    [
        ([rods((2, 8)), rods((2, 9))], [[(), ()]]),
        ([rods((2, 8)), rods()], [[(), ("vanished",)]]),
        ([rods(), rods((2, 8))], [[(), ("new",)]]),
        ([rods((2, 8), (10, 15)), rods((2, 15))], [[(), ("merged",)]]),
        ([rods((2, 15)), rods((2, 8), (10, 15))], [[(), ("split",)]]),
        ([rods((2, 8)), rods((2, 8), (30, 38))], [[(), ()], [(), ("new",)]]),
        ([rods((2, 8)), rods(), rods((2, 8))], [[(), ("vanished",), ()], [(), (), ("new",)]]),
        ([rods((2, 15)), rods((2, 6), (10, 15)), rods((2, 6))], [[(), ("split",), ("vanished",)]]),
        ([rods((2, 8)), rods((9, 12))], [[(), ()]]),  # no overlap, but nearer than a registration is right
        ([rods((2, 8)), rods((14, 18))], [[(), ("vanished",)], [(), ("new",)]]),
    ],
    ids=["same", "vanished", "new", "merged", "split", "a second", "came back", "half", "beside", "elsewhere"],
)
def test_what_became_of_the_lesions(dates, events):
    found = groups([len(each) for each in dates], [links(a, b) for a, b in itertools.pairwise(dates)])
    assert [[tuple(each) for each in group.events] for group in found] == events


def test_two_near_lesions_are_not_mixed_up():
    pair = rods((2, 10), (12, 20))
    assert links(pair, pair) == [(0, 0), (1, 1)]
