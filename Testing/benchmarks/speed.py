"""Speed of a model, file to file: stages, memory, cost against size, and MONAI's inferer beside it.

    python Testing/benchmarks/speed.py [--model glioma-flair] [--json FILE] [--quick] [--cases CSV]

Seconds depend on the machine, so both sides of a comparison run in one go, alternating; medians of `--repeats` runs.
Volumes are synthetic heads (`medtl.phantom`). Memory is measured in a fresh process each. `--cases` prints
the Dice in bf16 less that in fp32 on the cases of the list that the card holds out, and nothing else.

MONAI's side: `SlidingWindowInferer` over the same slices, with windows of 192×192 (overlap 0.25, its default) or whole
slices. File to file it also reads, reorients (SimpleITK, because MONAI's own readers and its Orientation need packages
that MedTL does not), scales by percentiles, thresholds and writes; fp32 and PyTorch's default memory layout.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tables import table

SHAPES = {"24 × 256 × 256": (24, 256, 256), "155 × 240 × 240": (155, 240, 240)}
SPACINGS = {24: (0.9, 0.9, 5.0), 155: (1.0, 1.0, 1.0)}
GROWTH = (1, 4, 16)
STAGES = ("read", "prepare", "infer", "clean", "write")
TARGETS_SECONDS = {"24 × 256 × 256": 1.5, "155 × 240 × 240": 8.0}
PEAK_MB = 1500.0
COLD_SECONDS = 8.0
END_TO_END = 3.0
NOISE = 1.05  # two runs of the same thing differ by this much
WINDOW, OVERLAP, WINDOW_BATCH = 192, 0.25, 4

Record = dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    """0, whatever the figures are: a benchmark states, it does not fail."""
    parser = argparse.ArgumentParser(description="Time a model on synthetic heads.")
    parser.add_argument("--model", default="glioma-flair", metavar="NAME|DIR")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    parser.add_argument("--quick", action="store_true", help="tiny volumes, once: does it run at all?")
    parser.add_argument("--cases", type=Path, metavar="CSV", help="compare the Dice in bf16 and fp32, and no more")
    parser.add_argument("--child", nargs=2, metavar=("INPUT", "DTYPE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(memory_here(args.model, Path(args.child[0]), args.child[1])))
        return 0
    if args.cases:
        print(f"Dice, bf16 less fp32: {bf16_beside_fp32(args.model, args.cases)}")
        return 0
    shapes = {"6 × 96 × 96": (6, 96, 96)} if args.quick else SHAPES
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args.model, shapes, 1 if args.quick else args.repeats, Path(folder))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(model: str, shapes: dict[str, tuple[int, int, int]], repeats: int, folder: Path) -> Record:
    """All figures, each printed as soon as it is known; memory and the cold command while this process is small."""
    files = {name: synthetic(folder / f"{shape[0]}.nrrd", shape) for name, shape in shapes.items()}
    smallest = min(shapes, key=lambda name: shapes[name])
    grown = {str(n): repeated(folder / f"times-{n}.nrrd", files[smallest], n) for n in GROWTH}
    cold = [cold_command(model, files[smallest], folder / "cold.seg.nrrd") for _ in range(repeats)]
    memory = {name: {d: memory_of(model, file, d) for d in ("fp32", "bf16")} for name, file in files.items()}
    growth = {n: memory_of(model, file, "default") for n, file in grown.items()}

    import torch

    from medtl.model.bundle import load_model

    loaded = load_model(model, "cpu")
    figures: Record = {
        "model": loaded.card.name,
        "sha256": loaded.sha256,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "default": "bf16" if loaded.bf16 else "fp32",
        "repeats": repeats,
        "memory_mb": memory,
        "cold_seconds": statistics.median(cold),
    }
    show(head_lines(figures), memory_lines(memory))
    figures["volumes"] = {}
    for name, file in files.items():
        figures["volumes"][name] = stages(loaded, file, repeats)
        show(stage_lines(name, figures["volumes"][name]))
    figures["growth"] = {n: {"seconds": run(loaded, file, repeats)["total"], **growth[n]} for n, file in grown.items()}
    show(growth_lines(figures["growth"]))
    for title, key, work in (
        ("network to labels", "monai", beside_monai),
        ("file to file", "monai_end_to_end", end_to_end),
    ):
        figures[key] = {name: work(loaded, file, repeats) for name, file in files.items()}
        show(rival_lines(title, figures[key]))
    show(targets(figures))
    return figures


def bf16_beside_fp32(name: str, cases: Path) -> str:
    """What `scoring.bf16_less_fp32` says of the model, imported late: a measured process stays small."""
    from scoring import bf16_less_fp32

    from medtl.model.bundle import load_model
    from medtl.segmentation import InferenceOptions

    return bf16_less_fp32(load_model(name, "cpu"), cases, InferenceOptions())


def show(*blocks: list[str]) -> None:
    """Print lines at once: a long run says what it has found so far."""
    for block in blocks:
        print("\n".join([*block, ""]), flush=True)


def synthetic(path: Path, shape: tuple[int, int, int]) -> Path:
    """The file of a synthetic head of that many slices, rows and columns."""
    from medtl.io.write import write_image
    from medtl.phantom import head

    slices, rows, columns = shape
    volume = head(1, (columns, rows, slices), SPACINGS.get(slices, (2.5, 2.5, 8.0))).volume
    write_image(path, volume.array, volume.geometry)
    return path


def repeated(path: Path, source: Path, times: int) -> Path:
    """The file of the same head in slices thinner by `times`, each there that many times."""
    from medtl.io.read import read_volume
    from medtl.io.write import write_image

    volume = read_volume(source)
    x, y, z = volume.geometry.size
    a, b, c = volume.geometry.spacing
    geometry = replace(volume.geometry, size=(x, y, z * times), spacing=(a, b, c / times))
    write_image(path, volume.array.repeat(times, axis=0), geometry)
    return path


def run(model: Any, source: Path, repeats: int, flip: bool = False) -> Record:
    """Median seconds of each stage and in total, warm, file to file."""
    from medtl.segmentation import InferenceOptions, OutputOptions, segment_file

    output = source.with_suffix(".out.seg.nrrd")
    records, totals = [], []
    for attempt in range(repeats + 1):
        began = time.perf_counter()
        outputs = OutputOptions(output, force=True)
        record = segment_file(source, model, outputs, options=InferenceOptions(flip=flip)).seconds
        if attempt:  # the first run warms up
            totals.append(time.perf_counter() - began)
            records.append(record)
    names = [name for name in STAGES if any(name in record for record in records)]
    return {name: statistics.median(r.get(name, 0.0) for r in records) for name in names} | {
        "total": statistics.median(totals)
    }


def stages(model: Any, source: Path, repeats: int) -> Record:
    """Seconds per stage in both dtypes; with the mirrored pass, too, but once."""
    return {
        f"{dtype}{' mirrored' if flip else ''}": run(
            replace(model, bf16=dtype == "bf16"), source, 1 if flip else repeats, flip
        )
        for dtype in ("fp32", "bf16")
        for flip in (False, True)
    }


def cold_command(model: str, source: Path, output: Path) -> float:
    """Seconds of a whole `medtl segment` in a new process."""
    command = [sys.executable, "-m", "medtl", "segment", str(source), "--model", model, "--output", str(output)]
    began = time.perf_counter()
    subprocess.run([*command, "--force", "--device", "cpu"], check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - began


def memory_of(model: str, source: Path, dtype: str) -> Record:
    """Peak memory (MB) of a fresh process that segments a file, the same with a tiny volume, and the input's size."""
    command = [sys.executable, __file__, "--model", model, "--child", str(source), dtype]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    record: Record = json.loads(answer.stdout.splitlines()[-1])
    return record


