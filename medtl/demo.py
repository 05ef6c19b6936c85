"""The main job once through: `python -m medtl.demo --output DIR [--case PATH] [--model NAME|DIR]`.

Segments a synthetic head whose lesion is known, or a volume of your own, and shows what came of it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from .errors import Cancelled, InputError, MedTLError
from .phantom import head
from .preview import write_preview
from .progress import Report, Stopwatch, TerminalReport, silent
from .volume import Labelmap, read_labelmap, read_volume, stem_of, write_image, write_labelmap

ENOUGH = 0.70  # Dice of the phantom below which something is wrong with the installation or the model


def run(
    output: Path, case: Path | None = None, model: str = "glioma-flair", report: Report = silent
) -> tuple[list[str], float | None]:
    """What was found, in lines, and the Dice against the known truth (None with a `case` of one's own).

    Writes `*-demo.seg.nrrd`, `*-demo.nrrd` and `*-demo.png` into `output`, and replaces those of an earlier run.

    Raises: MedTLError as loading, reading, segmenting and writing do.
    """
    from .bundle import load_model
    from .segment import SegmentOptions, segment_file

    if case is not None and not case.exists():
        raise InputError(f"Expected a volume file or a DICOM folder, found nothing at {case}. Check the path.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Could not make the folder {output}: {error.strerror}. Choose another folder.") from error
    watch = Stopwatch(report)
    watch("load", 0.0)
    loaded = load_model(model)
    truth = None
    if case is None:
        watch("phantom", 0.0)
        made = head()
        truth, case = made.labelmap, output / f"{made.volume.name}.nrrd"
        write_image(case, made.volume.array, made.volume.geometry)
    watch.stop()
    stem = case.resolve().name if case.is_dir() else stem_of(case)
    segmentation, labels, picture = (output / f"{stem}-demo{suffix}" for suffix in (".seg.nrrd", ".nrrd", ".png"))
    result = segment_file(case, loaded, segmentation, SegmentOptions(force=True), report)
    watch("preview", 0.0)
    found = read_labelmap(segmentation)
    write_labelmap(labels, found)
    write_preview(picture, read_volume(case), found, truth)
    watch.stop()
    agreement = None if truth is None else dice(found, truth)
    seconds = watch.seconds | result["seconds"] | {"load": watch.seconds["load"] + result["seconds"].get("load", 0.0)}
    lines = [f"warning: {text}" for text in result["warnings"]] + volume_lines(result)
    if truth is not None:
        lines.append(f"known truth: {truth.array.astype(bool).sum() * truth.geometry.voxel_ml:.1f} mL")
        lines.append(f"Dice against the known truth: {agreement:.3f}")
    lines += [f"{stage}: {spent:.2f} s" for stage, spent in seconds.items()]
    lines += [f"written: {path}" for path in (segmentation, labels, picture)]
    return lines, agreement


def volume_lines(result: dict[str, Any]) -> list[str]:
    """One line a segment: its volume in mL, where the spacing is real."""
    return [
        f"{s['name']}: " + ("volume unknown, no real spacing" if s["volume_ml"] is None else f"{s['volume_ml']:.1f} mL")
        for s in result["segments"]
    ]


def dice(found: Labelmap, truth: Labelmap) -> float:
    """Dice of everything marked, whatever its label."""
    a, b = found.array > 0, truth.array > 0
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def main(argv: list[str] | None = None) -> int:
    """The exit status: 1 when something failed or the phantom's Dice is too low."""
    parser = argparse.ArgumentParser(prog="python -m medtl.demo", description="Segment a synthetic head, or a volume.")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--case", type=Path, metavar="PATH", help="a volume of your own (default: a synthetic head)")
    parser.add_argument("--model", default="glioma-flair", metavar="NAME|DIR")
    args = parser.parse_args(argv)
    report = TerminalReport()
    try:
        lines, agreement = run(args.output, args.case, args.model, report)
    except (MedTLError, KeyboardInterrupt) as error:
        report.close()
        sys.stderr.write(f"medtl: {str(error) or 'Cancelled.'}\n")
        return error.exit_code if isinstance(error, MedTLError) else Cancelled.exit_code
    report.close()
    sys.stdout.write("\n".join(lines) + "\n")
    if agreement is not None and agreement < ENOUGH:
        sys.stderr.write(f"medtl: the Dice {agreement:.3f} is below {ENOUGH:.2f}: run `medtl doctor`.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
