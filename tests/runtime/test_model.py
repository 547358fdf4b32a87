"""Model and the Python API."""

from pathlib import Path

import numpy as np
import pytest
from fake_device import FakeDevice, write_package

import flightllm
from flightllm import api
from flightllm.errors import ConfigError, FlightError, ModelError, PackageError
from flightllm.runtime.model import Model
from flightllm.runtime.session import Session


def make(tmp_path, **options):
    package = write_package(tmp_path / "a.flpkg", **options)
    device = FakeDevice()
    device.load(package)
    return Model(package, device)


@pytest.fixture
def model(tmp_path):
    return make(tmp_path)


def test_text_is_the_decoded_tokens(model):
    ids = list(Session(model.device, model.package).generate(model.tokenizer.encode("Hé"), 12, stop={257}))
    assert model.generate("Hé", 12) == model.tokenizer.decode(ids)
    assert list(model.stats.ids) == ids
    assert (model.stats.prompt_tokens, model.stats.reused, model.stats.finish) == (3, 0, "length")


def test_generate_does_not_depend_on_what_came_before(model):
    first = model.generate("Hello world", 8)
    model.generate("Something else", 8)
    assert model.generate("Hello world", 8) == first


def test_common_beginning_is_not_fed_again(model):
    model.generate("Hello world", 4)
    runs = len(model.device.calls)
    model.generate("Hello worms", 1)
    assert model.stats.reused == 9
    assert model.device.calls[runs:] == [(2, 9, 1, True)]


def test_characters_stay_whole(model, monkeypatch):
    euro = model.tokenizer.encode("€")
    monkeypatch.setattr(FakeDevice, "script", dict(enumerate([*euro, *euro, *euro[:2]], 1)))
    assert list(model.stream("Hi", 8)) == ["€", "€", "\ufffd"]


def test_chat_takes_token_ids_of_the_template(model):
    talk = [{"role": "user", "content": "Hi"}]
    text = "".join(model.chat(talk, 5))
    ids = [256, *model.tokenizer.encode("[user]Hi\n[assistant]")]
    assert model.generate(ids, 5) == text


def test_logits(model):
    ids = list(range(20))
    got = model.logits(ids)
    assert got.shape == (20, 258)
    np.testing.assert_array_equal(model.logits(ids)[19], Session(model.device, model.package, 1).feed(ids)[0])
    np.testing.assert_array_equal(got, model.logits(ids))


def test_perplexity_of_a_file_and_of_its_text(model, tmp_path):
    text = "Call me Ishmael. Some years ago, never mind how long precisely." * 2
    (tmp_path / "t.txt").write_text(text)
    a = model.perplexity(text, 2, 30)
    b = model.perplexity(tmp_path / "t.txt", 2, 30)
    np.testing.assert_array_equal(a.nll, b.nll)
    assert a.nll.shape == (2, 29)
    half = model.perplexity(text, 2, 30, logits_of=lambda ids: [np.zeros((30, 258), np.float32)])
    assert half.value == pytest.approx(258)


def test_missing_parts_are_named(tmp_path):
    model = make(tmp_path, tokenizer=False, chat="")
    with pytest.raises(PackageError, match="no tokenizer"):
        model.generate("Hello")
    assert len(list(model.session.generate([1, 2], 3))) == 3  # token ids do without
    (tmp_path / "b").mkdir()
    with pytest.raises(PackageError, match="no chat template"):
        list(make(tmp_path / "b", chat="").chat([{"role": "user", "content": "x"}]))


def test_names_of_the_package():
    assert flightllm.load is api.load
    assert flightllm.Model is Model
    with pytest.raises(AttributeError, match="nothing"):
        _ = flightllm.nothing


def test_find_model(tmp_path, monkeypatch):
    monkeypatch.setattr(api.resources, "files", lambda _: tmp_path)
    (tmp_path / "models" / "small").mkdir(parents=True)
    (tmp_path / "models" / "small" / "config.json").write_text("{}")
    (tmp_path / "models" / "not-a-model").mkdir()
    assert api.embedded_models() == ["small"]
    assert api.find_model("small") == tmp_path / "models" / "small"
    assert api.find_model(tmp_path) == tmp_path
    for name in ("not-a-model", "../models/small", "big"):
        with pytest.raises(ModelError, match="one of: small"):
            api.find_model(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert api.find_model("small") == Path("small")  # a path goes before a name


def test_arch_overrides(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("channels = 8\nclock_mhz = 200\n")
    assert api.arch_overrides(file, {"channels": 16}) == {"channels": 16, "clock_mhz": 200}
    file.write_text("[x")
    with pytest.raises(ConfigError, match=r"a\.toml"):
        api.arch_overrides(file)
    file.write_text("colour = 1")
    with pytest.raises(ConfigError, match="unknown parameter colour"):
        api.arch_overrides(file)
    with pytest.raises(ConfigError, match="channels = '8' is not legal"):
        api.arch_overrides(None, {"channels": "8"})
    file.write_text("vpus = 8.5")
    with pytest.raises(ConfigError, match=r"vpus = 8.5 is not legal\n  where: .*a\.toml"):
        api.arch_overrides(file)


@pytest.mark.parametrize(
    ("model", "name"), [("x/m.Q4_1.gguf", "m.Q4_1.flpkg"), ("x/m.onnx", "m.flpkg"), ("x/Some-1.5B", "Some-1.5B.flpkg")]
)
def test_default_output(model, name):
    assert api.default_output(Path(model)) == Path(name)


def test_flight_errors_reach_the_caller(model):
    with pytest.raises(FlightError, match="context is 64"):
        model.perplexity("x" * 1000, 1, 65)


def test_seeds_of_synthetic_weights():
    for seed in (-1, 1.5, "a", True):
        with pytest.raises(ModelError, match="synthetic = .* is not possible"):
            api.load_graph("tiny-austen", synthetic=seed)


def test_a_compile_report_is_one_line(tmp_path):
    report = api.compile("tiny-austen", tmp_path / "a.flpkg", board="tiny", max_context=64)
    assert repr(report).startswith(f"<CompileReport of {tmp_path}/a.flpkg: ")
    assert f"{report.manifest.instructions} instructions" in repr(report)
