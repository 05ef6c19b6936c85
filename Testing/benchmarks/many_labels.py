"""Seconds of each step from the engine's result with 100 labels to a segmentation, a table and a file.

    .venv-slicer/bin/python Testing/benchmarks/many_labels.py [--labels 100]

The labels are rough ellipsoids of the size of organs, seeded, on 512×512×300 voxels of 0.8×0.8×1.5 mm. The first line
is the part of the engine's job that grows with the number of labels; the others are Slicer's main thread. CPU seconds
do not depend on what else the computer does.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "MedTLSegment")]

import host  # noqa: E402

host.start()

import numpy as np  # noqa: E402
import slicer  # noqa: E402
from tables import table  # noqa: E402

from medtl.io.read import read_labelmap  # noqa: E402
from medtl.io.write import write_labelmap  # noqa: E402
from medtl.measurement import measure  # noqa: E402
from medtl.volume import Geometry, Labelmap, Segment  # noqa: E402
from MedTLLib.mrml.scene import ras_of  # noqa: E402
from MedTLLib.prediction import writer  # noqa: E402
from MedTLLib.results import export, volume_table  # noqa: E402

GEOMETRY = Geometry((512, 512, 300), (0.8, 0.8, 1.5))


def organs(count: int) -> Labelmap:
    """So many labels, the later one where they overlap."""
    random, shape = np.random.default_rng(1), np.array(GEOMETRY.shape)
    array = np.zeros(GEOMETRY.shape, np.uint8)
    for value in range(1, count + 1):
        radius = random.uniform((8, 10, 10), (40, 45, 45))
        centre = random.uniform(radius, shape - radius)
        low, high = (centre - radius).astype(int), (centre + radius + 1).astype(int)
        box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        z, y, x = ((np.arange(s.start, s.stop) - c) / r for s, c, r in zip(box, centre, radius, strict=True))
        inside = (z**2)[:, None, None] + (y**2)[:, None] + x**2 < 1
        array[box][inside & (random.random(inside.shape) > 0.001)] = value
    segments = tuple(
        Segment(n, f"many.part-{n}", f"Part {n}", tags=(("MedTL.label", f"part-{n}"), ("MedTL.model", "many")))
        for n in range(1, count + 1)
    )
    return Labelmap(array, GEOMETRY, segments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=100)
    rows = []

    def timed(step: str, call: Callable[[], Any]) -> Any:
        began, busy = time.perf_counter(), time.process_time()
        result = call()
        rows.append([step, f"{time.perf_counter() - began:.1f}", f"{time.process_time() - busy:.1f}"])
        return result

    host.new_scene()
    labelmap = organs(parser.parse_args().labels)
    volume = slicer.util.addVolumeFromArray(np.zeros(GEOMETRY.shape, np.int16), ras_of(GEOMETRY), "ct")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed("engine: measure", lambda: measure(labelmap))
        write_labelmap(folder / "result.seg.nrrd", labelmap)
        again = timed("read the result", lambda: read_labelmap(folder / "result.seg.nrrd"))
        written = timed("write the segments", lambda: writer.write(again, volume))
        segmentation = slicer.mrmlScene.GetNodeByID(written.segmentation_id)
        timed("fill the table", lambda: volume_table.update_table(segmentation, volume))
        timed("export .seg.nrrd", lambda: export.export(segmentation, volume, folder / "export.seg.nrrd"))
        timed("export .nii.gz", lambda: export.export(segmentation, volume, folder / "export.nii.gz"))
        assert np.array_equal(read_labelmap(folder / "export.nii.gz").array, labelmap.array)
        second = timed("write them again", lambda: writer.write(again, volume, segmentation))
        timed("undo that", lambda: writer.undo(second))
    print("\n".join(table(["step", "s", "CPU s"], rows)))


if __name__ == "__main__":
    main()
