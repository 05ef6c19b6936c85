"""Memory and seconds of the largest usual volume: a CT of 512 × 512 × 600 voxels and a model of nnU-Net.

    python Testing/benchmarks/large_ct.py --model NAME|DIR --work DIR [--size 512 512 600] [--mirroring on|off]

The CT is synthetic, a body with lungs and a spine, int16 with noise. `medtl segment` runs in a new process; its peak
memory is the largest sum of the proportional shares of its processes.
"""

import argparse
import json
import sys
from pathlib import Path

from process_tree import run_watched
from speed import environment, processor
from tables import table

SPACING = (0.8, 0.8, 1.0)
AIM_MB = 4000.0


def main(argv: list[str] | None = None) -> int:
    """0, whatever the figures are: a benchmark states, it does not fail."""
    parser = argparse.ArgumentParser(description="Memory and seconds of a large CT.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR", help="the CT is kept here")
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 600), metavar=("X", "Y", "Z"))
    parser.add_argument("--mirroring", choices=("on", "off"), default="on")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    x, y, z = args.size
    source, output = args.work / f"ct-{x}-{y}-{z}.nrrd", args.work / "ct.seg.nrrd"
    if not source.exists():
        write_ct(source, (x, y, z))
    command = [sys.executable, "-m", "medtl", "segment", str(source), "--model", args.model, "--output", str(output)]
    command += ["--force", "--device", "cpu", "--json", *(["--no-mirror"] if args.mirroring == "off" else [])]
    log = args.work / "large_ct.log"
    spent = run_watched(command, log, environment())
    answer = log.read_text(encoding="utf-8")
    (result,) = json.loads(answer[answer.index("{") : answer.rindex("}") + 1])["results"]
    stages = result["seconds"]
    found = sum(segment["volume_ml"] > 0 for segment in result["segments"])
    print(f"{processor()}; {x} × {y} × {z} voxels, {found} of {len(result['segments'])} labels found.\n")
    names = ["peak memory, MB", "CPU seconds", "seconds", *stages]
    row = [f"{spent.peak_mb:.0f}", f"{spent.cpu:.1f}", f"{spent.wall:.1f}", *(f"{v:.1f}" for v in stages.values())]
    print("\n".join(table(names, [row])))
    print(f"\nUnder {AIM_MB:.0f} MB: {'yes' if spent.peak_mb < AIM_MB else 'no'}")
    return 0


def write_ct(path: Path, size: tuple[int, int, int]) -> None:
    """Write the synthetic CT (x, y, z), int16 in HU, slice by slice the same body with other noise."""
    import numpy as np

    from medtl.io.write import write_image
    from medtl.volume import Geometry

    x, y, z = size
    numbers = np.random.default_rng(0)
    rows, columns = np.ogrid[-1 : 1 : y * 1j, -1 : 1 : x * 1j]
    array = np.empty((z, y, x), np.int16)
    for k, height in enumerate(np.linspace(0, 1, z)):
        width = 0.8 - 0.2 * abs(height - 0.5)
        body = (columns / width) ** 2 + (rows / 0.55) ** 2 < 1
        hu = np.where(body, 40.0, -1000.0)
        if height > 0.55:  # lungs
            for side in (-0.38, 0.38):
                hu[((columns - side) / 0.28) ** 2 + (rows / 0.4) ** 2 < min(1.0, 8 * (height - 0.55))] = -850.0
        hu[(columns / 0.09) ** 2 + ((rows - 0.33) / 0.1) ** 2 < 1] = 400.0  # spine
        array[k] = hu + numbers.normal(0, 15, hu.shape)
    write_image(path, array, Geometry(size, SPACING))


if __name__ == "__main__":
    sys.exit(main())
