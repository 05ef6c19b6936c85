"""Whether a killed engine loses a job: the panel's client against the real engine, killed at random moments.

    python Testing/benchmarks/worker_kills.py [--kills 50]

Each round submits two jobs and kills the engine some time later, while it loads, works or is idle again. A job is lost
if it has no answer or more than one, if it is "done" without a whole result, or if it failed and left a part of one.
After the last kill one more job must be served.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "MedTLSegment")]

import host  # noqa: E402

host.start()

from tables import table  # noqa: E402

from medtl.io.read import read_labelmap  # noqa: E402
from medtl.io.write import write_image  # noqa: E402
from medtl.phantom import head  # noqa: E402
from MedTLLib.jobs.worker import Worker  # noqa: E402

PATIENCE = 300.0
SIZE = (96, 96, 6)


class Job:
    def __init__(self, worker: Worker, name: str) -> None:
        self.output = worker.folder / f"{name}.seg.nrrd"
        self.answers: list[str] = []
        request = {"job": "segment", "model": "glioma-flair", "input": "head.nrrd", "output": self.output.name}
        worker.submit(
            request | {"options": {"device": "cpu"}},
            lambda stage, fraction, left: None,
            lambda result: self.answers.append("served"),
            lambda kind, message, advice: self.answers.append(kind),
        )

    def wait(self) -> "Job":
        host.process_until(lambda: self.answers, PATIENCE, "An answer")
        return self

    @property
    def fate(self) -> str:
        left = [file.name for file in self.output.parent.iterdir() if self.output.name in file.name]
        if self.answers == ["served"]:
            whole = left == [self.output.name] and read_labelmap(self.output).array.shape == SIZE[::-1]
            return "served" if whole else "lost"
        return "reported" if self.answers == ["WorkerDied"] and left == [] else "lost"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", default=str(ROOT / ".venv" / "bin" / "python"), help="interpreter of the engine")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    launcher = [sys.executable, str(ROOT / "Testing" / "slicer" / "fake_launcher.py")]
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker([*launcher, options.python, "-u", "-P", "-m", "medtl.worker"], Path(folder))
        volume = head(size=SIZE, spacing=(2.3, 2.3, 20.0)).volume
        write_image(worker.folder / "head.nrrd", volume.array, volume.geometry)
        began = time.monotonic()
        Job(worker, "first").wait()
        span = 1.4 * (time.monotonic() - began)  # two jobs at work, and a while idle
        worker.stop()
        fates: Counter[str] = Counter()
        states: Counter[str] = Counter()
        for kill in range(options.kills):
            jobs = [Job(worker, f"{kill}-{n}") for n in range(2)]
            moment = time.monotonic() + moments.uniform(0.0, span)
            host.process_until(lambda moment=moment: worker.pid and time.monotonic() >= moment, PATIENCE, "The engine")
            states[worker.state] += 1
            os.kill(worker.pid, signal.SIGKILL)
            fates.update(job.wait().fate for job in jobs)
            host.process_until(lambda: worker.state == "stopped", PATIENCE, "The end of the engine")
        last = Job(worker, "last").wait().fate
        worker.stop()
    kills = f"{options.kills} kills: {states['busy']} of a busy engine, {states['ready']} of an idle one"
    print(*table([kills, "jobs"], [[name, str(fates[name])] for name in ("served", "reported", "lost")]), sep="\n")
    print(f"\nThe job after the last kill was {last}.")
    sys.exit(fates["lost"] > 0 or last != "served")


if __name__ == "__main__":
    main()
