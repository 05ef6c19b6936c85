"""MedTL beside nnU-Net on models of nnU-Net: CPU seconds, seconds, memory, and whether their labels are the same.

    python Testing/benchmarks/nnunet.py --nnunet PYTHON --models DIR --ct FILE --work DIR
        [--only NAME…] [--mirroring on|off] [--repeats 1]

`PYTHON` has `nnunetv2` (`make bench-nnunet` installs it into an environment of its own). `DIR` of --models has a
results folder of nnU-Net below each NAME of the cases, and their volumes in `images`. One more network, of the size
that nnU-Net plans by default, is made with random weights.

Both sides segment the same file on the CPU, each in a new process: `medtl segment`, and
`nnUNetv2_predict_from_modelfolder` with one process to prepare and one to write. Then MedTL's worker, in which the
model is loaded, segments it a second time. Counted are all processes of a side. A run that `DIR` of --work has is not
repeated.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from process_tree import run_watched, watched
from speed import environment, processor
from tables import table

IMAGES = {
    "t2-3d": ("Brats18_CBICA_ABM_1_0000",),
    "t2-2d-two-folds": ("slab_0000",),
    "regions-resenc": ("Brats18_CBICA_ABM_1_0000", "Brats18_CBICA_ABM_1_0001"),
    "anisotropic": ("thick_0000",),
    "default-size": ("Brats18_CBICA_ABM_1_0000",),
    "ct-25-classes": (),  # that of --ct
}
MADE = "default-size"
MODES = {"on": "mirrored", "off": "not mirrored"}
SIDES = ("nnU-Net", "MedTL", "MedTL, warm")

Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A model and a volume of it: a results folder, and a folder with the volume's channels, CASE_0000.nii.gz and so
    on."""

    name: str
    results: Path
    inputs: Path

    @property
    def channels(self) -> list[Path]:
        """The files of the volume."""
        return sorted(self.inputs.glob("*.nii.gz"))

    @property
    def folds(self) -> list[str]:
        """The folds of the model, as nnU-Net names them."""
        return sorted(folder.name.removeprefix("fold_") for folder in self.results.glob("fold_*"))


