from collections import Counter

import pytest

from medtl.training.split import folds, hold_out

# Three sites of 40, 15 and 5 patients, two cases each.
PATIENTS = [
    (f"{site}{n:02d}", site) for site, count in (("A", 40), ("B", 15), ("C", 5)) for n in range(count) for _ in "ab"
]
NAMES = {patient for patient, _ in PATIENTS}


def sites(patients):
    return Counter(patient[0] for patient in patients)


def test_each_site_gives_its_share():
    assert sites(hold_out(PATIENTS, 0.2, 0)) == {"A": 8, "B": 3, "C": 1}


def test_the_order_of_the_files_and_their_number_do_not_matter():
    assert hold_out(PATIENTS[::-1], 0.2, 0) == hold_out(set(PATIENTS), 0.2, 0) == hold_out(PATIENTS, 0.2, 0)
    assert folds(PATIENTS[::-1], 5, 0) == folds(set(PATIENTS), 5, 0) == folds(PATIENTS, 5, 0)


def test_a_split_stays_what_it_was():
    """Frozen: a shipped model's test patients must not become training patients of its successor."""
    listed = [(f"p{n}", "HT" if n < 5 else "DU") for n in range(12)]
    assert hold_out(listed, 0.25, 0) == {"p10", "p2", "p5"}
    assert folds(listed, 3, 0)[0] == {"p1", "p11", "p5", "p7"}


def test_another_seed_holds_out_others():
    assert hold_out(PATIENTS, 0.2, 1) != hold_out(PATIENTS, 0.2, 0)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_patient_is_held_out_by_one_fold(count):
    groups = folds(PATIENTS, count, 0)
    assert len(groups) == count
    assert sorted(patient for group in groups for patient in group) == sorted(NAMES)


def test_folds_are_alike_in_size_and_in_sites():
    groups = folds(PATIENTS, 5, 0)
    assert [len(group) for group in groups] == [12] * 5
    assert all(sites(group) == {"A": 8, "B": 3, "C": 1} for group in groups)
