"""Texts that the panels show: volumes, slices, verdicts; and tool tips in plain text."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from slicer.i18n import tr as _

from medtl.counted import counted
from medtl.worklist.order import Pace
from MedTLLib.jobs.finetune import Case
from MedTLLib.mrml import scene
from MedTLLib.seeds.marks import Mark
from MedTLLib.worklist.tuning import ListedSeeds


def plainTip(text: str) -> str:
    """The text escaped as HTML, empty for an empty text: for tool tips, which Qt reads as HTML where they look like it.
    Names, descriptions and paths come from files, and HTML opens files and hosts."""
    return f"<p>{escape(text).replace(chr(10), '<br>')}</p>" if text else ""


def factsText(facts: scene.Facts) -> str:
    """Sequence, date and size of a volume in a line."""
    size = "×".join(str(n) for n in facts.size)
    spacing = "×".join(f"{mm:.3g}" for mm in facts.spacing)
    grid = _("{size} voxels of {spacing} mm").format(size=size, spacing=spacing)
    kind = " ".join(part for part in (facts.modality, facts.description) if part)
    return " · ".join(part for part in (kind, facts.date, grid, facts.frame) if part)


def stateText(mark: Mark) -> str:
    """The state of a marked slice."""
    return str(_("edited since, mark again") if mark.stale else _("right"))


def sliceText(k: int, state: str) -> str:
    """A slice and its state; slices count from 0, as in Slicer's Data Probe."""
    return str(_("Slice {k}: {state}").format(k=k, state=state))


def budgetText(seconds: float) -> str:
    """A time budget: "1 min", "90 s"."""
    whole = round(seconds)
    if whole >= 60 and whole % 60 == 0:
        return str(_("{minutes} min").format(minutes=whole // 60))
    return str(_("{seconds} s").format(seconds=whole))


def seedsText(cases: tuple[Case, ...]) -> str:
    """How many slices a run would use, and how many it would not; empty where nothing is marked."""
    fresh, stale = sum(case.fresh for case in cases), sum(case.stale for case in cases)
    used = sum(case.fresh > 0 for case in cases)
    if not fresh and not stale:
        return ""
    ofCases = counted(used, _("1 case"), _("{count} cases"))
    text = _("{seeds} of {cases}.").format(seeds=countedSeeds(fresh), cases=ofCases)
    if stale:
        text += " " + _("Not used, because edited since they were marked: {count}.").format(count=stale)
    # Without a fresh slice, the reason why Fine-tune is disabled contains these warnings.
    return " ".join((str(text), *dict.fromkeys(warning for case in cases if fresh for warning in case.warnings)))


def paceText(pace: Pace) -> str:
    """How far the work is, and about how long the rest takes: "18 of 60 done, about 25 min left."."""
    text = _("{done} of {total} done").format(done=pace.done, total=pace.total)
    if pace.minutes is not None and pace.done < pace.total:
        text += _(", about {minutes} min left").format(minutes=max(1, round(pace.minutes)))
    return f"{text}."


def countedSeeds(count: int) -> str:
    """A number of SEEDs."""
    return counted(count, _("1 SEED"), _("{count} SEEDs"))


def listedText(listed: ListedSeeds) -> str:
    """What Fine-tune takes from a case list; empty for nothing."""
    parts = []
    if listed.seeds:
        parts.append(str(_("Other cases of the list add {seeds}.").format(seeds=countedSeeds(listed.seeds))))
    if listed.guard:
        text = _("Guard set, never learned from: {count} reviewed without SEEDs.")
        parts.append(str(text.format(count=listed.guard)))
    return " ".join(parts)


def verdictText(name: str, parent: str, record: Mapping[str, Any]) -> str:
    """The guard's verdict on a tuned model, and its figures, a line each; `record` is the engine's answer (see
    `medtl.finetuning.files`)."""
    if not record:
        return str(_("{name} was not compared with {parent}: Fine-tune was stopped.").format(name=name, parent=parent))
    heads = {
        "better": _("{name} is better than {parent}."),
        "worse": _("{name} is worse than {parent}, so {parent} stays selected."),
    }
    head = heads.get(record["verdict"], _("{name} is about as good as {parent}."))
    seeds, guard = record["change"]["seeds"], record["change"]["guard"]
    places = {
        "cases": (_("On 1 case that you accepted"), _("On {count} cases that you accepted")),
        "phantom heads": (_("On 1 synthetic head"), _("On {count} synthetic heads")),
    }
    parts = [head.format(name=name, parent=parent)]
    if seeds["n"]:
        place = counted(seeds["n"], _("On 1 held-out SEED slice"), _("On {count} held-out SEED slices"))
        parts.append(_changeText(place, record["before"]["seeds"], record["after"]["seeds"], seeds))
    if guard["n"]:
        place = counted(guard["n"], *places.get(guard["kind"], (_("On 1 other case"), _("On {count} other cases"))))
        parts.append(_changeText(place, record["before"]["guard"], record["after"]["guard"], guard))
    return "\n".join(parts)


def _changeText(place: str, before: float, after: float, change: Mapping[str, Any]) -> str:
    mean, error = change["mean"], "" if change["error"] is None else f" ± {change['error']:.2f}"
    if abs(mean) < 0.005:
        text = _("{place}: unchanged, Dice {before} → {after}{error}.")
        error = error and f" ({error.strip()})"
    else:
        text = _("{place}: Dice {before} → {after} ({mean}{error}).")
    figures = {"before": f"{before:.2f}", "after": f"{after:.2f}", "mean": f"{mean:+.2f}".replace("-", "−")}
    return str(text.format(place=place, error=error, **figures))


def touchedText(names: Sequence[str]) -> str:
    """Which cases have other files than before, the first five by name; empty for none."""
    if not names:
        return ""
    shown = ", ".join(names[:5])
    if len(names) > 5:
        shown = _("{names} and {count} more").format(names=shown, count=len(names) - 5)
    text = _("Files that have another size or time than when their case was opened last, or are gone: {names}.")
    return str(text.format(names=shown))
