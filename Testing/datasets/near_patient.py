"""Groups for pictures of unknown patients: pictures that may be of one patient are in one group, on one side."""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BLOCK = 512  # rows of correlations at a time
COARSE, FINE = 1 / 18, 1 / 80  # of the picture's side: what is wider is levelled, what is finer is smoothed away


Place = tuple[str, int]  # batch and bin


@dataclass(frozen=True)
class Pair:
    """Two pictures by their places in a sequence, and how alike they are: -1 to 1."""

    first: int
    second: int
    correlation: float


def joined(keys: Sequence[Iterable[str]]) -> tuple[int, ...]:
    """A group number for each item: items that share a key are in one group, and so on along the chain.

    Groups are numbered as they first come.
    """
    number: dict[str, int] = {}
    rows, columns = [], []
    for item, of_item in enumerate(keys):
        for key in of_item:
            rows.append(item)
            columns.append(len(keys) + number.setdefault(key, len(number)))
    size = len(keys) + len(number)
    places = np.array(rows, np.int32), np.array(columns, np.int32)  # older SciPy takes no other integers
    graph = coo_array((np.ones(len(rows), bool), places), shape=(size, size))
    _, found = connected_components(graph, directed=False)
    renumbered: dict[int, int] = {}
    return tuple(renumbered.setdefault(int(group), len(renumbered)) for group in found[: len(keys)])


