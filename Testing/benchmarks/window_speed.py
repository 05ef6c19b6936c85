"""Seconds and peak memory of models that see windows, beside MONAI's inferers, and bf16 beside fp32.

    python Testing/benchmarks/window_speed.py NAME=IMAGE[=CSV] … [--repeats 3]

Both sides have the same network, windows, overlap and windows a pass, without mirrored windows, and go from the
prepared volume to labels on its own grid; of a model of two stages the region is found beforehand. MONAI's side is
`SlidingWindowInferer`, or `SliceInferer` for windows of one slice, whose logits are then interpolated to the grid. Each
run is a process of its own that warms up once; both sides alternate, in the dtype that the model takes on this
processor. Peak memory is that of the process, with Python and torch. The last column is over the cases of the CSV that
the card holds out: their mean Dice (over labels that a case shows, without mirrored windows) in bf16 less that in fp32,
and the largest difference of one case. Linux.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scoring import bf16_less_fp32
from speed import environment, peak_mb, processor
from tables import header, line

from medtl.errors import InputError, MedTLError
from medtl.io.read import read_volume
from medtl.model.bundle import Model, load_model
from medtl.progress import no_progress
from medtl.segmentation import InferenceOptions, infer_windows, region_of
from medtl.windows.prepare import WindowInput, prepare_windows
from medtl.windows.sliding import WindowForward

WAYS = ("ours", "MONAI")
UNMIRRORED = InferenceOptions(mirror=False)
COLUMNS = ("model", "image", "dtype", "seconds", "MONAI / ours", "peak MB", "MONAI's peak MB", "bf16 less fp32")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when an image or a list cannot be used."""
    parser = argparse.ArgumentParser(description="Time models that see windows beside MONAI's inferers.")
    parser.add_argument("pairs", nargs="*", metavar="NAME=IMAGE[=CSV]")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "NAME", "IMAGE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    try:
        if args.child:
            way, name, image = args.child
            print(json.dumps(measured(way, load_model(name, "cpu"), Path(image))))
            return 0
        print("\n".join(header(COLUMNS)), flush=True)
        for pair in args.pairs:
            name, image, cases = (*pair.split("=", 2), "", "")[:3]
            print(line(row(name, Path(image), cases, args.repeats)), flush=True)
    except MedTLError as error:
        print(f"window_speed: {error}", file=sys.stderr)
        return 1
    print(f"\nMedians of {args.repeats} runs; {processor()}; torch {torch.__version__}.")
    return 0


def row(name: str, image: Path, cases: str, repeats: int) -> tuple[str, ...]:
    """The figures of a model on an image, and on the cases of a list."""
    runs = [{way: run(way, name, image) for way in WAYS} for _ in range(repeats)]
    ours = runs[0]["ours"]
    return (
        name,
        " × ".join(str(n) for n in ours["shape"]),
        ours["dtype"],
        f"{statistics.median(one['ours']['seconds'] for one in runs):.1f}",
        f"{statistics.median(one['MONAI']['seconds'] / one['ours']['seconds'] for one in runs):.2f}",
        *(f"{statistics.median(one[way]['peak'] for one in runs):.0f}" for way in ("ours", "MONAI")),
        bf16_less_fp32(load_model(name, "cpu"), Path(cases), UNMIRRORED) if cases else "–",
    )


def run(way: str, name: str, image: Path) -> dict[str, Any]:
    """What `measured` returns, from a new process.

    Raises: InputError with what that process says when it fails.
    """
    command = [sys.executable, __file__, "--child", way, name, str(image)]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment())
    if answer.returncode:
        raise InputError(answer.stderr.strip().removeprefix("window_speed: "))
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def measured(way: str, model: Model, image: Path) -> dict[str, Any]:
    """Seconds and peak memory of one way, after a warm-up.

    Raises: InputError for a model that does not see windows.
    """
    spec = model.card.windows
    if spec is None:
        raise InputError(f"Expected a model that sees windows, found {model.card.name}. speed.py times the others.")
    volume = read_volume(image)
    region = region_of([volume], model, no_progress)
    prepared = prepare_windows([volume], model.card, spec, region.box if region else None)
    work = labels_of_monai if way == "MONAI" else labels_of_ours
    work(prepared, model)
    began = time.perf_counter()
    work(prepared, model)
    seconds = time.perf_counter() - began
    dtype = "bf16" if model.bf16 else "fp32"
    return {"seconds": seconds, "peak": peak_mb(), "shape": volume.array.shape, "dtype": dtype}


def labels_of_ours(prepared: WindowInput, model: Model) -> np.ndarray:
    """The labels, as `medtl segment` computes them."""
    return infer_windows(prepared, model, UNMIRRORED, no_progress).labels


@torch.inference_mode()
def labels_of_monai(prepared: WindowInput, model: Model) -> np.ndarray:
    """The labels of the part that is computed, by MONAI's inferer and an interpolation of its logits."""
    from monai.inferers import SliceInferer, SlidingWindowInferer

    spec, network = model.card.windows, model.networks[0]
    assert spec is not None
    options: dict[str, Any] = {
        "sw_batch_size": WindowForward(model, replace(spec, mirror=())).windows,
        "overlap": 1 - spec.step,
        "mode": "gaussian",
        "sigma_scale": spec.sigma,
        "roi_size": spec.patch,
    }
    inferer: Any = SliceInferer if len(spec.patch) == 2 else SlidingWindowInferer
    with torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
        logits = inferer(**options)(torch.from_numpy(prepared.array)[None], network).float()
    size = [side.stop - side.start for side in prepared.box]
    found: np.ndarray = torch.nn.functional.interpolate(logits, size, mode="trilinear").argmax(1)[0].byte().numpy()
    return found


if __name__ == "__main__":
    sys.exit(main())
