"""Starts its arguments as a child process on its own streams and ends with it, as PythonSlicer starts the interpreter.

Killing this process does not end the child: that is the point of it.
"""

import subprocess
import sys

if __name__ == "__main__":
    sys.exit(subprocess.Popen(sys.argv[1:]).wait())
