"""How well a renal tumour's shape separates benign from malignant, as Markdown tables.

    python Testing/benchmarks/renal.py --data DIR --work DIR [--encoder-weights FILE]

DIR of the data holds `kidney-ct-masks` and `kidney-ct-slices` (see `renal_masks.py`, `renal_slices.py`). Measuring all
masks takes long, so the working folder keeps the measurements, and `cases.csv`, the list for
`medtl train renal-malignancy`. Without the encoder's weights the last table has no deep features.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from renal_masks import MILLIMETRES, measured_masks, table_of
from renal_slices import demonstration
from tables import header, interval, line

from medtl.classification.abstention import weak_evidence
from medtl.classification.shape import FEATURES as SHAPES
from medtl.classification.shape import predict
from medtl.evaluation.reliability import auc, bootstrap
from medtl.training.recipes.renal_malignancy import FEATURES, FIGURES
from medtl.training.renal import REPEATS, SEED, Table, figures, final_model, fold_models, out_of_fold, splits

# The penalties of the model that was settled on before any figure was seen.
FIRST_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
VARIANTS = ("1 mm grid", *(f"{how} {mm} mm" for how in ("eroded", "dilated", "smoothed") for mm in MILLIMETRES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--encoder-weights", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    with (options.data / "kidney-ct-masks" / "index.csv").open(encoding="utf-8", newline="") as file:
        index = [row for row in csv.DictReader(file) if row["malignant"]]
    masks = {row["case"]: options.data / "kidney-ct-masks" / row["file"] for row in index}
    write_list(options.work / "cases.csv", index, masks)
    kept = measured_masks(masks, options.work / "shapes.csv")
    table = table_of(index, kept["true"])
    models = fold_models(table.only(*FEATURES))
    print("\n".join(thickness(kept)), "\n", sep="\n")
    print("\n".join(models_compared(table, index, models)), "\n", sep="\n")
    print("\n".join(abstentions(table)), "\n", sep="\n")
    print("\n".join(alterations(index, kept, table, models)), "\n", sep="\n")
    print("\n".join(demonstration(options.data, options.work, table, options.encoder_weights)))


def write_list(path: Path, index: list[dict[str, str]], masks: dict[str, Path]) -> None:
    """The case list for `medtl train renal-malignancy`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "label", "patient"))
        for row in index:
            malignant = row["malignant"] == "True"
            rows.writerow((masks[row["case"]].resolve(), "malignant" if malignant else "benign", row["case"]))


def thickness(kept: dict[str, dict[str, list[float]]]) -> list[str]:
    """How far thick slices move each form feature, on voxels as drawn and on the common grid."""
    cases = [case for case in kept["thick"] if not np.isnan(kept["thick"][case]).any()]
    lines = [
        f"## Slices of 5 mm instead of 1 mm or less (n = {len(cases)} masks, no diagnosis looked at)",
        "",
        *header(["feature", "as drawn: mean change in SD", "r", "common grid: mean change in SD", "r"]),
    ]
    for number, name in enumerate(SHAPES):
        if name == "volume":
            continue
        cells = []
        for thin, thick in (("thin, as drawn", "thick, as drawn"), ("true", "thick")):
            a, b = (np.array([kept[variant][case][number] for case in cases]) for variant in (thin, thick))
            cells += [f"{(b - a).mean() / a.std():+.2f}", f"{np.corrcoef(a, b)[0, 1]:.2f}"]
        lines.append(line([SHAPES[name], *cells]))
    return lines


def models_compared(table: Table, index: Sequence[dict[str, str]], models: Any) -> list[str]:
    """The shape model beside the size alone and beside other choices, all by nested cross-validation."""
    shape = table.only(*FEATURES)
    rows = [
        ("**shape: volume and form**", shape, out_of_fold(models, shape.values)),
        *(
            (name, one, out_of_fold(fold_models(one, balanced=balanced), one.values))
            for name, one, balanced in (
                ("volume alone", table.only("log_volume"), True),
                ("long axis alone", table.only("log_long_axis"), True),
                ("form alone", table.only(*FEATURES[1:]), True),
                ("shape, classes not balanced in the fit", shape, False),
                ("shape, volume not as logarithm", table.only("volume", *FEATURES[1:]), True),
            )
        ),
    ]
    first = first_table(table)
    rows.append(("shape, as first settled on", first, out_of_fold(first_models(first), first.values)))
    lines = [
        f"## Benign or malignant by shape (n = {len(table.cases)}, {np.count_nonzero(~table.malignant)} benign)",
        "",
        *header(["", *FIGURES.values(), "AUC minus that of volume alone", "AUC of all pairs"]),
    ]
    base = rows[1][2]
    for name, one, said in rows:
        found = figures(one, *said)
        gap = "" if said is base else interval(difference(table, said, base))
        pooled = interval(area_of(one, said[0], np.zeros_like(said[1])))
        lines.append(line([name, *(interval(found[key]) for key in FIGURES), gap, pooled]))
    known = np.array([bool(row["radiographic_size_cm"]) for row in index])
    size = np.array([float(row["radiographic_size_cm"] or 0) for row in index])[known]
    one = area_of(rows_of(table, known), size[None], np.zeros((1, len(size)), int))
    lines.append(
        line([f"diameter in the report (n = {known.sum()}), nothing fitted", interval(one), *[""] * (len(FIGURES) + 1)])
    )
    model = final_model(shape)
    lines += ["", f"Intercept {model.intercept:+.3f}. Log-odds of malignant for a standard deviation, all cases:", ""]
    lines += header(["feature", "weight", "95 % of resamples"])
    for number, term in enumerate(model.terms, start=1):
        low, high = np.percentile([sample[number] for sample in model.resamples], (2.5, 97.5))
        lines.append(line([term.feature, f"{term.weight:+.2f}", f"{low:+.2f} to {high:+.2f}"]))
    return lines


