"""How far two readers agree, as the panel shows it: a line a label, and a row for each label of each case. No Qt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

MOST = 200  # rows that are listed, those that agree least
UNKNOWN = "–"


@dataclass(frozen=True)
class Agreed:
    """`text` has a line for each label, the ratings, and what could not be compared; `rows` are case, label, Dice, HD95
    in mm, and the difference in mL, those with the smallest Dice first; `csv` is the file with all of them."""

    text: str
    rows: tuple[tuple[str, str, str, str, str], ...]
    csv: bytes


def agreed_of(answer: Mapping[str, Any], csv: bytes) -> Agreed:
    """What the engine's answer, as `medtl agree --json` prints it, says."""
    found = [(one["dice"], case["case"], one) for case in answer["cases"] for one in case["labels"]]
    found.sort(key=lambda each: each[0])
    rows = [(name, str(one["label"]), *_figures(one)) for _dice, name, one in found[:MOST]]
    lines = [_("{count} cases that both have.").format(count=answer["n"])]
    for label, one in answer["labels"].items():
        dice, hd95, ml = one["dice"]["mean"], one["hd95"]["mean"], one["volume_difference_ml"]["mean"]
        text = _("{label}: Dice {dice}, HD95 {hd95} mm, {ml} mL (second minus first)")
        lines.append(text.format(label=label, dice=_number(dice, 3), hd95=_number(hd95, 1), ml=_number(ml, 2, "+")))
    if answer["ratings"]["n"]:
        kappa = _number(answer["ratings"]["kappa"], 3)
        lines.append(_("Ratings of {n} cases: kappa {kappa}").format(n=answer["ratings"]["n"], kappa=kappa))
    alone = len(answer["only_first"]), len(answer["only_second"])
    if any(alone):
        lines.append(
            _("Only in this list: {first}. Only in the other: {second}.").format(first=alone[0], second=alone[1])
        )
    for error in answer["errors"]:
        lines.append(_("{case} was not compared: {reason}").format(case=error["case"], reason=error["message"]))
    if len(found) > MOST:
        text = _("Listed are the {most} of {count} rows that agree least; the CSV file has all.")
        lines.append(text.format(most=MOST, count=len(found)))
    return Agreed("\n".join(map(str, lines)), tuple(rows), csv)


def _figures(one: Mapping[str, Any]) -> tuple[str, str, str]:
    difference = one["second_ml"] - one["first_ml"]
    return _number(one["dice"], 3), _number(one["hd95"], 1), _number(difference, 2, "+")


def _number(value: float | None, digits: int, sign: str = "") -> str:
    return UNKNOWN if value is None else f"{value:{sign}.{digits}f}"
