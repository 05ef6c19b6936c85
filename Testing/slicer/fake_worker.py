"""An engine that speaks the worker's protocol and computes nothing: its jobs are good or bad manners."""

import json
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import medtl


def send(**record: object) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.005)


def do(request: dict[str, Any]) -> None:
    job_id, job = request["id"], request["job"]
    send(id=job_id, event="progress", stage="infer", fraction=0.5, seconds_left=1.5)
    if job == "count":
        for n in range(1, 20):
            time.sleep(0.002)
            send(id=job_id, event="progress", stage="infer", fraction=n / 20, seconds_left=None)
    if job == "draw":
        for loss in (0.5, 0.25):
            send(id=job_id, event="progress", stage="tune", fraction=0.1, seconds_left=None, values={"loss": loss})
    if job == "ignore all":  # to a cancel, and to the end of input
        wait_for("never")
    if job == "die":
        sys.stderr.write("first words\nCUDA error: out of luck\n")
        sys.stderr.flush()
        os._exit(3)
    if job == "babble":
        sys.stdout.write('a library prints\n[1, 2]\n{"id": 99, "event": "done", "result": {}}\n\n')
    if job == "stutter":  # one line in two pieces, the second one on its own
        sys.stdout.write(f'{{"id": {job_id}, "event": "progress", "stage": "wri')
        sys.stdout.flush()
        wait_for(request["go"])
        sys.stdout.write('te", "fraction": 1.0, "seconds_left": null}\n')
    if job == "warn":
        sys.stderr.write("a warning\n")
        sys.stderr.flush()
    if job == "advise":
        send(id=job_id, event="error", kind="InputError", message="Allow 30 s.", advice={"budget": 30})
    elif job != "sit":  # until it is cancelled
        send(id=job_id, event="done", result={"job": job, "folder": str(Path.cwd()), "pid": os.getpid()})


def main() -> None:
    Path("pid").write_text(str(os.getpid()))
    wait_for(os.environ.get("FAKE_HOLD", os.devnull))  # not ready before this file is there
    version = os.environ.get("FAKE_VERSION", medtl.__version__)
    path = os.environ.get("FAKE_PATH", str(Path(medtl.__file__).resolve().parents[1]))
    send(event="ready", pid=os.getpid(), version=version, path=path)
    waiting: deque[dict[str, Any]] = deque()
    sitting = None
    for line in sys.stdin:
        request = json.loads(line)
        if "cancel" not in request:
            waiting.append(request)
        elif request["cancel"] == sitting:
            send(id=sitting, event="error", kind="Cancelled", message="The job was cancelled.")
            sitting = None
        while waiting and sitting is None:
            do(waiting[0])
            sitting = waiting[0]["id"] if waiting[0]["job"] == "sit" else None
            waiting.popleft()
    Path("ended").touch()  # at the end of input


if __name__ == "__main__":
    main()
