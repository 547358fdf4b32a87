"""The command line as a process: start-up, exit codes, Ctrl-C, broken pipes, terminals."""

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import flightllm.cli
from flightllm.errors import FitError

RUNTIME = Path(__file__).parents[1] / "runtime"
ROOT = Path(__file__).parents[2]
#: the command line on the fake executor, `pause` seconds a run
FAKE = """
import sys, time, types
sys.path[:0] = [{runtime!r}, {root!r}]
import fake_device
class Device(fake_device.FakeDevice):
    def run_chunk(self, *args):
        time.sleep({pause})
        return super().run_chunk(*args)
module = types.ModuleType("flightllm.executors.functional")
module.FunctionalDevice = Device
sys.modules["flightllm.executors.functional"] = module
from flightllm.cli import main
main(prog_name="flightllm")
"""


def fake(*args, pause=0.0):
    return [sys.executable, "-c", FAKE.format(runtime=str(RUNTIME), root=str(ROOT), pause=pause), *map(str, args)]


def test_help_imports_nothing_heavy():
    code = """
        import sys
        from flightllm.cli import COMMANDS, main
        for name in COMMANDS:
            assert main.get_command(None, name).name == name
        heavy = {"numpy", "torch", "tokenizers", "jinja2", "networkx", "tqdm", "onnx"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=ROOT)


def test_start_up_time():
    """CPU time, and the best of three, since the machine may be busy."""
    best = min(_seconds() for _ in range(3))
    assert best < 0.3


def _seconds():
    before = os.times()
    command = [sys.executable, "-c", "from flightllm.cli import main; main()", "--help"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_names_every_command(flightllm):
    out = flightllm("--help").stdout
    for name, text in flightllm_commands():
        assert name in out
        assert text in out
        result = flightllm(name, "--help")
        assert result.exit_code == 0
        assert "--json" in result.stdout


def flightllm_commands():
    return list(flightllm.cli.COMMANDS.items())


def test_usage_errors(flightllm):
    for args in (["nothing"], ["run"], ["run", "--nothing", "x"], ["compile", "x"]):
        result = flightllm(*args)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Error" in result.stderr


def test_user_errors_exit_1(flightllm, tmp_path):
    result = flightllm("inspect", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (1, "")
    lines = (
        "error: not a package",
        f"where: {tmp_path}/none",
        "why: there is no such folder",
        "do: give the folder that",
    )
    assert [line.strip()[: len(part)] for line, part in zip(result.stderr.splitlines(), lines, strict=True)] == [*lines]
    debug = flightllm("inspect", tmp_path / "none", "--debug")
    assert debug.exit_code == 1
    assert "Traceback" in debug.stderr
    assert result.stderr in debug.stderr
    # the flag does not stick to the next command of the process
    assert flightllm("inspect", tmp_path / "none").stderr == result.stderr


def test_errors_as_json(flightllm, package, tmp_path, monkeypatch):
    """With --json standard output holds one document, whatever happens; standard error and the exit code are as without."""

    def both(*args):
        plain, data = flightllm(*args), flightllm(*args, "--json")
        assert (plain.stdout, plain.exit_code) == ("", data.exit_code)
        assert plain.stderr == data.stderr
        document = json.loads(data.stdout)
        assert set(document) == {"error"}
        assert set(document["error"]) == {"what", "where", "why", "do"}
        return data.exit_code, document["error"]

    code, error = both("inspect", tmp_path / "none")
    assert code == 1
    assert (error["what"], error["where"]) == ("not a package", f"{tmp_path}/none")
    assert (error["why"], error["do"]) == ("there is no such folder", "give the folder that `flightllm compile` wrote")
    code, error = both("run", package, "-p", "a", "--nothing")
    assert code == 2
    assert ("--nothing" in error["what"], error["where"]) == (True, "command line")
    assert error["do"] == "see flightllm run --help"
    code, error = both("run", package, "-p", "a", "--no-chat", "--system", "x")
    assert (code, error["what"]) == (2, "--system needs the chat template; leave out --no-chat")

    def fail(*_, **__):
        raise ZeroDivisionError("oh no")

    monkeypatch.setattr("flightllm.runtime.model.Model.run", fail)
    result = flightllm("run", package, "-p", "a", "--json")
    assert result.exit_code == 70
    assert json.loads(result.stdout)["error"]["why"] == "ZeroDivisionError: oh no"
    # the flag does not stick to the next command of the process
    assert flightllm("inspect", tmp_path / "none").stdout == ""


def test_mistakes_of_ours_exit_70(flightllm, package, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("flightllm.cli.inspect._summary", fail)
    result = flightllm("inspect", package)
    assert (result.exit_code, result.stdout) == (70, "")
    assert "ZeroDivisionError: oh no" in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in flightllm("inspect", package, "--debug").stderr


def test_other_flight_errors_are_shown_whole(flightllm, package, monkeypatch):
    def fail(*_):
        raise FitError("too big", where="here", why="2 > 1", do="less")

    monkeypatch.setattr("flightllm.cli.inspect._summary", fail)
    assert flightllm("inspect", package).stderr == "error: too big\n  where: here\n  why: 2 > 1\n  do: less\n"


def test_interrupt(package):
    process = subprocess.Popen(
        fake("run", package, "-p", "x", pause=0.2), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.read(1)  # it generates
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip() == "interrupted"


#: `flightllm compile` that takes its time over every matrix
SLOW = """
import sys, time
sys.path.insert(0, {root!r})
from flightllm.compiler import images
code = images.code_tensor
images.code_tensor = lambda *a, **k: (time.sleep(0.5), code(*a, **k))[1]
from flightllm.cli import main
main(prog_name="flightllm")
"""


def compiling(folder, before=""):
    """The process of a compile into `folder`, which has begun to write."""
    command = [sys.executable, "-c", before + SLOW.format(root=str(ROOT)), "compile", "tiny-austen", "--board", "tiny"]
    process = subprocess.Popen(
        [*command, "--max-context", "64", "-o", str(folder / "p.flpkg")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob(".p.flpkg.*.tmp/core0.ch0.bin")):
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("number", "text"),
    [(signal.SIGTERM, "terminated"), (signal.SIGHUP, "terminal closed"), (signal.SIGINT, "interrupted")],
)
def test_a_signal_leaves_nothing_of_a_package(tmp_path, number, text):
    process = compiling(tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (128 + number, "", text)
    assert list(tmp_path.iterdir()) == []


def test_what_nohup_ignores_stays_ignored(tmp_path):
    process = compiling(tmp_path, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_signals_are_given_back(flightllm):
    before = signal.getsignal(signal.SIGTERM)
    assert flightllm("boards").exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_broken_pipe(package):
    process = subprocess.Popen(
        fake("run", package, "-p", "x", pause=0.05), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=20) == 141
    assert err == ""


@pytest.fixture
def terminal(package):
    """A conversation over a pseudo-terminal: (lines to type) -> (all that was shown, exit code)."""

    def talk(lines, *args):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(fake("run", package, *args), stdin=theirs, stdout=theirs, stderr=subprocess.STDOUT)
        os.close(theirs)
        shown = b""
        for number, line in enumerate([*lines, None]):
            while line is None or shown.count(b"> ") <= number:  # the next prompt, or all there is
                try:
                    piece = os.read(ours, 4096)
                except OSError:  # the other end is closed
                    break
                shown += piece
            if line is not None:
                os.write(ours, line.encode())
        code = process.wait(timeout=20)
        os.close(ours)
        return shown.decode(errors="replace").replace("\r\n", "\n"), code

    return talk


def test_interactive_chat(terminal):
    shown, code = terminal(
        ["Hi\n", "More\n", "/reset\n", "Hi again\n", "/exit\n"], "-n", "4", "--stats", "--temperature", "0"
    )
    assert code == 0, shown
    assert "fake on sim" in shown
    # the first turn, then a second that reuses the first, then a new conversation
    first, second, third = [line for line in shown.split("\n") if "from the cache" in line]
    assert "prompt: 21 tokens (0 from the cache)" in first
    assert "(0 from" not in second
    assert int(second.split()[1]) >= 21 + len("More\n[user]\n[assistant]")  # the first turn is part of the second
    assert "prompt: 27 tokens (0 from the cache)" in third
    assert "Traceback" not in shown


def test_interactive_ends_with_end_of_file(terminal):
    shown, code = terminal(["\x04"])
    assert code == 0, shown


def test_interrupt_stops_the_answer_not_the_conversation(package):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        fake("run", package, pause=0.05), stdin=theirs, stdout=theirs, stderr=subprocess.STDOUT, start_new_session=True
    )
    os.close(theirs)
    shown = b""

    def read_until(done):
        nonlocal shown
        while not done():
            shown += os.read(ours, 4096)

    read_until(lambda: b"> " in shown)
    os.write(ours, b"Hi\n")
    read_until(lambda: len(shown.partition(b"> ")[2]) > 12)  # more than the echo of the line: the answer
    process.send_signal(signal.SIGINT)
    read_until(lambda: shown.count(b"> ") >= 2)
    os.write(ours, b"/exit\n")
    assert process.wait(timeout=20) == 0
    assert b"Traceback" not in shown
    os.close(ours)
