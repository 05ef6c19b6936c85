"""What a process and its children take: CPU seconds, wall seconds, peak memory. Linux alone, for it reads /proc."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.2  # seconds between two looks at the memory
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Spent:
    """`cpu` and `wall` in seconds; `peak_mb` is the largest sum, over all processes at one moment, of their
    proportional shares of memory (PSS)."""

    cpu: float = 0.0
    wall: float = 0.0
    peak_mb: float = 0.0


def run_watched(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Spent:
    """What the command takes; what it prints goes to `log`.

    Raises: RuntimeError with the end of the log when the command fails.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        with watched(process.pid) as spent:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    spent.cpu = usage.ru_utime + usage.ru_stime  # with every child that was waited for, the last ones, too
    if process.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{end}")
    return spent


@contextmanager
def watched(pid: int) -> Iterator[Spent]:
    """What the process and its children take from now on; complete when the context has ended."""
    spent, ended = Spent(), threading.Event()

    def look() -> None:
        while True:
            spent.peak_mb = max(spent.peak_mb, sum(map(pss_mb, tree(pid))))
            if ended.wait(INTERVAL):
                return

    thread = threading.Thread(target=look)
    began, before = time.perf_counter(), cpu_seconds(pid)
    thread.start()
    try:
        yield spent
    finally:
        spent.wall = time.perf_counter() - began
        spent.cpu = cpu_seconds(pid) - before
        ended.set()
        thread.join()


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none where the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far, with those of its children, of living ones and of those waited for."""
    return sum(sum(map(int, stat_fields(each)[11:15])) for each in tree(pid)) / TICKS


def pss_mb(pid: int) -> float:
    """The process's proportional share of memory, MB; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("Pss:")), 0.0)
