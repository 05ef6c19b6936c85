"""Nothing leaves the computer: the whole command works where every way to the network is shut."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk
from conftest import ROOT
from small_model import a_card, save

from medtl.io.write import write_image
from medtl.model.card import NetworkSpec
from medtl.phantom import head

# Runs before anything else of the process; whoever tries is stopped and noted, even where the error is swallowed.
SHUT = """
import socket, sys
from pathlib import Path

def shut(*arguments, **_):
    with Path("tried").open("a") as note:
        note.write(f"{arguments}\\n")
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = shut
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = shut
"""
RUN = "from medtl.commands.cli import main; sys.exit(main(sys.argv[1:]))"


def run(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "MEDTL_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SHUT + code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_segmenting_asks_nothing_of_the_network(tmp_path):
    arguments = {"encoder": "mobilenetv2_050", "channels": 3, "labels": 1}
    spec = replace(a_card().input, neighbours=1)
    save(tmp_path / "model", replace(a_card(), networks=(NetworkSpec("unet2d", arguments),), input=spec))
    volume = head(0, size=(64, 64, 4), spacing=(3.4, 3.4, 20.0)).volume
    write_image(tmp_path / "head.nrrd", volume.array, volume.geometry)
    line = "segment head.nrrd --model model --output out.seg.nrrd --flip --uncertainty u.nrrd --probabilities p.nrrd"
    done = run(tmp_path, RUN, *line.split(), "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["errors"] == []
    assert record["results"][0]["segments"][0]["id"] == "small.lesion"
    assert sitk.ReadImage(str(tmp_path / "out.seg.nrrd")).GetSize() == (64, 64, 4)
    assert not (tmp_path / "tried").exists()


def test_the_way_to_the_network_is_really_shut(tmp_path):
    done = run(tmp_path, "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')")
    assert done.returncode != 0
    assert "no network here" in done.stderr
    assert (tmp_path / "tried").exists()
