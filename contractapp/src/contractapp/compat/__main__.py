"""`python -m contractapp.compat RELEASED CONTRACT`."""

import sys

from contractapp.compat.command import main

if __name__ == "__main__":
    sys.exit(main())
