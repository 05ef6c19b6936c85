"""Seconds of a training step of MedTL's encoders, with and without the float32 gradients of depthwise convolutions.

    python Testing/benchmarks/train_step.py [--steps N] [--threads N]

`medtl train` computes these gradients in float32 where bfloat16 is slow. Both ways run alternately; only the ratio
counts.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Sequence

import torch
from tables import header, line

from medtl.model.network import Network
from medtl.model.timm_networks import Classifier2d, UNet2d
from medtl.training.fit import DepthwiseInFloat32

ENCODERS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2", "resnet18")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, 0."""
    parser = argparse.ArgumentParser(description="Time a training step.")
    parser.add_argument("--steps", type=int, default=6, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    print(*header(["network", "float32 where faster, s", "bfloat16 alone, s", "ratio"]), sep="\n")
    for encoder in ENCODERS:
        for kind in (Classifier2d, UNet2d):
            network: Network = kind(encoder, 1, 4)
            network = network.train().to(memory_format=torch.channels_last)
            quick, plain = [], []
            for step in range(args.steps + 1):
                times = (seconds(network, True), seconds(network, False))
                if step:  # the first is slower: memory is new
                    quick.append(times[0])
                    plain.append(times[1])
            ours, theirs = statistics.median(quick), statistics.median(plain)
            cells = [f"{kind.__name__} {encoder}", *(f"{value:.2f}" for value in (ours, theirs, theirs / ours))]
            print(line(cells), flush=True)
    return 0


def seconds(network: Network, quick: bool) -> float:
    """How long forward and backward take for 16 pictures of 192 pixels."""
    image = torch.randn(16, 1, 192, 192).contiguous(memory_format=torch.channels_last)
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(image).float().square().mean()
    with DepthwiseInFloat32() if quick else contextlib.nullcontext():  # type: ignore[no-untyped-call]
        loss.backward()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