def environment() -> dict[str, str]:
    """This process's environment, in which `medtl` of this checkout is found."""
    root = Path(__file__).resolve().parents[2]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}


def memory_here(model: str, source: Path, dtype: str) -> Record:
    """What `memory_of` returns, measured in this process."""
    from medtl.io.read import read_volume
    from medtl.model.bundle import load_model
    from medtl.segmentation import OutputOptions, segment_file

    loaded = load_model(model, "cpu")
    if dtype != "default":
        loaded = replace(loaded, bf16=dtype == "bf16")
    before = peak_mb()
    segment_file(source, loaded, OutputOptions(source.with_suffix(".memory.seg.nrrd"), force=True))
    after = peak_mb()
    return {"loaded": before, "peak": after, "input": read_volume(source).array.nbytes / 1e6}


def peak_mb() -> float:
    """The most memory this process has held so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory, too, up to the start of this program
        return next(int(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if "VmHWM" in line)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def beside_monai(model: Any, source: Path, repeats: int) -> Record:
    """Seconds from prepared volume to labels, ours and MONAI's inferer on the same network and dtype; ours first.

    "box" gives MONAI the same part of the slices that we compute; otherwise it gets whole slices.
    """
    import numpy as np
    import torch
    from monai.inferers import SlidingWindowInferer

    from medtl.io.read import read_volume
    from medtl.preprocess import batch, neighbour_steps, prepare
    from medtl.progress import no_progress
    from medtl.segmentation import BATCH_PIXELS, InferenceOptions, infer

    spec, network = model.card.input, model.networks[0]
    prepared = prepare(read_volume(source), spec, network.multiple)
    rows, columns = prepared.array.shape[1:]
    whole = replace(prepared, box=(slice(0, rows), slice(0, columns)))
    steps = neighbour_steps(spec, prepared.slice_mm)
    windows = SlidingWindowInferer((WINDOW, WINDOW), sw_batch_size=WINDOW_BATCH, overlap=OVERLAP)

    def theirs(part: Any, inferer: Any) -> Callable[[], object]:
        @torch.inference_mode()
        def work() -> object:
            size = max(1, BATCH_PIXELS // max(1, part.computed_pixels))
            labels = []
            for begin in range(0, len(part.array), size):
                indices = np.arange(begin, min(begin + size, len(part.array)))
                image = torch.from_numpy(batch(part, indices, steps, network.multiple))
                image = image.contiguous(memory_format=torch.channels_last)
                full = SlidingWindowInferer(image.shape[2:], sw_batch_size=len(image), overlap=OVERLAP)
                with torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
                    labels.append((inferer or full)(image, network).float().softmax(1).argmax(1).byte())
            return torch.cat(labels)

        return work

    def ours() -> object:
        return infer(prepared, model, InferenceOptions(), no_progress)

    rivals = {f"windows {WINDOW}": theirs(whole, windows), "whole slices": theirs(whole, None)}
    rivals["whole slices, our box"] = theirs(prepared, None)
    return {"dtype": "bf16" if model.bf16 else "fp32", **compare(ours, rivals, repeats)}


def end_to_end(model: Any, source: Path, repeats: int) -> Record:
    """Seconds file to file: ours by default, and MONAI's transforms and inferer by theirs."""
    import SimpleITK as sitk
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import AsDiscrete, ScaleIntensityRangePercentiles

    from medtl.model.bundle import load_model
    from medtl.preprocess import neighbour_steps
    from medtl.segmentation import OutputOptions, segment_file

    plain = load_model(str(model.folder), "cpu").networks[0].to(memory_format=torch.contiguous_format)
    scale = ScaleIntensityRangePercentiles(1, 99.5, -1.0, 1.0, clip=True)
    inferer = SlidingWindowInferer((WINDOW, WINDOW), sw_batch_size=WINDOW_BATCH, overlap=OVERLAP)
    decide = AsDiscrete(argmax=True)
    outputs = [source.with_suffix(f".{name}.seg.nrrd") for name in ("ours", "theirs")]

    def ours() -> object:
        return segment_file(source, model, OutputOptions(outputs[0], force=True))

    @torch.inference_mode()
    def theirs() -> object:
        image = sitk.DICOMOrient(sitk.ReadImage(str(source)), "LPS")
        volume = torch.as_tensor(scale(sitk.GetArrayFromImage(image).astype("float32")))
        steps = torch.tensor(neighbour_steps(model.card.input, image.GetSpacing()[2]))
        wanted = (torch.arange(len(volume))[:, None] + steps).clamp(0, len(volume) - 1)
        logits = inferer(volume[wanted], plain)
        labels = torch.cat([torch.as_tensor(decide(one)) for one in logits]).byte()
        result = sitk.GetImageFromArray(labels.numpy())
        result.CopyInformation(image)
        return sitk.WriteImage(result, str(outputs[1]), True)

    return {"ours dtype": "bf16" if model.bf16 else "fp32", **compare(ours, {"MONAI": theirs}, repeats)}


