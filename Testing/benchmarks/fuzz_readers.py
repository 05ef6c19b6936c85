"""Every reader against broken files, for as long as wished: nothing but a MedTLError may come out, and nothing crashes.

    .venv/bin/python Testing/benchmarks/fuzz_readers.py --minutes 120 [--only raw.nrrd,a.nii] [--start 0]

Batches run in child processes with a memory limit and a time limit. Each finding is one line: the target, the seed that
repeats it and what happened. Exit status 1 where there is one.
"""

import argparse
import concurrent.futures
import multiprocessing
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "engine")]

from mutations import Target, attempt, targets  # noqa: E402

BATCH = 1000
SECONDS = 300.0  # of a batch, before it counts as hanging
MEMORY = 8 << 30  # bytes of address space of a child


def run(name: str, seeds: range, answers: Any) -> None:
    """Try the seeds one by one; a seed is sent before its try, so that the last one of a dead process is known."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        target = next(each for each in targets(Path(folder)) if each.name == name)
    for seed in seeds:
        answers.send((seed, ""))
        try:
            attempt(target, seed)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            answers.send((seed, f"{type(error).__name__}: {str(error)[:100]} ({where.filename}:{where.lineno})"))
    answers.send((-1, ""))


def findings(name: str, seeds: range) -> list[str]:
    """What went wrong with the seeds; after a crash or a hang it goes on behind it."""
    found = []
    context = multiprocessing.get_context("spawn")
    while len(seeds):
        mine, theirs = context.Pipe(duplex=False)
        child = context.Process(target=run, args=(name, seeds, theirs), daemon=True)
        child.start()
        theirs.close()
        seed, end, done = seeds[0], time.monotonic() + SECONDS, False
        try:
            while not done and mine.poll(max(0.0, end - time.monotonic())):
                seed, problem = mine.recv()
                done = seed == -1
                found += [f"{name} {seed}: {problem}"] if problem else []
        except EOFError:
            child.join()
            found.append(f"{name} {seed}: the process died with status {child.exitcode}")
        else:
            found += [] if done else [f"{name} {seed}: no answer after {SECONDS:g} s"]
        child.kill()
        child.join()
        if done:
            break
        seeds = range(seed + 1, seeds.stop)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", default="", help="names of targets with commas between")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        known: list[Target] = list(targets(Path(folder)))
    names = [each.name for each in known if not args.only or each.name in args.only.split(",")]
    end, first, tried, count = time.monotonic() + 60 * args.minutes, args.start, 0, 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        while time.monotonic() < end:
            batches = [range(first, first + BATCH)] * len(names)
            for lines in pool.map(findings, names, batches):
                tried += BATCH
                count += len(lines)
                for line in lines:
                    print(line, flush=True)
            first += BATCH
    print(f"{tried} files tried, {count} findings; the next seed is {first}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
