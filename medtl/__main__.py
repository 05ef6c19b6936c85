"""`medtl` from its first moment: Ctrl-C while the command line itself is being loaded is one line, too."""

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