def first_table(table: Table) -> Table:
    """The features of the model first settled on: the diameter of a ball of the volume, mm, and the form."""
    ball = (6000 * table.values[:, table.features.index("volume")] / np.pi) ** (1 / 3)
    form = table.only(*FEATURES[1:])
    return replace(form, features=("ball", *form.features), values=np.column_stack([ball, form.values]))


def first_models(table: Table) -> Any:
    """Its models: classes not balanced, and a penalty so strong that it may leave no feature."""
    return fold_models(table, balanced=False, strengths=FIRST_STRENGTHS)


def difference(table: Table, said: Any, base: Any) -> dict[str, Any]:
    """The difference of two AUCs of the same cases and folds, with its interval."""

    def gap(rows: np.ndarray) -> np.ndarray:
        return np.mean(
            [
                auc(table.malignant[rows], p[rows], f[rows]) - auc(table.malignant[rows], q[rows], f[rows])
                for p, q, f in zip(said[0], base[0], said[1])
            ]
        )

    return {
        "mean": float(gap(np.arange(len(table.cases)))),
        "ci95": bootstrap(gap, table.malignant, table.patients).tolist(),
    }


def abstentions(table: Table) -> list[str]:
    """What it does to abstain where the interval holds the share of malignant tumours: each training part makes a model
    as all cases make the shipped one, with its own resamples, and it is asked about the patients left out."""
    shape = (REPEATS, len(table.cases))
    above, abstained = np.zeros(shape, bool), np.zeros(shape, bool)
    for repeat in range(REPEATS):
        for train, test in splits(table.malignant, table.patients, SEED + repeat):
            model = final_model(rows_of(table, np.isin(np.arange(shape[1]), train)).only(*FEATURES))
            for case in test:
                said = predict(dict(zip(table.features, table.values[case])), model)
                above[repeat, case] = said.probability > (model.prevalence or 0)
                abstained[repeat, case] = bool(weak_evidence(said, model, ""))
    groups = {
        "abstained from": abstained,
        "**answered, above the share**": ~abstained & above,
        "**answered, below the share**": ~abstained & ~above,
        "all, above the share": above,
        "all, below the share": ~above,
    }
    lines = [
        f"## Abstaining where the interval holds the share of malignant tumours, {table.malignant.mean():.1%}",
        "",
        *header(["tumours", f"n of {shape[1]}", f"benign, of {np.count_nonzero(~table.malignant)}", "malignant"]),
    ]
    for name, group in groups.items():

        def counted(rows: np.ndarray, group: np.ndarray = group) -> np.ndarray:
            n, benign = group[:, rows].sum(), (group[:, rows] & ~table.malignant[rows]).sum()
            return np.array([n / REPEATS, benign / REPEATS, 100 * (1 - benign / n) if n else np.nan])

        limits = bootstrap(counted, table.malignant, table.patients).T
        found = zip(counted(np.arange(shape[1])), limits, (".0f", ".1f", ".1f"), ("", "", " %"))
        cells = [f"{value:{form}}{unit} ({low:{form}} to {high:{form}})" for value, (low, high), form, unit in found]
        lines.append(line([name, *cells]))
    return lines


def alterations(
    index: list[dict[str, str]], kept: dict[str, dict[str, list[float]]], table: Table, models: Any
) -> list[str]:
    """The same models, fitted to true masks, on altered masks of the patients they did not see."""
    true, _ = out_of_fold(models, table.only(*FEATURES).values)
    lines = [
        "## The same masks altered, models fitted to the true ones",
        "",
        *header(["mask", "n (benign)", "AUC", "mean change of probability", "mean size of the change", "largest"]),
    ]
    for name in ("true", *VARIANTS):
        other = table_of(index, kept[name])
        there = ~np.isnan(other.values).any(axis=1)
        values = np.full((len(there), len(FEATURES)), np.nan)
        values[there] = rows_of(other, there).only(*FEATURES).values
        said, folds = out_of_fold(models, values)
        inside = rows_of(table, there)

        one = area_of(inside, said[:, there], folds[:, there])
        change = (said - true)[:, there].mean(axis=0)
        benign = np.count_nonzero(~inside.malignant)
        size = np.abs(change)
        cells = [f"{there.sum()} ({benign})", interval(one), f"{change.mean():+.3f}"]
        lines.append(line([name, *cells, f"{size.mean():.3f}", f"{size.max():.3f}"]))
    return lines


def area_of(table: Table, said: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """The AUC of what models said (repeats, n), with its interval."""

    def area(rows: np.ndarray) -> np.ndarray:
        return np.mean([auc(table.malignant[rows], p[rows], f[rows]) for p, f in zip(said, folds)])

    return {
        "mean": float(area(np.arange(len(table.cases)))),
        "ci95": bootstrap(area, table.malignant, table.patients).tolist(),
    }


def rows_of(table: Table, rows: np.ndarray) -> Table:
    """These rows (bool) of the table."""
    cases = tuple(case for case, inside in zip(table.cases, rows) if inside)
    return replace(
        table,
        cases=cases,
        sha256=("",) * len(cases),
        patients=table.patients[rows],
        malignant=table.malignant[rows],
        values=table.values[rows],
    )


if __name__ == "__main__":
    main()
