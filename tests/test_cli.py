"""The command line and the folder that it writes."""

import os
import subprocess
import sys

import pytest

from m4kit import __version__, cli


class TestTheProcess:
    def run(self, *words, body="return 0", **options):
        """`m4kit` with these words. Without any, a command runs that has this body."""
        code = f"import os, sys, warnings\nfrom m4kit import cli, commands\ndef run(words):\n {body}\n"
        code += "sys.exit(cli.main())" if words else "cli._run = run\nsys.exit(cli.main())"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.run([sys.executable, "-c", code, *words], text=True, check=False, **pipes)

    def test_the_version_is_the_packages(self):
        assert self.run("--version").stdout == f"m4kit {__version__}\n"

    @pytest.mark.parametrize(("words", "body"), [(["--help"], ""), ([], "commands.say(1); return 0")])
    def test_a_reader_that_has_gone_is_no_error(self, words, body):
        read, write = os.pipe()
        os.close(read)
        done = self.run(*words, body=body or "pass", stdout=write)
        os.close(write)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
    def test_output_that_does_not_fit_is_an_error(self):
        body = "try: commands.say(1)\n except OSError as error: print(error, file=sys.stderr); return 2"
        with open("/dev/full", "w") as full:
            done = self.run(body=body, stdout=full)
        assert (done.returncode, done.stderr) == (
            2,
            "[Errno 28] No space left on device: 'standard output'\n",
        )

    def test_a_signal_ends_a_command_as_ctrl_c_does(self):
        body = "try: os.kill(os.getpid(), 15)\n except KeyboardInterrupt as stop: return stop.status"
        assert self.run(body=body).returncode == 143

    def test_names_that_are_not_valid_utf8_and_warnings_can_be_printed(self):
        done = self.run(body=r"print('caf\udce9'); warnings.warn('two frames'); return 0")
        assert (done.stdout, done.stderr) == ("caf\\udce9\n", "warning: two frames\n")


def test_help_names_the_commands_without_loading_what_they_need(tmp_path):
    code = (
        "import sys; from m4kit import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'matplotlib', 'open3d', 'm4kit.predict_page', 'm4kit.visualize'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in ("predict", "evaluate", "ablate", "train"))


def test_no_command_shows_what_there_is(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