def main(argv: list[str] | None = None) -> int:
    """0, whatever the figures are: a benchmark states, it does not fail."""
    parser = argparse.ArgumentParser(description="MedTL beside nnU-Net on models of nnU-Net.")
    parser.add_argument("--nnunet", required=True, type=Path, metavar="PYTHON", help="a Python with nnunetv2")
    parser.add_argument("--models", required=True, type=Path, metavar="DIR", help="results folders and images")
    parser.add_argument("--ct", type=Path, metavar="FILE", help="a CT volume for ct-25-classes")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR", help="results so far are kept here")
    parser.add_argument("--only", nargs="+", choices=IMAGES, default=list(IMAGES), metavar="NAME")
    parser.add_argument("--mirroring", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args(argv)
    if "ct-25-classes" in args.only and args.ct is None:
        parser.error("expected --ct, or --only without ct-25-classes")
    args.work.mkdir(parents=True, exist_ok=True)
    runs = Runs(args.work / "results.json")
    for name in args.only:
        case = prepared_case(name, args)
        model = imported(case, args.work)
        for mode in args.mirroring:
            for attempt in range(args.repeats):
                measure(case, model, mode, attempt, args, runs)
            show(speed_lines(runs, [name], [mode]))
    show([f"{processor()}; medians of {args.repeats} runs."], speed_lines(runs, args.only, args.mirroring))
    show(agreement_lines(runs, args.only, args.mirroring), label_lines(runs, args.only, args.mirroring))
    return 0


def show(*blocks: list[str]) -> None:
    """Print lines at once: a long run says what it has found so far."""
    for block in blocks:
        print("\n".join([*block, ""]), flush=True)


class Runs:
    """The records so far by "case/mode/what/attempt", in a file that is whole at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def once(self, key: str, work: Callable[[], Record]) -> None:
        """Do the work unless its record is there."""
        if key not in self._records:
            self._records[key] = work()
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(self._records, indent=1) + "\n", encoding="utf-8")
            part.replace(self._path)

    def of(self, case: str, mode: str, what: str) -> list[Record]:
        """The records of all attempts."""
        return [record for key, record in self._records.items() if key.startswith(f"{case}/{mode}/{what}/")]


# --- what is compared ---


def prepared_case(name: str, args: argparse.Namespace) -> Case:
    """The case, with its folders in the work folder."""
    folder = args.work / name
    case = Case(name, folder / "results", folder / "inputs")
    if not case.results.exists():
        maker = [str(args.nnunet), str(Path(__file__).with_name("nnunet_results.py"))]
        part = folder / "results.part"
        shutil.rmtree(part, ignore_errors=True)
        source = [] if name == MADE else [str(next((args.models / name).glob("*/*/plans.json")).parent)]
        subprocess.run([*maker, "copy" if source else "default", *source, str(part)], check=True)
        part.rename(case.results)
    if not case.inputs.exists():
        part = folder / "inputs.part"
        part.mkdir(parents=True, exist_ok=True)
        if name == "ct-25-classes":
            copy_as_nifti(args.ct, part / "ct_0000.nii.gz")
        for image in IMAGES[name]:
            shutil.copy(args.models / "images" / f"{image}.nii.gz", part)
        part.rename(case.inputs)
    return case


def copy_as_nifti(source: Path, target: Path) -> None:
    """Write a volume as nnU-Net's readers take it."""
    from medtl.io.read import read_volume
    from medtl.io.write import write_image

    volume = read_volume(source)
    write_image(target, volume.array, volume.geometry)


def imported(case: Case, work: Path) -> str:
    """The name of the model in MedTL's store in the work folder."""
    if not (work / "home" / "models" / case.name).exists():
        command = [sys.executable, "-m", "medtl", "import", str(case.results), "--name", case.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=medtl_environment(work))
    return case.name


def medtl_environment(work: Path) -> dict[str, str]:
    """The environment of MedTL's processes."""
    return environment() | {"MEDTL_HOME": str(work / "home")}


def measure(case: Case, model: str, mode: str, attempt: int, args: argparse.Namespace, runs: Runs) -> None:
    """Run both sides and compare their labels; each only if it was not yet."""
    folder = args.work / case.name / MODES[mode].replace(" ", "-")
    folder.mkdir(exist_ok=True)
    theirs, ours = folder / "nnunet", folder / "medtl.nii.gz"

    def nnunet() -> Record:
        program = str(args.nnunet.with_name("nnUNetv2_predict_from_modelfolder"))
        command = [program, "-i", str(case.inputs), "-o", str(theirs), "-m", str(case.results), "-f", *case.folds]
        command += ["-device", "cpu", "-npp", "1", "-nps", "1", *(["--disable_tta"] if mode == "off" else [])]
        return asdict(run_watched(command, folder / "nnunet.log", os.environ))

    def cold() -> Record:
        options = ["--no-mirror"] if mode == "off" else []
        volumes = ",".join(map(str, case.channels))
        command = [sys.executable, "-m", "medtl", "segment", volumes, "--model", model, "--force"]
        command += ["--output", str(ours), "--device", "cpu", *options]
        return asdict(run_watched(command, folder / "medtl.log", medtl_environment(args.work)))

    def warm() -> Record:
        return second_job(case.channels[0], model, mode == "on", folder, medtl_environment(args.work))

    key = f"{case.name}/{mode}"
    runs.once(f"{key}/nnU-Net/{attempt}", nnunet)
    runs.once(f"{key}/MedTL/{attempt}", cold)
    if len(case.channels) == 1:
        runs.once(f"{key}/MedTL, warm/{attempt}", warm)
    runs.once(f"{key}/agreement/0", lambda: agreement(next(theirs.glob("*.nii.gz")), ours))


def second_job(image: Path, model: str, mirror: bool, folder: Path, variables: dict[str, str]) -> Record:
    """What the second of two equal jobs of MedTL's worker takes."""
    options = {"device": "cpu", "mirror": mirror, "force": True}
    job = {"job": "segment", "model": model, "input": str(image), "output": str(folder / "warm.nii.gz")}
    with (
        (folder / "worker.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "medtl.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=variables,
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None

        def serve(number: int) -> None:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(json.dumps({"id": number, **job, "options": options}).encode() + b"\n")
            worker.stdin.flush()
            for line in worker.stdout:
                event = json.loads(line)
                if event.get("id") == number and event["event"] == "error":
                    raise RuntimeError(event["message"])
                if event.get("id") == number and event["event"] == "done":
                    return
            raise RuntimeError(f"The worker ended: see {folder / 'worker.log'}.")

        serve(1)
        with watched(worker.pid) as spent:
            serve(2)
        worker.stdin.close()
    return asdict(spent)


def agreement(theirs: Path, ours: Path) -> Record:
    """How many voxels have the same label, and for each label its voxels on both sides and its Dice."""
    import numpy as np

    from medtl.io.read import read_labelmap

    found = [read_labelmap(path) for path in (theirs, ours)]
    assert found[0].geometry.close_to(found[1].geometry)
    a, b = (labelmap.array for labelmap in found)
    labels = {}
    for value in sorted({*np.unique(a).tolist(), *np.unique(b).tolist()} - {0}):
        first, second = a == value, b == value
        both, total = int((first & second).sum()), int(first.sum()) + int(second.sum())
        labels[str(value)] = {"nnU-Net": int(first.sum()), "MedTL": int(second.sum()), "dice": 2 * both / total}
    return {"voxels": int(a.size), "differ": int((a != b).sum()), "labels": labels}


# --- tables ---


def median(records: Sequence[Record], key: str) -> float:
    """The median of a figure of several runs."""
    return float(statistics.median(record[key] for record in records))


def speed_lines(runs: Runs, names: Sequence[str], modes: Sequence[str]) -> list[str]:
    """What each side takes, and how many times as much nnU-Net takes, as Markdown."""
    rows = []
    for name in names:
        for mode in modes:
            theirs = runs.of(name, mode, SIDES[0])
            for side in SIDES:
                if records := runs.of(name, mode, side):
                    row = [f"{name}, {MODES[mode]}", side]
                    for key, digits in (("cpu", 1), ("wall", 1), ("peak_mb", 0)):
                        value = median(records, key)
                        times = "" if side == SIDES[0] else f" ({median(theirs, key) / value:.1f}×)"
                        row.append(f"{value:.{digits}f}{times}")
                    rows.append(row)
    return table(["model", "side", "CPU seconds", "seconds", "peak memory, MB"], rows)


def agreement_lines(runs: Runs, names: Sequence[str], modes: Sequence[str]) -> list[str]:
    """How far the labels of both sides are the same, as Markdown."""
    rows = []
    for name in names:
        for mode in modes:
            for record in runs.of(name, mode, "agreement"):
                share = 1 - record["differ"] / record["voxels"]
                labels = record["labels"].values()
                counts = [str(sum(label[side] for label in labels)) for side in SIDES[:2]]
                dice = [label["dice"] for label in labels]
                rows.append(
                    [
                        f"{name}, {MODES[mode]}",
                        str(record["voxels"]),
                        str(record["differ"]),
                        f"{100 * share:.4f} %",
                        *counts,
                        *([f"{min(dice):.5f}", f"{sum(dice) / len(dice):.5f}"] if dice else ["–", "–"]),
                    ]
                )
    names_of_columns = ["model", "voxels", "differ", "equal", "foreground of nnU-Net", "foreground of MedTL"]
    return table([*names_of_columns, "Dice, lowest of a label", "Dice, mean"], rows)


def label_lines(runs: Runs, names: Sequence[str], modes: Sequence[str]) -> list[str]:
    """Voxels and Dice of each label as Markdown."""
    rows = [
        [f"{name}, {MODES[mode]}", value, str(label["nnU-Net"]), str(label["MedTL"]), f"{label['dice']:.5f}"]
        for name in names
        for mode in modes
        for record in runs.of(name, mode, "agreement")
        for value, label in record["labels"].items()
    ]
    return table(["model", "label", "voxels of nnU-Net", "voxels of MedTL", "Dice"], rows)


if __name__ == "__main__":
    sys.exit(main())
