"""`python -m clhd` is the command `clhd`.

Python then looks for modules in the current folder first. Here it looks there last: a yaml.py of the user is not taken
for the library of that name.
"""

import os
import sys

if sys.path[0] == os.getcwd():  # noqa: PTH109 (pathlib is not imported yet); not so with -P
    sys.path.append(sys.path.pop(0))

from clhd.helper import ask

if __name__ == "__main__":
    answer = ask(sys.argv[1:])
    if answer is None:
        from clhd.cli import main

        answer = main()
    sys.exit(answer)
