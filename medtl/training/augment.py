"""Augmentation: random changes of a batch of training slices, such as other scanners or preparations cause.

Images are in tissue units here (0 is air, 1 is brain), so that each change has a physical size.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; each `p_` is the probability for one slice."""

    rotation: float = 20.0  # degrees
    zoom: float = 0.28  # natural logarithm of the scale
    stretch: float = 0.08
    shift: float = 20.0  # pixels
    elastic: float = 5.0  # pixels
    p_strip: float = 0.5
    p_faint: float = 0.25
    p_necrosis: float = 0.15
    p_contrast: float = 0.7
    contrast: float = 0.45  # natural logarithm
    gamma: float = 0.25
    level: float = 0.1
    p_bias: float = 0.6
    bias: float = 0.2
    p_resolution: float = 0.3
    p_blur: float = 0.2
    p_noise: float = 0.5
    noise: float = 0.07


def augment(
    image: Tensor, label: Tensor, brain: Tensor, window: tuple[int, int], options: Augmentation, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Image (B, C, h, w) in tissue units and label (B, h, w) of size `window`, cut from canvases (B, C, H, W)."""
    moved = warp(torch.cat([image, label[:, None].float(), brain[:, None].float()], 1), window, options, random)
    image, label, brain = moved[:, :-2], moved[:, -2] > 0.5, moved[:, -1:]
    image = change_lesion(image, label, options, random)
    image = strip(image, brain, label, options.p_strip, random)
    image = change_contrast(image, options, random)
    image = change_resolution(image, options, random)
    sigma = options.noise * uniform(image, random) * choose_randomly(image, options.p_noise, random)
    # Rician, as magnitude images have it: noise never darkens air below zero.
    one, two = (sigma * torch.randn(image.shape, generator=random) for _ in range(2))
    return torch.hypot(image + one, two), label.long()


def uniform(like: Tensor, random: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """One number for each slice or window, (B, 1, …)."""
    return low + (high - low) * torch.rand((len(like), *(1,) * (like.ndim - 1)), generator=random)


def choose_randomly(like: Tensor, probability: float, random: torch.Generator) -> Tensor:
    """1 for the slices that get a change, else 0, (B, 1, 1, 1)."""
    return (uniform(like, random) < probability).float()


def smooth_noise(batch: int, channels: int, knots: int, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """Smooth normal noise (B, channels, h, w) with about `knots` bumps a side."""
    coarse = torch.randn((batch, channels, knots, knots), generator=random)
    return functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True)


def warp(
    stack: Tensor, window: tuple[int, int], options: Augmentation, random: torch.Generator, mirror: bool = True
) -> Tensor:
    """A random window of each canvas (B, C, H, W), rotated, scaled, shifted and bent, each differently; outside
    is 0. Half of them are mirrored, unless `mirror` is False: heads are nearly symmetric, bodies are not."""
    count, _, height, width = stack.shape
    rows, columns = window
    angle = uniform(stack, random, -1, 1) * math.radians(options.rotation)
    zoom = torch.exp(uniform(stack, random, -1, 1) * options.zoom)
    stretch = torch.exp(uniform(stack, random, -1, 1) * options.stretch)
    side = 1 - 2 * choose_randomly(stack, 0.5, random) if mirror else torch.ones_like(angle)
    y, x = torch.meshgrid(torch.arange(rows) - (rows - 1) / 2, torch.arange(columns) - (columns - 1) / 2, indexing="ij")
    bend = smooth_noise(count, 2, 5, window, random) * options.elastic * uniform(stack, random)
    x_out, y_out = x * side * zoom * stretch, y * zoom / stretch
    shift = (torch.rand((2, count, 1, 1, 1), generator=random) * 2 - 1) * options.shift
    x_in = x_out * torch.cos(angle) - y_out * torch.sin(angle) + bend[:, :1] + shift[0]
    y_in = x_out * torch.sin(angle) + y_out * torch.cos(angle) + bend[:, 1:] + shift[1]
    grid = torch.stack([x_in * 2 / width, y_in * 2 / height], -1)[:, 0]
    return functional.grid_sample(stack, grid, mode="bilinear", align_corners=False)


def change_lesion(image: Tensor, label: Tensor, options: Augmentation, random: torch.Generator) -> Tensor:
    """The images with some lesions fainter or brighter, and some with a dark necrotic core; the label stays."""
    inside = functional.avg_pool2d(label[:, None].float(), 5, 1, 2)
    factor = torch.exp(uniform(image, random, -1.0, 0.4))
    faint = choose_randomly(image, options.p_faint, random) * inside
    image = image + faint * (factor - 1) * (image - 1)
    core = functional.avg_pool2d((inside > 0.99).float(), 9, 1, 4)
    core = core * torch.sigmoid(4 * smooth_noise(len(image), 1, 12, (image.shape[2], image.shape[3]), random) - 1)
    core = core * choose_randomly(image, options.p_necrosis, random)
    return image * (1 - core * uniform(image, random, 0.3, 0.9))


def strip(image: Tensor, brain: Tensor, label: Tensor, probability: float, random: torch.Generator) -> Tensor:
    """The images, some without skull and scalp, cut a little inside or outside the brain's border; the lesion stays."""
    border = functional.avg_pool2d(brain, 9, 1, 4) > uniform(image, random, 0.15, 0.75)
    keep = (border | label[:, None]).float()
    cut = choose_randomly(image, probability, random)
    return image * (1 - cut + cut * keep)


def change_contrast(image: Tensor, options: Augmentation, random: torch.Generator) -> Tensor:
    """The images with another intensity curve through (0, 0), so that air stays dark, and a smooth bias field."""
    size = (image.shape[2], image.shape[3])
    body = (image / 0.15).clamp(0, 1)
    selected = choose_randomly(image, options.p_contrast, random)
    contrast = torch.exp(uniform(image, random, -1, 1) * options.contrast * selected)
    image = (1 + contrast * (image - 1)).clamp_min(0) * body
    image = image.clamp_min(1e-4) ** torch.exp(uniform(image, random, -1, 1) * options.gamma * selected)
    image = image * torch.exp(torch.randn((len(image), 1, 1, 1), generator=random) * options.level)
    field = smooth_noise(len(image), 1, 4, size, random) * options.bias
    return image * torch.exp(field * uniform(image, random) * choose_randomly(image, options.p_bias, random))


def change_resolution(image: Tensor, options: Augmentation, random: torch.Generator) -> Tensor:
    """The images, some sampled coarser along one or both axes, some blurred."""
    rows, columns = image.shape[2:]
    low = choose_randomly(image, options.p_resolution, random).flatten().bool()
    if low.any():
        ratio = 1 + 1.5 * torch.rand(2, generator=random)
        coarse = functional.interpolate(
            image[low], size=(int(rows / ratio[0]), int(columns / ratio[1])), mode="bilinear", antialias=True
        )
        image[low] = functional.interpolate(coarse, size=(rows, columns), mode="bilinear")
    selected = choose_randomly(image, options.p_blur, random)
    return image + selected * uniform(image, random) * (functional.avg_pool2d(image, 3, 1, 1) - image)
