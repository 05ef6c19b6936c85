"""Radiomics, deep features and both on the 28 patients of `kidney-ct-slices`: a demonstration; for `renal.py`.

A patient is one row: the mean over his slices that show the tumour, so a patient with 18 slices counts as one with a
single slice. Each part is a ridge logistic regression on the leading principal components of its features. Radiomics
and both are the mean log-odds of the parts that a patient has; no further fit joins them.
"""

import csv
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from renal_masks import unpacked
from tables import header, interval, line

from medtl.evaluation.reliability import auc
from medtl.training.recipes.renal_malignancy import FEATURES, VALUES
from medtl.training.renal import Table, fit

SLICES = "kidney-ct-slices"
FOLDS = 4  # of 28 patients, each with one benign
REPEATS = 10
COMPONENTS = 3
DRAWS = 200
BIN_HU = 25.0
SIDE = 224
MARGIN = 1.25  # of the crop around the tumour
TEXTURES = ("statistics", "cm", "rlm")  # families of mirp


def demonstration(data: Path, work: Path, table: Table, encoder_weights: Path | None) -> list[str]:
    """The table of the parts and what they are joined to."""
    folder = unpacked(data, SLICES, work)
    malignant, slices = slices_of(data / SLICES / "index.csv", folder)
    patients = sorted(malignant)
    outcome = np.array([malignant[patient] for patient in patients])
    parts: dict[str, np.ndarray] = {}
    parts["texture"] = by_patient(patients, slices, textures)
    if encoder_weights is not None:
        extract = deep_features(encoder_weights)
        parts["deep"] = by_patient(patients, slices, extract)
    shape = dict(zip(table.cases, table.only(*FEATURES).values))
    parts["shape"] = np.array([shape.get(patient, np.full(len(FEATURES), np.nan)) for patient in patients])
    odds = left_out(parts, outcome, np.array(patients), table.only(*FEATURES))
    rows = [("shape, from the masks of whole tumours", odds["shape"]), ("texture", odds["texture"])]
    rows.append(("**radiomics**: shape and texture", joined(odds["shape"], odds["texture"])))
    if "deep" in odds:
        rows.append(("**deep**", odds["deep"]))
        rows.append(("**both**: radiomics and deep", joined(odds["shape"], odds["texture"], odds["deep"])))
    lines = [
        f"## Radiomics, deep features, both ({len(patients)} patients, {np.count_nonzero(~outcome)} benign): "
        "a demonstration",
        "",
        *header(["features", "patients that have them (benign)", "AUC", "with benign patients drawn at random"]),
    ]
    chance = {
        f"{mark}{name}{mark}": by_chance(parts[name])
        for name, mark in (("texture", ""), ("deep", "**"))
        if name in parts
    }
    for name, said in rows:
        there = ~np.isnan(said[0])
        one = figure(outcome[there], said[:, there])
        count = f"{there.sum()} ({np.count_nonzero(~outcome[there])})"
        lines.append(line([name, count, interval(one), chance.get(name, "")]))
    lines += ["", "So few benign patients that no row is better than another."]
    return lines


def slices_of(index: Path, folder: Path) -> tuple[dict[str, bool], dict[str, list[tuple[Path, Path]]]]:
    """Malignant or not by patient, and the pairs of image and label of the slices that show his tumour."""
    malignant: dict[str, bool] = {}
    slices: dict[str, list[tuple[Path, Path]]] = {}
    with index.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] != "label":
                continue
            malignant[row["patient"]] = row["malignant"] == "True"
            pair = folder / f"{row['case']}_image.nrrd", folder / f"{row['case']}_label.nrrd"
            if np.isin(sitk.GetArrayFromImage(sitk.ReadImage(str(pair[1]))), VALUES).any():
                slices.setdefault(row["patient"], []).append(pair)
    return malignant, slices


def by_patient(
    patients: list[str],
    slices: dict[str, list[tuple[Path, Path]]],
    extract: Callable[[sitk.Image, np.ndarray], np.ndarray],
) -> np.ndarray:
    """The features (patients, m) of the tumour, the mean over a patient's slices; NaN where none shows it."""
    found = {}
    for patient, pairs in slices.items():
        rows = []
        for image, label in pairs:
            mask = np.isin(sitk.GetArrayFromImage(sitk.ReadImage(str(label))), VALUES)
            rows.append(extract(sitk.ReadImage(str(image)), mask))
        found[patient] = np.mean(rows, axis=0)
    empty = np.full(len(next(iter(found.values()))), np.nan)
    return np.array([found.get(patient, empty) for patient in patients])


def textures(image: sitk.Image, mask: np.ndarray) -> np.ndarray:
    """Statistics, co-occurrence and run-length features of the tumour in a slice of HU, by mirp (IBSI): 1 mm pixels,
    25 HU a bin."""
    from mirp import extract_features

    logging.disable(logging.WARNING)
    region = sitk.GetImageFromArray(mask.astype(np.uint8))
    region.CopyInformation(image)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = [str(Path(name) / file) for file in ("image.nrrd", "mask.nrrd")]
        for one, path in zip((image, region), paths):
            sitk.WriteImage(one, path)
        (found,) = extract_features(
            image=paths[0],
            mask=paths[1],
            image_modality="ct",
            by_slice=True,
            new_spacing=1.0,
            resegmentation_intensity_range=[0.0, 255.0],
            base_feature_families=list(TEXTURES),
            base_discretisation_method="fixed_bin_size",
            base_discretisation_bin_width=BIN_HU,
        )
    names = [name for name in found.columns if name.split("_")[0] in ("stat", "cm", "rlm")]
    return np.nan_to_num(found[names].to_numpy(dtype=np.float64).mean(axis=0))


