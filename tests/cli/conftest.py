import sys
from pathlib import Path

# helpers shared by the tests of package, runtime and cli
sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

import types

import pytest
from click.testing import CliRunner
from fake_device import FakeDevice, write_package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on disk; the functional executor is the fake one."""
    module = types.ModuleType("flightllm.executors.functional")
    module.FunctionalDevice = FakeDevice
    monkeypatch.setitem(sys.modules, "flightllm.executors.functional", module)
    return str(write_package(tmp_path / "fake.flpkg").path)


@pytest.fixture
def flightllm():
    """(arguments, input) -> result of the command line, in process."""
    from flightllm.cli import main

    def call(*args, input=None):
        return CliRunner().invoke(main, [str(a) for a in args], input=input, prog_name="flightllm")

    return call
