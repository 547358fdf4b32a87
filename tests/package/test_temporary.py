"""What killed runs leave beside a package, and that the next run removes it, and nothing else."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from fake_device import manifest, write_package

from flightllm.errors import PackageError
from flightllm.package import Package, PackageWriter
from flightllm.package.temporary import GROWING, KEPT, REPLACED, TemporaryFolder

ROOT = Path(__file__).parents[2]
KILLED = """
    import sys, time
    from pathlib import Path
    from flightllm.package import PackageWriter
    with PackageWriter(sys.argv[1], cores=1, channels=2) as w:
        w.append(0, 1, bytes(5000))
        print("writing", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def killed(tmp_path):
    """A folder in which a run was killed while it wrote p.flpkg."""
    code = textwrap.dedent(KILLED)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "p.flpkg")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(GROWING)
    return tmp_path


def test_the_next_run_removes_it(killed):
    write_package(killed / "p.flpkg")
    assert [f.name for f in killed.iterdir()] == ["p.flpkg"]
    Package.open(killed / "p.flpkg", verify=True)


def test_a_failing_run_removes_it_too(killed):
    (killed / "p.flpkg").mkdir()
    with pytest.raises(PackageError, match="not a package"):
        write_package(killed / "p.flpkg")
    assert [f.name for f in killed.iterdir()] == ["p.flpkg"]


def test_another_package_does_not(killed):
    for other in ("q.flpkg", "flpkg", "p", "p.flpkg.x"):
        write_package(killed / other)
    assert len(list(killed.glob(".p.flpkg.*.tmp"))) == 1


def test_a_run_that_lives_keeps_its_folder(tmp_path):
    with PackageWriter(tmp_path / "p.flpkg", cores=1, channels=2, force=True) as w:
        w.append(0, 0, b"data")
        (mine,) = tmp_path.iterdir()
        write_package(tmp_path / "p.flpkg")  # another run for the same package, done before
        assert {f.name for f in tmp_path.iterdir()} == {mine.name, "p.flpkg"}
        w.program(bytes(64))
        w.commit(replace(manifest(), name="later"))
    assert Package.open(tmp_path / "p.flpkg", verify=True).manifest.name == "later"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "name",
    [".p.flpkg.tmp", ".p.flpkg.abc.tmp", ".p.flpkg.ABCDEFGH.tmp", "p.flpkg.abcdefgh.tmp", ".p.flpkg.abcdefgh.tmp2"],
)
def test_other_names_are_left(tmp_path, name):
    (tmp_path / name).mkdir()
    write_package(tmp_path / "p.flpkg")
    assert (tmp_path / name).is_dir()


def test_what_is_not_ours_is_left(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "program.bin").write_text("x")
    foreign = tmp_path / ".p.flpkg.aaaaaaaa.tmp"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("x")
    (tmp_path / ".p.flpkg.bbbbbbbb.tmp").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".p.flpkg.cccccccc.tmp").write_text("a file")
    old = tmp_path / ".p.flpkg.dddddddd.old"
    (old / KEPT).mkdir(parents=True)  # not a package
    before = set(tmp_path.rglob("*"))
    write_package(tmp_path / "p.flpkg")
    assert before <= set(tmp_path.rglob("*"))


def test_a_package_that_was_moved_away_comes_back(tmp_path):
    """The run was killed after it had moved the old package away, before the new one had its name."""
    old = tmp_path / ".p.flpkg.abcdefgh.old"
    old.mkdir()
    write_package(tmp_path / "p.flpkg").path.rename(old / KEPT)
    with pytest.raises(PackageError, match="exists already"):
        write_package(tmp_path / "p.flpkg")
    assert [f.name for f in tmp_path.iterdir()] == ["p.flpkg"]
    Package.open(tmp_path / "p.flpkg", verify=True)


def test_a_replaced_package_is_removed(tmp_path):
    old = tmp_path / ".p.flpkg.abcdefgh.old"
    old.mkdir()
    write_package(tmp_path / "p.flpkg").path.rename(old / KEPT)
    write_package(tmp_path / "q.flpkg").path.rename(tmp_path / "p.flpkg")
    write_package(tmp_path / "p.flpkg", force=True)
    assert [f.name for f in tmp_path.iterdir()] == ["p.flpkg"]


def test_the_only_copy_is_never_removed(tmp_path, monkeypatch):
    """Neither the new package can get its name, nor the old one its name back."""
    write_package(tmp_path / "p.flpkg")
    real = Path.rename

    def rename(self, to):
        if Path(to).name == "p.flpkg":
            raise OSError("no")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PackageError, match="cannot be written"):
        write_package(tmp_path / "p.flpkg", force=True)
    monkeypatch.undo()
    (kept,) = tmp_path.iterdir()
    assert kept.name.endswith(REPLACED)
    with pytest.raises(PackageError, match="exists already"):
        write_package(tmp_path / "p.flpkg")
    Package.open(tmp_path / "p.flpkg", verify=True)


def test_without_locks_nothing_is_removed(killed, monkeypatch):
    monkeypatch.setattr("flightllm.package.temporary.fcntl", None)
    write_package(killed / "p.flpkg")
    assert len(list(killed.iterdir())) == 2


def test_the_lock_ends_with_the_folder(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    folder = TemporaryFolder(tmp_path, "p", GROWING)
    folder.close()
    assert not list(tmp_path.iterdir())
    assert len(os.listdir("/proc/self/fd")) == before
