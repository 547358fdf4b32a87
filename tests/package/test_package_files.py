"""Writing and reading package folders: whole or absent, and every damage is a PackageError."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_device import manifest, write_package
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flightllm.errors import FlightError, PackageError
from flightllm.package import Package, PackageWriter


def tree(path: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in sorted(path.iterdir())}


def test_round_trip(tmp_path):
    m = manifest(cores=2)
    with PackageWriter(tmp_path / "a.flpkg", cores=2, channels=2) as w:
        assert w.append(0, 0, b"abc") == 0
        assert w.append(0, 0, np.arange(3, dtype="<u2")) == 3
        assert w.position(0, 0) == 9
        w.append(0, 0, np.zeros((0, 3)))
        w.append(0, 0, b"")
        w.append(0, 1, np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2])
        w.write_at(1, 1, 90_000, b"end")
        w.program(bytes(128))
        w.tokenizer("{}")
        w.chat_template("hé")
        done = w.commit(m)
    p = Package.open(tmp_path / "a.flpkg", verify=True)
    assert p.manifest == done
    # only what the writer knows was filled in
    assert replace(done, files={}, instructions=0, image_bytes=0) == m
    assert (done.instructions, done.image_bytes) == (2, 90_003)
    assert (p.program, p.tokenizer_json, p.chat_template) == (bytes(128), "{}", "hé")
    first = p.image(0, 0)
    assert first[:9].tobytes() == b"abc\0\0\1\0\2\0"
    assert p.image(0, 1)[:7].tolist() == [0, 2, 4, 6, 8, 10, 0]
    assert first.shape == (90_003,)
    assert not first[9:].any()
    assert p.image(1, 1)[90_000:].tobytes() == b"end"
    assert not p.image(1, 1)[:90_000].any()
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_same_content_same_bytes(tmp_path):
    write_package(tmp_path / "a.flpkg")
    (tmp_path / "sub").mkdir()
    write_package(tmp_path / "sub" / "b.flpkg")
    assert tree(tmp_path / "a.flpkg") == tree(tmp_path / "sub" / "b.flpkg")


def test_images_only_grow(tmp_path):
    with pytest.raises(ValueError, match="written already"), PackageWriter(tmp_path / "a", cores=1, channels=1) as w:
        w.append(0, 0, b"12345")
        w.write_at(0, 0, 4, b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path, error):
    write_package(tmp_path / "old.flpkg")
    before = tree(tmp_path / "old.flpkg")
    for name in ("new.flpkg", "old.flpkg"):
        with pytest.raises(error), PackageWriter(tmp_path / name, cores=1, channels=2, force=True) as w:
            w.append(0, 0, b"abc")
            w.program(bytes(64))
            w.commit(manifest())
            raise error
    assert [p.name for p in tmp_path.iterdir()] == ["old.flpkg"]
    assert tree(tmp_path / "old.flpkg") == before


def test_nothing_is_left_without_commit(tmp_path):
    with pytest.raises(RuntimeError, match="commit"), PackageWriter(tmp_path / "a", cores=1, channels=2):
        pass
    with pytest.raises(ValueError, match="no program"), PackageWriter(tmp_path / "a", cores=1, channels=2) as w:
        w.commit(manifest())
    with pytest.raises(PackageError, match="overlap"), PackageWriter(tmp_path / "a", cores=1, channels=2) as w:
        w.program(bytes(64))
        m = manifest()
        w.commit(replace(m, memory=(m.memory[0], replace(m.memory[1], addr=64), *m.memory[2:])))
    assert list(tmp_path.iterdir()) == []


def test_overwriting(tmp_path):
    target = tmp_path / "a.flpkg"
    write_package(target)
    before = tree(target)

    def write(force):
        with PackageWriter(target, cores=1, channels=2, force=force) as w:
            w.program(bytes(64))
            w.commit(replace(manifest(), name="new"))

    with pytest.raises(PackageError, match="--force"):
        write(False)
    assert tree(target) == before
    write(True)
    assert Package.open(target, verify=True).manifest.name == "new"
    assert "tokenizer.json" not in tree(target)
    assert [p.name for p in tmp_path.iterdir()] == ["a.flpkg"]


@pytest.mark.parametrize("kind", ["file", "folder", "foreign manifest", "dangling link"])
def test_only_packages_are_replaced(tmp_path, kind):
    target = tmp_path / "a.flpkg"
    if kind == "file":
        target.write_text("precious")
    elif kind == "dangling link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        (target / "manifest.json").write_text("{}") if kind == "foreign manifest" else (target / "x").write_text("x")
    before = os.lstat(target).st_ino
    with pytest.raises(PackageError, match="not a package"), PackageWriter(target, cores=1, channels=1, force=True):
        pass
    assert os.lstat(target).st_ino == before
    assert len(list(tmp_path.iterdir())) == 1


def test_target_that_appears_meanwhile_is_kept(tmp_path):
    target = tmp_path / "a.flpkg"
    with pytest.raises(PackageError, match="not a package"), PackageWriter(target, cores=1, channels=2) as w:
        w.program(bytes(64))
        w.commit(manifest())
        target.write_text("precious")
    assert target.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_parent_missing(tmp_path):
    with pytest.raises(PackageError, match="does not exist"), PackageWriter(tmp_path / "x" / "a", cores=1, channels=1):
        pass


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        write_package(tmp_path / "a.flpkg")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.flpkg").stat().st_mode) == 0o755


def test_flipped_image_byte_is_found_by_verify_only(tmp_path):
    p = write_package(tmp_path / "a.flpkg")
    file = p.path / "core0.ch1.bin"
    data = bytearray(file.read_bytes())
    data[17] ^= 4
    file.write_bytes(data)
    Package.open(p.path)
    with pytest.raises(PackageError, match=r"core0\.ch1\.bin"):
        Package.open(p.path, verify=True)


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b""])
def test_image_of_another_size_is_found_at_once(tmp_path, change):
    p = write_package(tmp_path / "a.flpkg")
    file = p.path / "core0.ch1.bin"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(PackageError, match=r"wrong size(.|\n)*core0\.ch1\.bin(.|\n)*the manifest says 256"):
        Package.open(p.path)


@pytest.mark.parametrize("name", ["program.bin", "tokenizer.json", "chat_template.jinja"])
def test_flipped_byte_elsewhere_is_found_at_once(tmp_path, name):
    p = write_package(tmp_path / "a.flpkg")
    data = bytearray((p.path / name).read_bytes())
    data[9] ^= 1
    (p.path / name).write_bytes(data)
    with pytest.raises(PackageError, match="damaged"):
        Package.open(p.path)


def test_image_that_changes_size_after_open(tmp_path):
    p = write_package(tmp_path / "a.flpkg")
    (p.path / "core0.ch0.bin").write_bytes(b"")
    with pytest.raises(PackageError, match=r"core0\.ch0"):
        p.image(0, 0)
    (p.path / "core0.ch0.bin").unlink()
    with pytest.raises(PackageError, match=r"core0\.ch0"):
        p.image(0, 0)


@pytest.mark.parametrize("what", ["nothing", "file", "empty folder"])
def test_not_a_package(tmp_path, what):
    target = tmp_path / "x"
    if what == "file":
        target.write_text("x")
    elif what == "empty folder":
        target.mkdir()
    with pytest.raises(PackageError, match="not a package") as error:
        Package.open(target)
    assert "flightllm compile" in error.value.do
    assert "Errno" not in error.value.why


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    p = write_package(tmp_path_factory.mktemp("sound") / "a.flpkg")
    return tree(p.path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzz(tmp_path_factory, sound, data):
    """Random damage: open, read everything; nothing but FlightError may come out of it."""
    path = tmp_path_factory.mktemp("fuzz")
    names = sorted(sound)
    victims = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    for name, content in sound.items():
        raw = bytearray(content)
        if name in victims:
            how = data.draw(st.sampled_from(["flip", "cut", "grow", "remove", "folder", "digit"]))
            if how == "remove":
                continue
            if how == "folder":
                (path / name).mkdir()
                continue
            at = data.draw(st.integers(0, len(raw) - 1))
            if how == "flip":
                raw[at] ^= data.draw(st.integers(1, 255))
            elif how == "digit":  # keeps a manifest JSON more often than a flip does
                digits = [i for i, b in enumerate(raw) if 48 <= b <= 57]
                if digits:
                    raw[digits[at % len(digits)]] = data.draw(st.integers(48, 57))
            elif how == "cut":
                del raw[at:]
            else:
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        (path / name).write_bytes(raw)
    try:
        p = Package.open(path, verify=True)
    except FlightError as error:
        assert error.where
        assert error.do
        return
    # what passes the checks is either untouched or differs in the manifest alone
    assert {n: b for n, b in tree(path).items() if n != "manifest.json"} == {
        n: b for n, b in sound.items() if n != "manifest.json"
    }
    for core in range(p.manifest.arch.cores):
        for channel in range(p.manifest.arch.channels):
            assert p.image(core, channel).size == p.manifest.image_bytes
