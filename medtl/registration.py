"""Rigid registration of two images of one patient, with a figure that says whether it can be trusted.

Both images are reduced to `WORKING_MM` first. Mutual information is maximised (Mattes et al. 2003, by SimpleITK) from
three starts: the images as their headers place them, their middles on each other, their centres of mass on each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .errors import InputError, memory_errors
from .progress import Progress, no_progress
from .volume import Volume, check_voxels, to_sitk

WORKING_MM = 2.0
MOST_VOXELS = 2_000_000  # of a reduced image: a body's are larger
SHORTEST_MM = 20.0  # of a side of an image: less holds too little to find a place by
BINS = 32  # of grey levels, in both the metric and the similarity
STEPS = 150  # of the optimiser at a resolution
SHARE = 0.3  # of the voxels at a fine resolution
SHIFT_MM = 6.0  # how far `similarity_of` moves an image
LEAST_OVERLAP = 0.2  # of the body in the first image that the second must show
# Below this similarity two images do not lie on each other. On BraTS 2018, also in slices of 6 mm, pairs of sequences
# of one patient have 0.38 and more, those of two patients 0.34 and less: Testing/benchmarks/registration.py.
POOR = 0.36


@dataclass(frozen=True)
class Registration:
    """Where a point of the fixed image is in the moving one: `matrix`, float64 (4, 4), LPS mm to LPS mm.

    `similarity` is that of `similarity_of`; below `POOR` the matrix must not be used.
    """

    matrix: np.ndarray
    similarity: float

    @property
    def poor(self) -> bool:
        """True where the images do not lie on each other."""
        return self.similarity < POOR


def register(fixed: Volume, moving: Volume, progress: Progress = no_progress) -> Registration:
    """The rigid movement that lays two images on each other. Sequences and grids may differ.

    `progress("register", fraction)` is called at every step of the optimiser; what it raises ends the work.

    Raises: InputError for an image without real spacing, or too flat.
    """
    progress("register", 0.0)
    with memory_errors("Not enough memory to register the images. Close other programs."):
        images = reduced(fixed), reduced(moving)
        steps = _Steps(progress)
        coarse = [_optimised(*images, start, (4,), (2,), 1.0, steps) for start in _starts(*images)]
        best = min(coarse, key=lambda found: found[0])[1]
        found = _optimised(*images, best, (2, 1), (1, 0), SHARE, steps)[1]
        similarity = similarity_of(*images, found)
    progress("register", 1.0)
    return Registration(_matrix(found), similarity)


def check_registrable(volume: Volume) -> None:
    """Raise InputError for an image that has no place in millimetres, or is too flat to find one."""
    if not volume.real_spacing:
        raise InputError(
            f"Expected an image with its spacing, found none in {volume.name}: without it there are no millimetres to "
            "register by. Give the image in its original format."
        )
    sides = [n * mm for n, mm in zip(volume.geometry.size, volume.geometry.spacing, strict=True)]
    if min(sides) < SHORTEST_MM:
        raise InputError(
            f"Expected a volume of {SHORTEST_MM:g} mm or more in each direction to register, found {min(sides):.3g} mm "
            f"in {volume.name}. Leave the registration out."
        )


def reduced(volume: Volume) -> sitk.Image:
    """The image in voxels of about `WORKING_MM` along its own axes, float32, the darkest 0, the brightest clipped.

    Raises: InputError as `check_registrable`, and for voxels that are not finite.
    """
    check_registrable(volume)
    check_voxels(volume)
    geometry = volume.geometry
    sides = np.array(geometry.size) * np.array(geometry.spacing)
    mm = max(WORKING_MM, float(sides.prod() / MOST_VOXELS) ** (1 / 3))
    size = [max(8, round(side / mm)) for side in sides]
    spacing = sides / size
    image = to_sitk(volume.array.astype(np.float32), geometry)
    for axis, (new, old, count) in enumerate(zip(spacing, geometry.spacing, geometry.size, strict=True)):
        if new > 1.2 * old and count >= 4:  # the filter takes no fewer
            image = sitk.RecursiveGaussian(image, 0.4 * new, direction=axis)
    first = geometry.affine @ [*((spacing / geometry.spacing - 1) / 2), 1.0]  # the outer borders are the same
    image = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, first[:3].tolist(), spacing.tolist(), geometry.direction
    )
    array = sitk.GetArrayViewFromImage(image)
    low = float(array.min())
    high = float(np.percentile(array, 99.5))
    clamped: sitk.Image = sitk.Clamp(image - low, sitk.sitkFloat32, 0.0, max(high - low, 1e-6))
    return clamped


def similarity_of(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    """The share of the images' mutual information that is lost where one of them is moved by 6 mm: the mean over the
    six directions along the axes. It is 0 where a shift does no harm or less than a fifth of the body is in both
    images, so where they do not lie on each other; 1 is the most.

    Mutual information itself says little: it depends on the kinds of image. Its fall does not.
    Source: project, after the idea of Škerl et al. 2006 (similarity measures judged by how they fall around the
    right place). Threshold: Testing/benchmarks/registration.py.
    """
    at_place = mutual_information(fixed, moving, transform)
    if at_place <= 0:
        return 0.0
    moved = [
        mutual_information(fixed, moving, sitk.CompositeTransform([transform, sitk.TranslationTransform(3, shift)]))
        for shift in (sign * SHIFT_MM * np.eye(3)[axis] for axis in range(3) for sign in (-1, 1))
    ]
    return float(np.clip(1 - np.mean(moved) / at_place, 0.0, 1.0))


def mutual_information(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    """Mutual information of the voxels that show the body in either image, in nats, without the bias of its histogram;
    0 where less than a fifth of the body in the fixed image is in the moving one.

    Source: the histogram's bias: Moddemeijer 1989. Grey levels are bins of equal counts.
    """
    first = sitk.GetArrayViewFromImage(fixed)
    second = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float("nan")))
    inside = np.isfinite(second)
    body = first > 0.1 * first.max()
    shared = inside & (body | (np.nan_to_num(second) > 0.1 * np.nanmax(second, initial=0.0)))
    if not (body & inside).sum() > LEAST_OVERLAP * body.sum():
        return 0.0
    numbers = _levels(first[shared]) * BINS + _levels(second[shared])
    counts = np.bincount(numbers, minlength=BINS * BINS).reshape(BINS, BINS)
    joint = counts / counts.sum()
    entropies = [-(part[part > 0] * np.log(part[part > 0])).sum() for part in (joint.sum(0), joint.sum(1), joint)]
    return float(entropies[0] + entropies[1] - entropies[2] - (BINS - 1) ** 2 / (2 * counts.sum()))


def _levels(values: np.ndarray) -> np.ndarray:
    borders = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    levels: np.ndarray = np.searchsorted(borders, values)
    return levels


def _starts(fixed: sitk.Image, moving: sitk.Image) -> list[sitk.Euler3DTransform]:
    middle = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    kinds = sitk.CenteredTransformInitializerFilter
    centred = [
        sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), kind)
        for kind in (kinds.GEOMETRY, kinds.MOMENTS)
    ]
    return [sitk.Euler3DTransform(middle), *map(sitk.Euler3DTransform, centred)]


def _optimised(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Euler3DTransform,
    shrink: Sequence[int],
    smooth: Sequence[int],
    share: float,
    steps: "_Steps",
) -> tuple[float, sitk.Euler3DTransform]:
    """The metric (the lower, the better) and the transform that the optimiser finds from this start."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(share, 1)  # a seed: the same images give the same result
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.01, numberOfIterations=STEPS, relaxationFactor=0.8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(smooth)
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(False)
    found = sitk.Euler3DTransform(start)
    method.SetInitialTransform(found, inPlace=True)
    method.AddCommand(sitk.sitkIterationEvent, lambda: steps.take(method))
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # no voxel of one lies in the other
        steps.raise_stopped()
        return np.inf, start
    steps.raise_stopped()
    return float(method.GetMetricValue()), found


class _Steps:
    """Counts the optimiser's steps for `progress`. What that raises is kept and raised after the optimiser has stopped:
    an exception does not pass through ITK."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._taken = progress, 0
        self._stopped: BaseException | None = None

    def take(self, method: sitk.ImageRegistrationMethod) -> None:
        self._taken += 1
        try:
            self._progress("register", min(0.95, self._taken / (4 * STEPS)))
        except BaseException as error:
            self._stopped = error
            method.StopRegistration()

    def raise_stopped(self) -> None:
        if self._stopped is not None:
            raise self._stopped


def _matrix(transform: sitk.Euler3DTransform) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix
