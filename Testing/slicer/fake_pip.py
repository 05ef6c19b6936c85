"""Stands in for pip and light-the-torch in a Python of the tests: what it is told is in its folder, in `told.json`.

`told` may have "fails" (a word of the command line, and what is written before the failure), "hangs" (a word at which
it waits until the file `go` is there; the file `here` is there meanwhile), "versions" and "code" (by name of a
package) and "member" (the file in the wheels).
"""

import json
import os
import re
import shutil
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SITE = Path(sysconfig.get_paths()["purelib"])


def add(folder: Path, name: str, version: str, code: str = "") -> None:
    """Make the files of an installed package."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    for older in folder.glob(f"{name.replace('-', '_')}-*.dist-info"):
        shutil.rmtree(older)
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("")
    (info / "top_level.txt").write_text(f"{name.replace('-', '_')}\n")
    (folder / name.replace("-", "_")).mkdir(exist_ok=True)
    (folder / name.replace("-", "_") / "__init__.py").write_text(code)


def remove(folder: Path, name: str) -> None:
    """Remove an installed package."""
    for path in (*folder.glob(f"{name.replace('-', '_')}-*.dist-info"), folder / name.replace("-", "_")):
        shutil.rmtree(path)


def main() -> None:
    """Do what pip does with these arguments."""
    arguments, told = sys.argv[1:], json.loads((HERE / "told.json").read_text())
    constraints = Path(arguments[arguments.index("-c") + 1]).read_text().split() if "-c" in arguments else []
    with (HERE / "calls.jsonl").open("a") as log:
        log.write(
            json.dumps({"by": os.environ.get("BY", "pip"), "arguments": arguments, "constraints": constraints}) + "\n"
        )
    for word, text in told.get("fails", {}).items():
        if word in arguments:
            print(text)
            sys.exit(os.environ.get("BY") != "light_the_torch")  # which ends with 0 in any case
    if told.get("hangs") in arguments:
        (HERE / "here").touch()
        while not (HERE / "go").exists():
            time.sleep(0.01)
    named = [each for each in arguments if re.match(r"[a-z][\w-]*[<>=!]", each)]
    if "--target" in arguments:
        folder = Path(arguments[arguments.index("--target") + 1])
        add(folder, "light-the-torch", "0.8.1")
        code = "import os, runpy\nos.environ['BY'] = 'light_the_torch'\n"
        code += f"runpy.run_path({str(Path(__file__))!r}, run_name='__main__')\n"
        (folder / "light_the_torch" / "__main__.py").write_text(code)
    elif "--report" in arguments:
        items = []
        for name in (re.split("[<>=!]", each)[0] for each in named if "==" not in each):
            version = told["versions"].get(name, "99.0")
            file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            items.append(
                {
                    "download_info": {"url": f"https://files.example/{file}"},
                    "metadata": {"name": name, "version": version},
                }
            )
        Path(arguments[arguments.index("--report") + 1]).write_text(json.dumps({"install": items}))
    elif arguments[0] == "download":
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        for url in (each for each in arguments if each.startswith("https:")):
            file = url.rpartition("/")[2]
            print(f"Downloading {file} (12 kB)\nProgress 6000 of 12000", flush=True)
            with zipfile.ZipFile(folder / file, "w") as wheel:
                wheel.writestr(told.get("member", "module/file.py"), "")
    elif arguments[0] == "uninstall":
        for name in arguments[2:]:
            remove(SITE, name)
    elif "--no-deps" in arguments:
        for wheel in (Path(each).name for each in arguments if each.endswith(".whl")):
            name, version = wheel.split("-")[:2]
            name = name.replace("_", "-")
            add(SITE, name, version, told.get("code", {}).get(name, ""))


if __name__ == "__main__":
    main()
