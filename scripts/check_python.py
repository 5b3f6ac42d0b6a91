"""Stop the set-up early, with a remedy, where the interpreter is one that m4kit does not support."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"m4kit needs Python 3.11 to 3.13, this is {found}: name another one, e.g. `make demo PYTHON=python3.12`"
    )
