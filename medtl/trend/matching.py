"""Lesions of two dates in one frame: which of them are the same, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from ..volume import Geometry

OVERLAP = 0.1  # of the voxels of one lesion that must lie in the other
REACH_MM = 3.0  # between two lesions without any overlap: what a registration may be wrong


@dataclass(frozen=True)
class Part:
    """A lesion at one date: the `indices` (x, y, z) of its voxels, int (n, 3), on its grid. `to_first`, float64 (4, 4),
    brings a point of this grid's frame (LPS mm) into that of the first date."""

    indices: np.ndarray
    geometry: Geometry
    to_first: np.ndarray

    @cached_property
    def points(self) -> np.ndarray:
        """The centres of its voxels in the frame of the first date, LPS mm (n, 3)."""
        matrix = self.to_first @ self.geometry.affine
        places: np.ndarray = self.indices @ matrix[:3, :3].T + matrix[:3, 3]
        return places

    @cached_property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest coordinates of these centres, mm (3,) each."""
        return self.points.min(axis=0), self.points.max(axis=0)


def links(before: Sequence[Part], after: Sequence[Part]) -> list[tuple[int, int]]:
    """The pairs (number before, number after), from 0, of lesions that are the same or part of the same.

    Two lesions are, where a tenth or more of the voxel centres of either lies in the other. Of those that are left on
    both sides, the two that are nearest each other are, where some of their voxel centres lie within `REACH_MM` and
    half the longest side of a voxel: a small lesion and its place after registration need not overlap.
    """
    near = {
        (i, j): _reach(before[i], after[j])
        for i, j in np.ndindex(len(before), len(after))
        if _boxes_apart(before[i], after[j]) <= _reach(before[i], after[j])
    }
    found = [(i, j) for i, j in near if _overlap(before[i], after[j])]
    old, new = {i for i, _ in found}, {j for _, j in found}
    gaps = {(i, j): _gap(before[i], after[j]) for i, j in near if i not in old and j not in new}
    for (i, j), gap in gaps.items():
        rivals = [other for (a, b), other in gaps.items() if a == i or b == j]
        if gap <= min(near[i, j], *rivals):
            found.append((i, j))
    return sorted(found)


def _reach(one: Part, other: Part) -> float:
    return REACH_MM + max(*one.geometry.spacing, *other.geometry.spacing) / 2


def _boxes_apart(one: Part, other: Part) -> float:
    """The distance between the boxes of two lesions, mm: no more than that between the lesions."""
    gaps = np.maximum(one.box[0] - other.box[1], other.box[0] - one.box[1])
    return float(np.linalg.norm(np.maximum(gaps, 0.0)))


def _overlap(one: Part, other: Part) -> bool:
    return max(_share_inside(one, other), _share_inside(other, one)) >= OVERLAP


def _share_inside(one: Part, other: Part) -> float:
    """The share of the voxel centres of one lesion that lie in a voxel of the other."""
    matrix = np.linalg.inv(other.to_first @ other.geometry.affine)
    low = other.indices.min(axis=0)
    inside = np.zeros(np.ptp(other.indices, axis=0) + 1, bool)
    inside[tuple((other.indices - low).T)] = True
    indices = np.rint(one.points @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.int64) - low
    within = ((indices >= 0) & (indices < inside.shape)).all(axis=1)
    return float(inside[tuple(indices[within].T)].sum() / len(indices))


def _gap(one: Part, other: Part) -> float:
    """The least distance between voxel centres of two lesions, mm."""
    return float(cKDTree(one.points).query(other.points)[0].min())


@dataclass(frozen=True)
class Group:
    """Lesions of all dates that belong together, by date their numbers from 0; `events` says by date what became of
    them since the date before: new, vanished, merged, split."""

    members: tuple[tuple[int, ...], ...]
    events: tuple[tuple[str, ...], ...]


def groups(counts: Sequence[int], joints: Sequence[Sequence[tuple[int, int]]]) -> list[Group]:
    """The groups, from how many lesions each date has and the links from each date to the next.

    A group is what is linked with each other over all dates. Groups come in the order of their first date, then of the
    number of their first lesion.
    """
    nodes = [(date, number) for date, count in enumerate(counts) for number in range(count)]
    edges = [((date, i), (date + 1, j)) for date, pairs in enumerate(joints) for i, j in pairs]
    group_of = {node: node for node in nodes}
    for one, other in edges:  # the earliest lesion stands for its group
        first, second = sorted((group_of[one], group_of[other]))
        group_of = {node: first if own == second else own for node, own in group_of.items()}
    found = []
    for leader in sorted(set(group_of.values())):
        members = [tuple(n for n in range(count) if group_of[date, n] == leader) for date, count in enumerate(counts)]
        events: list[tuple[str, ...]] = [()]
        for date, pairs in enumerate(joints):
            own = [(i, j) for i, j in pairs if i in members[date]]
            events.append(_events(members[date], members[date + 1], own))
        found.append(Group(tuple(members), tuple(events)))
    return found


def _events(before: Sequence[int], after: Sequence[int], pairs: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    forward = [sum(i == one for i, _ in pairs) for one in before]
    backward = [sum(j == one for _, j in pairs) for one in after]
    happened = {
        "new": 0 in backward,
        "vanished": 0 in forward,
        "merged": max(backward, default=0) > 1,
        "split": max(forward, default=0) > 1,
    }
    return tuple(name for name, yes in happened.items() if yes)
