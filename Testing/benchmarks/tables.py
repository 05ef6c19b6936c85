"""Markdown tables, and figures as their cells."""

from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "–"


def line(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def header(names: Sequence[str]) -> list[str]:
    """The first two lines of a Markdown table."""
    return [line(names), line(["---"] * len(names))]


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [*header(names), *(line(row) for row in rows)]


def number(value: float | None, digits: int = 3) -> str:
    """A figure with its decimals; a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def interval(value: Mapping[str, Any], digits: int = 3, bold: bool = False) -> str:
    """A mean with its 95 % interval where there is one: `mean` and `ci95` of `value`; a dash where there is none."""
    if value["mean"] is None:
        return NOTHING
    mean = number(value["mean"], digits)
    mean = f"**{mean}**" if bold else mean
    if value["ci95"] is None:
        return mean
    low, high = value["ci95"]
    return f"{mean} ({number(low, digits)}–{number(high, digits)})"


def mean_interval(values: Sequence[float]) -> str:
    """The mean of the values with its bootstrap 95 % interval; a dash where there are none. One value has none."""
    from medtl.evaluation.metrics import bootstrap_ci

    if not len(values):
        return NOTHING
    ci95 = bootstrap_ci(values) if len(values) > 1 else None
    return interval({"mean": sum(values) / len(values), "ci95": ci95})