def deep_features(weights: Path) -> Callable[[sitk.Image, np.ndarray], np.ndarray]:
    """The mean of EfficientNet-Lite0's last feature map (ImageNet weights) over a square around the tumour, 0 to 200
    HU."""
    import timm
    import torch

    from medtl.model.timm_networks import load_encoder

    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    load_encoder(network, weights)

    def extract(image: sitk.Image, mask: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(sitk.GetArrayFromImage(image)[0].astype(np.float32)).clamp(0, 200) / 100 - 1
        rows, columns = np.nonzero(mask[0])
        middle = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
        half = int(np.ceil(MARGIN * max(np.ptp(rows), np.ptp(columns)) / 2)) + 4
        padded = torch.nn.functional.pad(picture[None, None], (half,) * 4, value=-1.0)
        square = padded[:, :, middle[0] : middle[0] + 2 * half, middle[1] : middle[1] + 2 * half]
        square = torch.nn.functional.interpolate(square, (SIDE, SIDE), mode="bilinear", antialias=True)
        with torch.inference_mode():
            return network(square.expand(-1, 3, -1, -1))[0].double().numpy()

    return extract


def left_out(
    parts: dict[str, np.ndarray], outcome: np.ndarray, patients: np.ndarray, table: Table | None
) -> dict[str, np.ndarray]:
    """Log-odds (repeats, n) of each part, over those of the share of malignant cases, from models without the patient;
    NaN where he lacks the part.

    The shape model is fitted to all cases of `kidney-ct-masks` but those of the fold's patients; the others, with
    balanced classes, to the patients of the slices.
    """
    from sklearn.model_selection import StratifiedKFold

    odds = {name: np.full((REPEATS, len(outcome)), np.nan) for name in parts}
    for repeat in range(REPEATS):
        splits = StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(outcome, outcome)
        for train, test in splits:
            for name, values in parts.items():
                has = ~np.isnan(values).any(axis=1)
                rows = test[has[test]]
                if name == "shape" and table is not None:
                    others = ~np.isin(table.patients, patients[test])
                    model = fit(table.values[others], table.malignant[others], table.patients[others], repeat)
                    share = table.malignant[others].mean()
                    odds[name][repeat, rows] = log_odds(model.probability(values[rows])) - log_odds(share)
                    continue
                seen = train[has[train]]
                piped = small_model(len(seen)).fit(values[seen], outcome[seen])
                odds[name][repeat, rows] = log_odds(piped.predict_proba(values[rows])[:, 1])
    return odds


def by_chance(values: np.ndarray) -> str:
    """Mean and the middle 95 % of the AUC that the same folds and models give where the benign patients, as many, are
    drawn at random: what the procedure says of features that know nothing."""
    known = ~np.isnan(values).any(axis=1)
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        outcome = np.ones(len(values), bool)
        outcome[rng.choice(np.flatnonzero(known), 3, replace=False)] = False
        outcome[rng.choice(np.flatnonzero(~known))] = False
        names = np.arange(len(values)).astype(str)
        odds = left_out({"part": values}, outcome, names, None)["part"]
        one_fold = np.zeros(known.sum(), int)
        found.append(np.mean([auc(outcome[known], row[known], one_fold) for row in odds]))
    low, high = np.percentile(found, (2.5, 97.5))
    return f"{np.mean(found):.3f} ({low:.3f} to {high:.3f})"


def small_model(count: int) -> Any:
    """Scaling, principal components and ridge logistic regression, for few patients and many features."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    components = PCA(min(COMPONENTS, count - 1), whiten=True, random_state=0)
    return make_pipeline(StandardScaler(), components, LogisticRegression(C=0.1, class_weight="balanced"))


def log_odds(probability: Any) -> Any:
    """The logarithm of the odds."""
    return np.log(probability / (1 - probability))


def joined(*parts: np.ndarray) -> np.ndarray:
    """The mean log-odds of the parts that a patient has."""
    table = np.array(parts)
    known = ~np.isnan(table)
    return np.where(known, table, 0.0).sum(axis=0) / known.sum(axis=0)


def figure(outcome: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """AUC, the mean over repeats, with its 95 % interval; resamples keep the numbers of both classes, for with so few
    benign patients many others would have none."""
    one_fold = np.zeros(len(outcome), int)  # each fold has one benign patient: what they train on is alike

    def area(rows: np.ndarray) -> float:
        return float(np.mean([auc(outcome[rows], odds[rows], one_fold) for odds in said]))

    rng, found = np.random.default_rng(0), []
    groups = [np.flatnonzero(outcome == value) for value in (False, True)]
    for _ in range(1000):
        found.append(area(np.concatenate([rng.choice(group, len(group)) for group in groups])))
    return {"mean": area(np.arange(len(outcome))), "ci95": np.percentile(found, (2.5, 97.5)).tolist()}
