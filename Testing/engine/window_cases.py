"""Volumes of noise with SEEDs, and models that see windows of them."""

from dataclasses import replace

import numpy as np
from small_model import windowed

from medtl.finetuning.seed import Seed
from medtl.model.bundle import Model
from medtl.model.card import WindowSpec
from medtl.volume import Geometry, Volume, array_axis


def a_volume(geometry: Geometry, seed: int = 0, border: int = 0) -> Volume:
    """Noise without 0, with a border of 0 where it is thick enough."""
    array = np.random.default_rng(seed).integers(1, 200, geometry.shape).astype(np.int16)
    if border and min(geometry.shape) > 2 * border:
        empty = np.ones(geometry.shape, bool)
        empty[border:-border, border:-border, border:-border] = False
        array[empty] = 0
    return Volume(array, geometry)


def a_model(spec: WindowSpec, plane: str, **more: object) -> Model:
    made = windowed(spec, **more)
    return replace(made, card=replace(made.card, input=replace(made.card.input, plane=plane)))


def seeds_in(volume: Volume, model: Model, indices: list[int], seed: int = 0) -> list[Seed]:
    """SEEDs of random classes."""
    axis, random = array_axis(volume.geometry, model.card.input.plane), np.random.default_rng(seed)
    shape = np.delete(volume.geometry.shape, axis)
    ids = tuple(label.id for label in model.card.labels)
    masks = [random.integers(0, len(ids) + 1, shape).astype(np.uint16) for _ in indices]
    return [Seed("c", None, "x", model.card.input.plane, k, ids, m) for k, m in zip(indices, masks, strict=True)]
