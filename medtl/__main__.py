"""The entry point of `medtl`: Ctrl-C prints one line, also while the command line is still being loaded."""

import sys


def main() -> int:
    """The exit status of `medtl.commands.cli.main`."""
    try:
        from .commands.cli import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("medtl: Cancelled.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
