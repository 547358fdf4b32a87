"""flightllm run: what it prints is what the model says."""

import json
import time

import pytest
from fake_device import FakeDevice, write_package

from flightllm.errors import FlightError
from flightllm.package import Package
from flightllm.runtime.model import Model
from flightllm.runtime.sampling import SamplingOptions


def test_continues_a_prompt(flightllm, package):
    want = Model.open(package).generate("Hello", 10)
    for extra in ([], ["--no-stream"], ["--chunk", 1], ["--chunk", 3]):
        result = flightllm("run", package, "-p", "Hello", "-n", 10, *extra)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == want + "\n"


def test_prompt_from_standard_input(flightllm, package):
    """A message, since the package has a chat template."""
    for given, kind in (([], ["--chat"]), (["--no-chat"], []), (["--chat"], ["--chat"])):
        want = flightllm("run", package, "-p", "Some text", "-n", 5, *kind).stdout
        assert flightllm("run", package, "-n", 5, *given, input="Some text").stdout == want
        assert flightllm("run", package, "-n", 5, *given, input="Some text\n").stdout == want
        assert flightllm("run", package, "-n", 5, *given, input="Some text\n\n").stdout != want
    texts = [flightllm("run", package, "-p", "Some text", "-n", 5, *kind).stdout for kind in ([], ["--chat"])]
    assert texts[0] != texts[1]


def test_standard_input_without_a_chat_template(flightllm, package, tmp_path):
    plain = write_package(tmp_path / "plain.flpkg", chat="").path
    want = flightllm("run", plain, "-p", "Some text", "-n", 5).stdout
    assert flightllm("run", plain, "-n", 5, input="Some text\n").stdout == want
    result = flightllm("run", plain, "--chat", "-n", 5, input="Some text\n")
    assert result.exit_code == 1
    assert "do: leave out --chat and --system and give a text to continue with --prompt; to chat," in result.stderr


@pytest.mark.parametrize("extra", [[], ["--json"], ["--no-stream"]])
def test_a_model_that_ends_at_once_gives_a_hint(flightllm, package, tmp_path, monkeypatch, extra):
    plain = write_package(tmp_path / "plain.flpkg", chat="").path
    real = FakeDevice.run_chunk

    def ends(self, ids, pos, nlog, masken):
        out = real(self, ids, pos, nlog, masken)
        out[:, 257] = 1e9
        time.sleep(0.01)
        return out

    monkeypatch.setattr(FakeDevice, "run_chunk", ends)
    for path, chat, do in (
        (package, [], "It was made to chat: use --chat."),
        (package, ["--chat"], "Put the message in other words"),
        (plain, [], "Give it the beginning of a text"),
    ):
        result = flightllm("run", path, "-p", "Hello", *chat, *extra)
        assert result.exit_code == 0
        assert result.stderr.startswith("hint: the model ended at once, so there is no text. " + do)
        if extra == ["--json"]:
            data = json.loads(result.stdout)
            assert (data["text"], data["finish"], data["chat"]) == ("", "stop", bool(chat))
            assert data["prompt_seconds"] >= 0.01
        else:
            assert result.stdout == "\n"


def test_no_hint_where_no_text_was_wanted(flightllm, package):
    result = flightllm("run", package, "-p", "Hello", "-n", 0)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "\n", "")


def test_sampling_options_reach_the_sampler(flightllm, package):
    args = ["-n", 12, "--temperature", 1.3, "--top-k", 50, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.2]
    options = SamplingOptions(1.3, 50, 0.9, 0.01, 1.2, seed=5)
    want = Model.open(package).generate("Hello", 12, options)
    assert flightllm("run", package, "-p", "Hello", *args, "--seed", 5).stdout == want + "\n"
    assert flightllm("run", package, "-p", "Hello", *args, "--seed", 6).stdout != want + "\n"


def test_json_is_one_document(flightllm, package):
    model = Model.open(package)
    text = model.generate("Hello", 10)
    result = flightllm("run", package, "-p", "Hello", "-n", 10, "--json")
    data = json.loads(result.stdout)
    assert data["text"] == text
    assert (data["prompt"], data["prompt_tokens"], data["new_tokens"], data["finish"]) == ("Hello", 5, 10, "length")
    assert data["ids"] == list(model.stats.ids)
    assert data["executor"] == "functional"
    assert data["counters"] == {"runs": 10}
    assert data["tokens_per_second"] > 0


