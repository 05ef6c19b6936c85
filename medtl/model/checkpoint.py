"""The weights of a checkpoint of nnU-Net or of a bundle of MONAI, which is a pickle: the one exception to the rule that
MedTL loads no pickle.

A pickle can name any function to be called. So it is read once, when a model is imported, in a process of its own with
limits on memory and time, by torch's reader for weights, which calls nothing but what rebuilds tensors and plain values
and the few names of numpy that nnU-Net's checkpoints hold. What is kept is written as safetensors and JSON; of the
optimizer nothing is read. The process is `python -P -m medtl.model.checkpoint KIND IN OUT` with a kind of `KINDS`: it
writes OUT (safetensors) and, beside it with the suffix .json, the entries of `Checkpoint`, none for MONAI, or
{"problem": text}. It ends when its input ends.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..typed_json import decode
from .files import open_file, parse_json, reason_of

if TYPE_CHECKING:
    from torch import Tensor

SAFE_TORCH = "2.6"  # CVE-2025-32434: before, even weights alone could run code
SECONDS = 600.0  # for one checkpoint, before it counts as hanging
LISTEN_SECONDS = 0.2  # between two calls of `progress`
SPARE_BYTES = 1 << 30  # of address space, beside the checkpoint and what is made of it
MAX_FACTS_BYTES = 100_000
COMMAND = (sys.executable, "-P", "-m", "medtl.model.checkpoint")
NNUNET, MONAI = "nnunet", "monai"
KINDS = {NNUNET: "the checkpoint of an nnU-Net 2 network", MONAI: "the weights of a MONAI network"}
STATES = ("model", "state_dict", "network")  # where MONAI's files of weights hold more than these


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint states beside its weights: the trainer's class, the configuration and the fold that it was
    trained on, and the axes along which its windows may be mirrored."""

    trainer: str
    configuration: str
    fold: str
    mirror: tuple[int, ...]


def convert_checkpoint(
    source: Path,
    target: Path,
    progress: Callable[[], None],
    command: Sequence[str] = COMMAND,
    seconds: float = SECONDS,
) -> Checkpoint:
    """What the checkpoint of nnU-Net at `source` states; its weights are written to `target`, a safetensors file.
    The rest is as in `convert_weights`."""
    facts = convert_weights(source, target, progress, command, seconds, NNUNET)
    checkpoint: Checkpoint = decode(Checkpoint, facts, f"{source.parent.name}/{source.name}")
    return checkpoint


