"""On which side of the middle of what an image shows a lesion lies.

An image does not say whether it shows the whole body or one leg, so a side is never said to be that of the body: of an
image of one leg it is the side of the leg's own middle.
"""

import numpy as np

from ..upright import plane_view
from ..volume import Geometry, Volume

SAMPLED = 200_000  # voxels of an image in which the body is looked for
MOSTLY = 0.9  # of a lesion's voxels on one side
ROUNDS, SPREAD = 5, 2.5  # of the fit, each without the lines farther off than so many deviations
FEWEST_LINES = 10
SIDES = {
    "": "",
    "left": "left of middle",
    "right": "right of middle",
    "both": "both sides of middle",
}  # what a report says
NOTE = (
    "Left and right are the patient's, seen from the middle of what the image shows; of one leg, the leg's own middle."
)


def middle_plane(volume: Volume) -> np.ndarray | None:
    """The plane between the left and the right half of what an image shows, the body or a part of it: (a, b, c) of
    x = a + b y + c z, LPS mm; None where nothing is seen.

    Every line of voxels from right to left has the middle between the first and the last voxel of the body; the plane
    is fitted to these, without those far off. So a turned or tilted head has its own plane. Source: project.
    """
    view = plane_view(volume.geometry, 0)
    step = max(1, round((volume.array.size / SAMPLED) ** (1 / 3)))
    steps = tuple(min(step, n) for n in view.of(volume.array).shape)
    sample = view.of(volume.array)[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    sample -= sample.min()
    body = sample > 0.12 * float(np.percentile(sample[sample > 0], 99.5)) if (sample > 0).any() else sample > 0
    slices, rows = np.nonzero(body.any(axis=2))
    if len(slices) < FEWEST_LINES:
        return None
    first = body[slices, rows].argmax(axis=1)
    last = body.shape[2] - 1 - body[slices, rows, ::-1].argmax(axis=1)
    middles = np.column_stack([slices * steps[0], rows * steps[1], (first + last) / 2 * steps[2]])
    places = _places(middles, view.order, view.flips, volume.geometry)
    return _fit(places)


def _places(turned: np.ndarray, order: tuple[int, int, int], flips: tuple[int, ...], geometry: Geometry) -> np.ndarray:
    """LPS mm (n, 3) of indices (slice, row, column) of a view."""
    indices = np.empty_like(turned)
    for axis, array_axis in enumerate(order):
        count = geometry.shape[array_axis]
        indices[:, 2 - array_axis] = count - 1 - turned[:, axis] if axis in flips else turned[:, axis]
    places: np.ndarray = indices @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    return places


def _fit(places: np.ndarray) -> np.ndarray:
    terms = np.column_stack([np.ones(len(places)), places[:, 1:]])
    used = np.ones(len(places), bool)
    plane = np.zeros(3)
    for _ in range(ROUNDS):
        plane = np.linalg.lstsq(terms[used], places[used, 0], rcond=None)[0]
        off = np.abs(places[:, 0] - terms @ plane)
        used = off <= max(SPREAD * 1.4826 * float(np.median(off[used])), 1e-3)
        if used.sum() < FEWEST_LINES:
            break
    return plane


def side_of(points: np.ndarray, plane: np.ndarray | None) -> str:
    """The side of the plane on which nine tenths or more of the points (n, 3), LPS mm, lie: left, right, or both; empty
    where the plane is not known. `SIDES` has the words for the user."""
    if plane is None or not len(points):
        return ""
    left = float((points[:, 0] > plane[0] + points[:, 1:] @ plane[1:]).mean())
    return "left" if left >= MOSTLY else "right" if left <= 1 - MOSTLY else "both"