def test_chat_uses_the_template(flightllm, package):
    got = flightllm("run", package, "--chat", "--system", "S", "-p", "Hi", "-n", 8)
    model = Model.open(package)
    want = model.generate([256, *model.tokenizer.encode("[system]S\n[user]Hi\n[assistant]", special=False)], 8)
    assert got.stdout == want + "\n"
    assert flightllm("run", package, "--system", "S", "-p", "Hi", "-n", 8).stdout == want + "\n"


def test_end_token_ends(flightllm, package, monkeypatch):
    a = Model.open(package).tokenizer.encode("a")[0]
    monkeypatch.setattr(FakeDevice, "script", {4: a, 5: 257})
    data = json.loads(flightllm("run", package, "-p", "Hello", "--json").stdout)
    assert (data["text"], data["finish"]) == ("a", "stop")


def test_stats(flightllm, package):
    result = flightllm("run", package, "-p", "Hello", "-n", 3, "--stats")
    assert "prompt: 5 tokens (0 from the cache)" in result.stderr
    assert "new: 3 tokens" in result.stderr
    assert "ended by length" in result.stderr


def test_without_limit_it_ends_with_the_context(flightllm, package):
    data = json.loads(flightllm("run", package, "-p", "x" * 60, "--json").stdout)
    assert data["finish"] in ("context", "stop")
    assert data["new_tokens"] <= 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-p", "x" * 65], "0 tokens are in it, 65 more do not fit into the package's 64"),
        (["-p", ""], "no tokens"),
        (["-p", "a", "--chunk", 9], "1 to 8"),
        (["-p", "a", "--on", "gpu"], "unknown executor"),
        (["-p", "a", "--on", "board"], "a card needs an xclbin"),
        (["-p", "a", "--on", "board", "--xclbin", "none.xclbin"], "the xclbin cannot be read\n  where: none.xclbin"),
        (["-p", "a", "--top-p", 0], "top_p"),
    ],
)
def test_errors(flightllm, package, args, message):
    result = flightllm("run", package, *args)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize("option", ["--xclbin", "--device", "--timeout"])
def test_options_of_a_card_need_one(flightllm, package, option):
    for command in (["run", package, "-p", "a"], ["eval", package, "text.txt"]):
        result = flightllm(*command, option, "1")
        assert result.exit_code == 2 and f"{option} needs --on board" in result.stderr


def test_a_prompt_that_is_not_utf8(flightllm, package):
    result = flightllm("run", package, "-n", 2, input=b"\xff\xfe")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the prompt is not UTF-8\n  where: standard input" in result.stderr


def test_bytes_that_the_locale_lets_through_are_not_utf8(flightllm, package, monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.read", lambda self, *_: "\udcff\udcfe", raising=False)
    assert "the prompt is not UTF-8" in flightllm("run", package, "-n", 2, input="").stderr


def test_an_error_after_some_text_begins_a_new_line(flightllm, package, monkeypatch):
    def stream(*_):
        yield "some"
        raise FlightError("no more")

    monkeypatch.setattr(Model, "stream", stream)
    result = flightllm("run", package, "-p", "a")
    assert (result.stdout, result.stderr) == ("some\n", "error: no more\n")


def test_checksums_are_compared_before_anything_runs(flightllm, package, tmp_path):
    (tmp_path / "text.txt").write_text("It is a truth universally acknowledged")
    commands = (
        ["run", package, "-p", "a", "-n", 2],
        ["eval", package, tmp_path / "text.txt", "--windows", 1, "--tokens", 8],
    )
    for command in commands:
        assert flightllm(*command).exit_code == 0
    image = Package.open(package).path / "core0.ch1.bin"
    image.write_bytes(b"\xff" + image.read_bytes()[1:])
    for command in (*commands, ["simulate", package, "--on", "rtl"]):
        result = flightllm(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"a file of the package is damaged\n  where: {image}" in result.stderr
    for command in commands:
        assert flightllm(*command, "--no-verify").exit_code == 0


def test_no_chat_and_system_contradict(flightllm, package):
    assert flightllm("run", package, "--no-chat", "--system", "x", "-p", "y").exit_code == 2
