"""Starts the worker in a Python that is not Slicer's, or says what that Python lacks: `python FILE [--check]`.

Out: one line of JSON, where the engine cannot run: {"event": "unfit", "python": "3.8.10", "lacking": ["torch>=2.8"]},
the packages only where Python itself is new enough. Else the worker's own lines, or with --check {"event": "fit"}.

Any older Python 3 has to be able to read this file: no annotations, no new syntax. Run as a file, its folder comes
first on sys.path, and goes off it, because some modules of MedTL have names that others have, too.
"""

if __name__ == "__main__":
    import sys
    from pathlib import Path

    here = Path(__file__).resolve().parent
    sys.path[:] = [str(here.parent), *(folder for folder in sys.path if Path(folder).resolve() != here)]

    import json
    import platform

    new_enough, lacking = sys.version_info >= (3, 11), []
    if new_enough:
        from medtl.requirements import engine_requirements, unmet

        lacking = list(unmet(engine_requirements()))
    if lacking or not new_enough:
        record = {"event": "unfit", "python": platform.python_version(), "lacking": lacking}
        sys.stdout.write(json.dumps(record) + "\n")
    elif "--check" in sys.argv:
        sys.stdout.write(json.dumps({"event": "fit"}) + "\n")
    else:
        import runpy

        runpy.run_module("medtl.worker", run_name="__main__", alter_sys=True)
