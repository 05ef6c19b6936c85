"""Train the 3D network of T2 whose tuning `finetune_mri.py` measures: an nnU-Net plan on BraTS T2.

    python Testing/benchmarks/t2_source.py --plan NAME|DIR --cases CSV --output DIR [--epochs 60] [--resume]

`--plan` is an imported model of nnU-Net for T2 with one label: its grid and network are taken, its weights are not. The
bundle is `DIR/t2-source`; it never ships. A quarter of each site's patients is held out, and the card names them.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from medtl.errors import MedTLError
from medtl.memory import keep_freed_memory
from medtl.model.bundle import load_model
from medtl.training.recipe import TrainingRun
from medtl.training.windows import WindowFit, WindowRecipe


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the plan or the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Train a 3D network of T2 by an nnU-Net plan.")
    parser.add_argument("--plan", required=True, metavar="NAME|DIR")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=60, metavar="N")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        planned = load_model(args.plan, "cpu").card
        windows = replace(planned.windows, bf16=True) if planned.windows else None
        networks, training = planned.networks[:1], MappingProxyType[str, object]({})
        card = replace(planned, name="t2-source", networks=networks, windows=windows, training=training)
        fit = WindowFit(epochs=args.epochs, windows=200)
        recipe = WindowRecipe(card, fit, 0.25, 0, 5, True, "A network for a benchmark.", "Research use only.")
        print(recipe.train(TrainingRun(args.cases, args.output, resume=args.resume)).folder)
    except MedTLError as error:
        print(f"t2_source: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