def bins_of(sections: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]], size: int) -> dict[int, Place]:
    """The batch and bin of each number: a batch is cut into bins of about `size` numbers, all its planes together.

    `sections` are the first and last numbers of each batch and plane, in the order of the patients. Where a number lies
    in its plane, from start to end, is about where its patient lies in the batch: bin k holds the k-th share of each.
    """
    places: dict[int, Place] = {}
    for batch, planes in sections.items():
        listed = [[n for first, last in runs for n in range(first, last + 1)] for runs in planes.values()]
        count = max(1, round(sum(map(len, listed)) / size))
        for numbers in listed:
            places |= {n: (batch, count * passed // len(numbers)) for passed, n in enumerate(numbers)}
    return places


def around(places: Sequence[Place | None], groups: Sequence[str], held: Collection[str], margin: int) -> frozenset[str]:
    """The groups, none of `held`, that have items within `margin` bins of a held group in one batch.

    `places` and `groups` are those of each item; an item without a place is near none.
    """
    near = {
        (place[0], place[1] + step)
        for place, group in zip(places, groups, strict=True)
        if place and group in held
        for step in range(-margin, margin + 1)
    }
    return frozenset(group for place, group in zip(places, groups, strict=True) if place in near) - frozenset(held)


def folds_in_runs(places: Sequence[Place], groups: Sequence[str], count: int) -> dict[str, int]:
    """A fold, 0 to count - 1, for each group: a batch is parted along its bins, every fold with about as many items.

    A group counts as where its first item in the order of the places is.
    """
    sizes = Counter(groups)
    first: dict[str, Place] = {}
    for place, group in sorted(zip(places, groups, strict=True)):
        first.setdefault(group, place)
    of_batch: dict[str, list[str]] = defaultdict(list)
    for group, (batch, _) in first.items():
        of_batch[batch].append(group)
    fold = {}
    for names in of_batch.values():
        total, passed = sum(sizes[name] for name in names), 0
        for name in names:
            fold[name] = count * (2 * passed + sizes[name]) // (2 * total)
            passed += sizes[name]
    return fold


def hold_out_groups(groups: Sequence[str], kinds: Sequence[str], share: float, seed: int) -> frozenset[str]:
    """Whole groups that together are about `share` of the items of each kind, drawn by seed.

    `groups` and `kinds` are those of each item. A group counts as the kind that most of its items have. What is drawn
    never exceeds the share of a kind by more than half of the last group.
    """
    held = set()
    for kind, wanted in sorted(Counter(kinds).items()):
        sizes = Counter(group for group, main in _of_main_kind(groups, kinds) if main == kind)
        left = share * wanted
        for group in random.Random(f"{seed}").sample(sorted(sizes), len(sizes)):
            if sizes[group] <= 2 * left:
                held.add(group)
                left -= sizes[group]
    return frozenset(held)


def folds_of_groups(groups: Sequence[str], kinds: Sequence[str], count: int, seed: int) -> dict[str, int]:
    """A fold, 0 to count - 1, for each group: of each kind, every fold gets about as many items.

    `groups` and `kinds` are those of each item. The largest groups are dealt first, each to the fold with the fewest
    items of its kind so far.
    """
    fold: dict[str, int] = {}
    order = list(range(count))
    for kind in sorted(set(kinds)):
        sizes = Counter(group for group, main in _of_main_kind(groups, kinds) if main == kind)
        names = random.Random(f"{seed}").sample(sorted(sizes), len(sizes))
        filled = Counter(dict.fromkeys(order, 0))
        for group in sorted(names, key=lambda name: -sizes[name]):
            fold[group] = min(order, key=lambda n: filled[n])
            filled[fold[group]] += sizes[group]
    return fold


def _of_main_kind(groups: Sequence[str], kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Each item's group with the kind that most of the group's items have; of two equals the first by name."""
    of_group: dict[str, Counter[str]] = {}
    for group, kind in zip(groups, kinds, strict=True):
        of_group.setdefault(group, Counter())[kind] += 1
    main = {group: min(count, key=lambda kind: (-count[kind], kind)) for group, count in of_group.items()}
    return [(group, main[group]) for group in groups]


def details(image: np.ndarray) -> np.ndarray:
    """What tells one head from another, float32 (rows, columns): structure by its local contrast, not the head's
    outline and not how bright or sharp the picture is. The corners, which hold no head, are 0."""
    side = max(image.shape)
    structure = image.astype(np.float32) - ndimage.gaussian_filter(image.astype(np.float32), COARSE * side)
    around = np.sqrt(ndimage.gaussian_filter(structure**2, 1.5 * COARSE * side))
    level = 0.02 * float(np.ptp(image)) + 1e-6
    rows, columns = (np.linspace(-1, 1, n) for n in image.shape)
    inside = rows[:, None] ** 2 + columns**2 < 0.9
    return np.asarray(ndimage.gaussian_filter(structure / (around + level), FINE * side) * inside, dtype=np.float32)


def fingerprints(images: Iterable[np.ndarray]) -> np.ndarray:
    """Pictures of one size as rows, float32 (n, pixels), whose products are correlations (-1 to 1); a flat one is 0."""
    rows = np.stack([image.astype(np.float32).ravel() for image in images])
    rows -= rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))


def versions_of(images: Sequence[np.ndarray], turns: Sequence[float], mirrored: bool) -> list[np.ndarray]:
    """Fingerprints of the pictures as they are, turned by each of `turns` degrees and, if wanted, all that mirrored."""
    turned = [images] + [[ndimage.rotate(i, turn, reshape=False, order=1) for i in images] for turn in turns]
    found = [fingerprints(of_turn) for of_turn in turned]
    if mirrored:
        found += [fingerprints([image[:, ::-1] for image in of_turn]) for of_turn in turned]
    return found


def closest(prints: np.ndarray, others: Sequence[np.ndarray]) -> list[Pair]:
    """For each row the row of `others` that is most alike; `others` are the versions of one set of pictures."""
    best = []
    for start in range(0, len(prints), BLOCK):
        products = _best_product(prints[start : start + BLOCK], others)
        found = products.argmax(axis=1)
        best += [Pair(start + n, int(m), float(products[n, m])) for n, m in enumerate(found)]
    return best


def closest_groups(prints: np.ndarray, versions: Sequence[np.ndarray], groups: Sequence[int]) -> list[Pair]:
    """For every two groups the two rows that are most alike, best first; each pair stands there once.

    `versions` are those of the same pictures; (n, pixels) each.
    """
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(numbers.max() + 1))
    pairs = []
    for group, start in enumerate(starts):
        stop = starts[group + 1] if group + 1 < len(starts) else len(order)
        rest = order[stop:]
        if not len(rest):
            break
        mine = order[start:stop]
        products = _best_product(prints[mine], [version[rest] for version in versions])
        rows, best = products.argmax(axis=0), products.max(axis=0)
        for first, last in _stretches(numbers[rest]):
            column = first + int(best[first:last].argmax())
            pairs.append(Pair(int(mine[rows[column]]), int(rest[column]), float(best[column])))
    return sorted(pairs, key=lambda pair: -pair.correlation)


def _best_product(prints: np.ndarray, versions: Sequence[np.ndarray]) -> np.ndarray:
    products = prints @ versions[0].T
    for version in versions[1:]:
        np.maximum(products, prints @ version.T, out=products)
    return np.asarray(products)


def _stretches(numbers: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last place of each stretch of equal numbers."""
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    return list(pairwise(edges))
