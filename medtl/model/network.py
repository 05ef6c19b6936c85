"""What every network has: a cut, `encode` and `decode`, and the sizes of images that it takes."""

import math
from collections.abc import Sequence

from torch import Tensor, nn


class Network(nn.Module):
    """Images (B, C, H, W) or windows (B, C, Z, Y, X) in, logits of the same size out, background first where there is
    one; along each axis the size is a multiple of that axis's entry of `multiples`.

    One that classifies gives logits (B, classes) for each image. The weights have the names of the network's own
    library after `prefix`.
    """

    multiples: tuple[int, ...] = (32, 32)
    prefix = ""

    @property
    def dimensions(self) -> int:
        """2 for a network of slices, 3 for one of volumes."""
        return len(self.multiples)

    @property
    def multiple(self) -> int:
        """The smallest number that is a multiple for every axis."""
        return math.lcm(*self.multiples)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The features that the decoder needs, finest first."""
        raise NotImplementedError

    def decode(self, features: list[Tensor]) -> Tensor:
        """Logits from the features of `encode`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def products(strides: Sequence[int | Sequence[int]], dimensions: int) -> tuple[int, ...]:
    """The product of the strides along each axis; a whole number is a stride along all of them."""
    along = [(stride,) * dimensions if isinstance(stride, int) else stride for stride in strides]
    return tuple(math.prod(axis) for axis in zip(*along, strict=True))
