"""Memory of freed tensors: kept for the next ones, and given back after a job."""

import subprocess
import sys

import pytest

# 40 tensors of 100 MB, one after another; prints the pages that the system cleared, and the resident bytes after it.
SCRIPT = """
import resource, sys
import torch
from medtl.memory import keep_freed_memory, release_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    tensor = torch.zeros(25_000_000)
    del tensor
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
for release in (lambda: None, release_freed_memory):
    release()
    print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
def test_memory_of_tensors_is_kept_and_given_back_when_asked():
    def run(mode: str) -> list[int]:
        done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
        return [int(line) for line in done.stdout.split()]

    cleared, _, _ = run("leave")
    cleared_kept, kept, given_back = run("keep")
    assert cleared_kept < cleared / 2
    assert given_back < kept - 90_000_000
