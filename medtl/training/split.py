"""Training and test patients: split by patient, stratified by site, the same for the same list of patients."""

import random
from collections import defaultdict
from collections.abc import Iterable


def hold_out(patients: Iterable[tuple[str, str]], share: float, seed: int) -> frozenset[str]:
    """The patients held out, `share` of each site's (rounded), drawn by seed from (patient, site) pairs."""
    held: list[str] = []
    for _, members in by_site(patients):
        members = random.Random(f"{seed}").sample(members, len(members))
        held += members[: round(share * len(members))]
    return frozenset(held)


def folds(patients: Iterable[tuple[str, str]], count: int, seed: int) -> tuple[frozenset[str], ...]:
    """`count` disjoint groups that together are all patients, each site spread evenly over them."""
    groups: list[list[str]] = [[] for _ in range(count)]
    turn = 0
    for _, members in by_site(patients):
        for patient in random.Random(f"{seed}").sample(members, len(members)):
            groups[turn % count].append(patient)
            turn += 1
    return tuple(frozenset(group) for group in groups)


def by_site(patients: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Sites with their patients, both in alphabetical order, so that no file order enters a draw."""
    sites: dict[str, set[str]] = defaultdict(set)
    for patient, site in patients:
        sites[site].add(patient)
    return [(site, sorted(members)) for site, members in sorted(sites.items())]