def compare(ours: Callable[[], object], rivals: dict[str, Callable[[], object]], repeats: int) -> Record:
    """Median seconds of each, and the median of the ratios rival / ours of runs side by side."""
    spent: dict[str, list[float]] = {name: [] for name in ("ours", *rivals)}
    for attempt in range(repeats + 1):
        for name, work in {"ours": ours, **rivals}.items():
            began = time.perf_counter()
            work()
            if attempt:  # the first run warms up
                spent[name].append(time.perf_counter() - began)
    return {
        name: {
            "seconds": statistics.median(values),
            "ratio": statistics.median(b / a for a, b in zip(spent["ours"], values, strict=True)),
        }
        for name, values in spent.items()
    }


def processor() -> str:
    """The processor's name and cores, as far as the system tells."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name or platform.machine()}, {cores} cores"


def head_lines(figures: Record) -> list[str]:
    """What was measured on which machine."""
    return [
        f"{figures['model']} on {figures['processor']}; torch {figures['torch']}, {figures['threads']} threads, "
        f"default {figures['default']}; medians of {figures['repeats']} runs.",
        "",
        f"Cold command: {figures['cold_seconds']:.1f} s",
    ]


def memory_lines(memory: Record) -> list[str]:
    """Peak memory as Markdown."""
    rows = [
        [f"{name}, {dtype}", *(f"{values[key]:.0f}" for key in ("peak", "loaded", "input"))]
        for name, by_dtype in memory.items()
        for dtype, values in by_dtype.items()
    ]
    return table(["memory, MB", "peak", "with the model loaded", "input"], rows)


def stage_lines(name: str, runs: Record) -> list[str]:
    """Seconds per stage as Markdown."""
    columns = list(next(iter(runs.values())))
    return table([f"{name}, seconds", *columns], [[run, *(f"{v[c]:.2f}" for c in columns)] for run, v in runs.items()])


def growth_lines(growth: Record) -> list[str]:
    """Time and memory against size as Markdown."""
    one = growth["1"]
    rows = [
        [
            f"{n}×",
            f"{v['seconds']:.2f}",
            f"{v['seconds'] / one['seconds']:.1f}",
            f"{v['peak']:.0f}",
            f"{v['input']:.0f}",
            f"{(v['peak'] - one['peak']) / (v['input'] - one['input']):.1f}" if n != "1" else "",
        ]
        for n, v in growth.items()
    ]
    return table(["voxels", "seconds", "times the first", "peak MB", "input MB", "more peak per more input"], rows)


def rival_lines(title: str, volumes: Record) -> list[str]:
    """Seconds and ratios beside MONAI as Markdown."""
    rows = [
        [f"{name}: {who}", f"{v['seconds']:.2f}", f"{v['ratio']:.2f}"]
        for name, values in volumes.items()
        for who, v in values.items()
        if isinstance(v, dict)
    ]
    return table([f"{title}, beside MONAI", "seconds", "times ours"], rows)


def targets(figures: Record) -> list[str]:
    """Which of the aims hold, one line each."""
    default, growth = figures["default"], figures["growth"]
    claims = []
    for name, limit in TARGETS_SECONDS.items():
        if name in figures["volumes"]:
            seconds = figures["volumes"][name][default]["total"]
            peak = figures["memory_mb"][name][default]["peak"]
            claims.append((f"{name} under {limit} s", f"{seconds:.2f} s", seconds < limit))
            claims.append((f"{name} under {PEAK_MB:.0f} MB", f"{peak:.0f} MB", peak < PEAK_MB))
    cold = figures["cold_seconds"]
    claims.append((f"cold command under {COLD_SECONDS} s", f"{cold:.1f} s", cold < COLD_SECONDS))
    share = growth["16"]["seconds"] / growth["1"]["seconds"] / 16
    claims.append(("16 times the voxels cost at most 16 times the time", f"{16 * share:.1f}", share < NOISE))
    # From 4 to 16 times, because a batch of slices is full from some size on.
    more = (growth["16"]["peak"] - growth["4"]["peak"]) / (growth["16"]["input"] - growth["4"]["input"])
    # The input as it is, read and turned, its labels (half its size) and a copy of them for the clean-up.
    claims.append(("memory grows with the input alone (at most 4 bytes a byte)", f"{more:.1f}", more < 4.0))
    for name, rivals in figures["monai"].items():
        for rival, v in rivals.items():
            if rival not in ("dtype", "ours"):
                claim = f"{name}: not slower than MONAI, {rival}"
                claims.append((claim, f"{v['ratio']:.2f} times", v["ratio"] * NOISE > 1))
    for name, rivals in figures["monai_end_to_end"].items():
        ratio = rivals["MONAI"]["ratio"]
        claims.append(
            (f"{name}: {END_TO_END:.0f} times faster file to file", f"{ratio:.2f} times", ratio >= END_TO_END)
        )
    return table(["aim", "found", "holds"], [[a, b, "yes" if ok else "no"] for a, b, ok in claims])


if __name__ == "__main__":
    sys.exit(main())
