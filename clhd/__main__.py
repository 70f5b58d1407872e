"""`python -m clhd` is the command `clhd`."""

import sys

from clhd.cli import main

if __name__ == "__main__":
    sys.exit(main())