def convert_weights(
    source: Path,
    target: Path,
    progress: Callable[[], None],
    command: Sequence[str] = COMMAND,
    seconds: float = SECONDS,
    kind: str = MONAI,
) -> dict[str, Any]:
    """What a file of weights of this kind states beside them; they are written to `target`, a safetensors file, in
    the precision that they have, fp64 as fp32.

    `progress` is called several times a second; what it raises, such as Cancelled, ends the process that reads.

    Raises: ModelError when the file is of another kind, asks for anything that is no weight, is damaged, or takes too
    much memory or time.
    """
    package = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([package, *([inherited] if inherited else [])])
    # More threads would only need more address space.
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    name = f"{source.parent.name}/{source.name}"
    end = time.monotonic() + seconds
    with subprocess.Popen(
        [*command, kind, str(source), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what libraries print when they crash
        env=environment,
    ) as process:
        try:
            while process.poll() is None:
                progress()
                if time.monotonic() > end:
                    raise ModelError(f"Reading {name} took more than {seconds:.0f} s. Copy it to a fast disk.")
                try:
                    process.wait(LISTEN_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            raise
    facts = read_facts(target, name, process.returncode, kind)
    if "problem" in facts:
        raise ModelError(f"Expected {KINDS[kind]} in {name}, {facts['problem']}")
    return facts


def read_facts(target: Path, name: str, code: int, kind: str) -> dict[str, Any]:
    """What the process wrote beside the weights.

    Raises: ModelError when it crashed.
    """
    try:
        with open_file(target.parent, target.with_suffix(".json").name, MAX_FACTS_BYTES) as stream:
            return dict(parse_json(stream.read(MAX_FACTS_BYTES)))
    except (ModelError, ValueError) as error:
        raise ModelError(
            f"Expected {KINDS[kind]} in {name}, found a file on which the reader crashed (exit status {code}): it is "
            "damaged or too large for this computer. Copy it again, or close other programs."
        ) from error


# --- in the process that reads ---


def main(kind: str, source: Path, target: Path) -> None:
    """Write the weights and what the checkpoint states, or the problem."""
    try:
        facts = convert(kind, source, target)
    except ModelError as error:
        facts = {"problem": str(error)}
    target.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")


def convert(kind: str, source: Path, target: Path) -> dict[str, Any]:
    """What the checkpoint states; its weights are written to `target`.

    Raises: ModelError with the end of a sentence that says what was found.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        content = load(source)
        facts = asdict(facts_of(content)) if kind == NNUNET else {}
        weights = plain_weights(state_of(content, kind))
    except MemoryError as error:
        raise ModelError(
            "found one that needs more memory than there is for it: it is damaged, or other programs are to be closed."
        ) from error
    try:
        save_file(weights, target)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"found one whose weights cannot be written ({reason_of(error)}). Make space on the disk of the models."
        ) from error
    return facts


def load(source: Path) -> Mapping[str, Any]:
    """The entries of the checkpoint. Where its format allows, tensors are read when they are used.

    Raises: ModelError as `convert` does.
    """
    import torch

    if torch.__version__ < SAFE_TORCH:
        raise ModelError(
            f"found a pickle, which PyTorch before {SAFE_TORCH} does not read safely (this is {torch.__version__}). "
            "Import the model on a computer with a newer one, write it with medtl export-model, import that .zip here."
        )
    with source.open("rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    limit_memory(source.stat().st_size)
    try:
        with torch.serialization.safe_globals(numpy_names()):
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=is_zip)
    except MemoryError:
        raise
    except Exception as error:  # of a damaged file torch raises errors of every class
        text = " ".join(str(error).split())
        if name := re.search(r"GLOBAL ([\w.]+)", text):
            found = f"found a pickle that asks for {name[1][:80]}, which is not run. Do not trust it."
        elif re.search(r"allocate memory|out of memory", text):
            raise MemoryError from error
        else:
            reason = re.sub(r"(?i)weights.only load failed.*?(?=[A-Z]\w+Error|$)", "", text)[:160]
            found = f"found a file that is damaged, cut off or of another kind ({reason or type(error).__name__}). "
            found += "Copy it again."
        raise ModelError(found) from error
    if not isinstance(content, Mapping):
        raise ModelError("found no weights in it. Choose another file.")
    return content


def state_of(content: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The layers in a file of weights, by name.

    Raises: ModelError as `convert` does.
    """
    if kind == MONAI:
        inside = [content[key] for key in STATES if isinstance(content.get(key), Mapping)]
        return inside[0] if inside else content
    if not isinstance(content.get("network_weights"), Mapping):
        raise ModelError("found no 'network_weights' in it. Choose the folder of a model trained by nnU-Net 2.")
    state: Mapping[str, Any] = content["network_weights"]
    return state


def numpy_names() -> list[Any]:
    """What nnU-Net's checkpoints hold of numpy, in the curves of their training: numbers and their types."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    numbers = (np.float64, np.float32, np.float16, np.int64, np.int32, np.bool_)
    modules = ("numpy._core.multiarray", "numpy.core.multiarray")  # of numpy 2 and 1
    return [*((scalar, f"{module}.scalar") for module in modules), np.dtype, *(type(np.dtype(n)) for n in numbers)]


def limit_memory(size: int) -> None:
    """Limit the address space of this process to what a checkpoint of `size` bytes needs, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + 3 * size + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return


def facts_of(content: Mapping[str, Any]) -> Checkpoint:
    """What the checkpoint states beside its weights.

    Raises: ModelError as `convert` does.
    """
    given = content.get("init_args")
    given = given if isinstance(given, Mapping) else {}
    trainer, configuration, fold = content.get("trainer_name"), given.get("configuration"), given.get("fold")
    mirror = content.get("inference_allowed_mirroring_axes")
    if not isinstance(trainer, str) or not isinstance(configuration, str) or not isinstance(fold, str | int):
        raise ModelError("found none of its entries trainer_name and init_args. Choose a model of nnU-Net 2.")
    axes = mirror if isinstance(mirror, list | tuple) else ()
    if (mirror is not None and mirror is not axes) or any(type(axis) is not int for axis in axes):
        raise ModelError(f"found the mirrored axes {str(mirror)[:40]}, which are no whole numbers. Copy it again.")
    return Checkpoint(trainer, configuration, str(fold), tuple(axes))


def plain_weights(state: Mapping[str, Any]) -> dict[str, "Tensor"]:
    """The weights as they are, but fp64 as fp32, each layer once, under the shortest of its names.

    Raises: ModelError as `convert` does.
    """
    import torch

    weights: dict[str, Tensor] = {}
    for key, value in state.items():
        name = re.sub(r"^((module|_orig_mod)\.)+", "", str(key))
        if ".all_modules." in name or name.startswith(("decoder.encoder.", "skip_layers.")):  # the same tensor again
            continue
        if type(value) not in (torch.Tensor, torch.nn.Parameter) or not is_plain(value):
            raise ModelError(f"found {name[:80]!r}, which is no layer of weights. Do not trust it.")
        kept = torch.float32 if value.dtype == torch.float64 else value.dtype
        layer = value.detach().to(kept, copy=True).contiguous()
        if not layer.isfinite().all():
            raise ModelError(f"found {name[:80]!r}, whose weights are no finite numbers: it is damaged.")
        weights[name] = layer
    return weights


def is_plain(value: "Tensor") -> bool:
    """True for a tensor of real numbers that are all there: none of them stands for several."""
    import torch

    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def end_with_input() -> None:
    """End the process when its parent does, or closes its input."""
    while os.read(0, 1):
        continue
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
