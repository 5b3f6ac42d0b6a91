"""A few seconds of `scripts/fuzz.py`; run the script for longer searches."""

import re
import subprocess
import sys

from helpers.paths import ROOT


def test_of_mutated_files_and_odd_arrays_nothing_comes_but_documented_errors_and_warnings():
    command = [sys.executable, ROOT / "scripts" / "fuzz.py", "--cases", "1500", "--seconds", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    read, refused = re.match(r"1500 cases: (\d+) read, (\d+) refused, 0 failed; ", done.stdout).groups()
    assert int(read) + int(refused) == 1500
    assert min(int(read), int(refused)) > 200
