"""Create a Python environment with pip in a folder, or stop with an error that says what is missing."""

import importlib.util
import subprocess
import sys


def run_python(*words: str) -> None:
    """Run this Python with arguments; exit with its status if it fails."""
    status = subprocess.run([sys.executable, *words], check=False).returncode
    if status:
        sys.exit(status)


folder = sys.argv[1]
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"m4kit needs Python 3.11 to 3.13, got {found}; choose another one, e.g. `make demo PYTHON=python3.12`"
    )
if importlib.util.find_spec("ensurepip"):
    run_python("-m", "venv", folder)
elif importlib.util.find_spec("pip"):
    # Debian and Ubuntu have ensurepip in a separate package, python3-venv, which may be missing.
    run_python("-m", "venv", "--without-pip", folder)
    pip = ("-m", "pip", "--python", f"{folder}/bin/python", "--quiet", "--disable-pip-version-check")
    run_python(*pip, "install", "pip")
else:
    sys.exit("m4kit's set-up needs pip; on Debian or Ubuntu, run `apt install python3-pip`, then try again")
