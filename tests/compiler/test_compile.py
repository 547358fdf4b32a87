"""Compiling with every kind of compression, on every board, and everything that must be refused."""

import json

import numpy as np
import pytest
from graphs import VARIANTS, decoder
from packages import build, feed, small_arch

from flightllm.compiler import compile_model
from flightllm.compress.recipe import Recipe
from flightllm.config.board import list_boards, load_board
from flightllm.errors import ConfigError, FitError, FlightError, RecipeError, UnsupportedError
from flightllm.executors.functional import FunctionalDevice
from flightllm.ir.reference import evaluate
from flightllm.isa import decode_program
from flightllm.isa.load import LDW
from flightllm.isa.matrix import MM

IDS = np.random.default_rng(2).integers(0, 70, 64).tolist()

#: recipe, least correlation of the logits with the uncompressed model's, most bits per weight of the matrices
RECIPES = {
    "8 bits": ({"weights": 8, "group": 128}, 0.999, 9.5),
    "5 bits": ({"weights": 5, "group": 64}, 0.99, 7.5),
    "4 bits g32": ({"weights": 4, "group": 32}, 0.98, 6.5),
    "3 bits g32": ({"weights": 3, "group": 32}, 0.90, 5.5),
    "2 bits g32": ({"weights": 2, "group": 32}, 0.45, 4.5),
    "8:16": ({"weights": 8, "sparsity": 8}, 0.85, 9.5),
    "mix": ({"weights": 5.5, "group": 64}, 0.97, 5.5),
    "kv 4": ({"weights": 8, "kv": 4}, 0.97, 9.5),
}


@pytest.fixture(scope="module")
def graph():
    """Large enough that padding does not dominate the bits."""
    return decoder(dim=128, heads=4, kv_heads=2, head_dim=32, ffn=256, vocab=256)


def run(package, ids=IDS):
    device = FunctionalDevice()
    device.load(package)
    return feed(device, ids, [32] * (len(ids) // 32))


def matrix_bits(package):
    """Stored bits per weight over the matrices."""
    rows = [t for t in package.manifest.tensors if "embed" not in t.node]
    return sum(t.bits_per_weight * t.rows * t.k for t in rows) / sum(t.rows * t.k for t in rows)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(name, graph, tmp_path):
    options, correlation, bits = RECIPES[name]
    board = load_board("u280").with_arch(small_arch(channels=2))
    recipe = Recipe.from_options(**options)
    compile_model(graph, board=board, output=tmp_path / "p.flpkg", recipe=recipe)
    from flightllm.package import Package

    package = Package.open(tmp_path / "p.flpkg", verify=True)
    want = evaluate(graph, IDS)
    assert np.corrcoef(run(package).ravel(), want.ravel())[0, 1] > correlation
    assert matrix_bits(package) < bits


def test_a_mixed_matrix_with_passes_and_row_ranges(graph, tmp_path):
    """A sum of a narrow dense pass and a wide sparse one, rows of another precision, and N that differs by layer."""
    recipe = {
        "default": {"weights": 4, "group": 32},
        "rule": [
            {"match": "mlp.down", "passes": [{"bits": 3}, {"bits": 8, "n": 2}], "group": 128},
            {"match": "attn.o", "rows": [[0, 8, {"weights": 8}]]},
            {"match": "layers.0.mlp.up", "weights": 8, "sparsity": 8, "group": 128},
        ],
    }
    package = build(graph, tmp_path / "p.flpkg", small_arch(channels=2), recipe)
    plain = build(graph, tmp_path / "q.flpkg", small_arch(channels=2), {"default": {"weights": 3, "group": 32}})
    want = evaluate(graph, IDS).ravel()
    good, worse = (np.corrcoef(run(p).ravel(), want)[0, 1] for p in (package, plain))
    assert good > 0.85
    assert good != worse
    formats = {t.node: set(t.formats) for t in package.manifest.tensors}
    assert any("+" in text for text in formats["layers.0.mlp.down"])
    assert any("8:16" in text for text in formats["layers.0.mlp.gate_up"])
    tables = [i for i in decode_program(bytes(package.program)) if isinstance(i, MM) and i.values["table"]]
    assert tables


def test_a_model_without_tokenizer_is_compiled_and_the_report_says_so(graph, tmp_path):
    from flightllm.api import find_model

    report = compile_model(graph, board="u280", output=tmp_path / "p.flpkg")
    assert [note for note in report.notes if "no tokenizer" in note]
    assert ("Notes", report.notes[-1]) == (report.tables()[-1][0], report.tables()[-1][2][-1][0])
    assert f"{report.tokens:,} dependency tokens" in str(report.tables()[0])
    report = compile_model(find_model("tiny-austen"), board="tiny", output=tmp_path / "q.flpkg")
    assert not [note for note in report.notes if "no tokenizer" in note]


@pytest.mark.parametrize("name", ["u280", "u55c", "u50", "vhk158", "kv260", "tiny"])
def test_every_board_takes_the_embedded_model(name, tmp_path):
    from flightllm.api import find_model

    assert set(list_boards()) == {"u280", "u55c", "u50", "vhk158", "kv260", "tiny"}
    report = compile_model(find_model("tiny-austen"), board=name, output=tmp_path / "p.flpkg")
    assert report.manifest.limits.max_context == 512
    assert report.program_bytes < 40_000  # two bodies
    titles = [title for title, _, _ in report.tables()]
    assert titles[:4] == ["Written", "Weights", titles[2], "On chip, per core"]
    json.dumps(report.to_json())


def test_weight_loads_run_ahead_of_their_use(graph, tmp_path):
    program = decode_program(bytes(build(graph, tmp_path / "p.flpkg").program))
    ahead, most = 0, 0
    for inst in program:
        ahead += isinstance(inst, LDW)
        ahead -= isinstance(inst, MM)
        assert 0 <= ahead <= small_arch().queue_depth
        most = max(most, ahead)
    assert most >= 4
    assert ahead == 0


def test_no_instruction_depends_on_a_length(graph, tmp_path):
    """One program for all lengths: what differs between runs is registers, so one package serves them all."""
    package = build(graph, tmp_path / "p.flpkg")
    device = FunctionalDevice()
    device.load(package)
    before = bytes(package.program)
    whole = feed(device, IDS, [32, 32])
    for n in (1, 7, 33):
        assert np.array_equal(feed(device, IDS[:n], [1] * n), whole[:n])
    assert bytes(package.program) == before


REFUSED = [
    (FitError, "memory", {"arch": small_arch(channels=1, channel_bytes=1 << 16)}),
    (FitError, r"on-chip buffers.*\n  where: VB has no room for .*\S\n  why", {"arch": small_arch(vb_elements=2048)}),
    (FitError, "on-chip buffers", {"arch": small_arch(ab_windows=64)}),
    (FitError, "does not fit", {"arch": small_arch(cores=4, channels=32)}),
    (FitError, "does not fit", {"arch": small_arch(channels=32, vpus=64)}),
    (
        UnsupportedError,
        r"100000 tokens is not possible(.|\n)*made for up to 256\n  do: .* 1 to 256",
        {"max_context": 100_000},
    ),
    (UnsupportedError, "2.5 tokens is not possible", {"max_context": 2.5}),
    (UnsupportedError, "0 tokens is not possible", {"max_context": 0}),
    (RecipeError, "matches no", {"recipe": Recipe.from_dict({"rule": [{"match": "nothing.*", "weights": 4}]})}),
    (RecipeError, "budget", {"recipe": Recipe.from_options(weights=2.16, group=32)}),
    (ConfigError, "no board", {"board": "u999"}),
]


@pytest.mark.parametrize(("kind", "text", "options"), REFUSED)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(kind, text, options, graph, tmp_path):
    with pytest.raises(kind, match=text) as e:
        compile_model(graph, **{"board": "u280", "output": tmp_path / "p.flpkg", **options})
    assert isinstance(e.value, FlightError)
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_that_does_not_fit_is_made_smaller(graph, tmp_path):
    package = build(graph, tmp_path / "p.flpkg", small_arch(vb_elements=12 << 10))
    assert 1 <= package.manifest.limits.max_chunk < 32
    device = FunctionalDevice()
    device.load(package)
    n = package.manifest.limits.max_chunk
    small = feed(device, IDS[:n], [n])
    assert np.array_equal(small, run(build(graph, tmp_path / "q.flpkg"))[:n])


def test_a_large_model_for_a_small_board_is_refused_before_it_is_read(tmp_path):
    """Figures name what is needed and what is there."""
    graph = decoder(dim=1024, heads=8, kv_heads=8, head_dim=128, ffn=4096, vocab=70)

    def never():
        raise AssertionError("a weight was read")

    for node in graph.linears():
        object.__setattr__(node.op.weight, "read", never)
    with pytest.raises(FitError, match=r"bytes per channel are needed"):
        compile_model(graph, board="u280", arch=small_arch(channel_bytes=1 << 20), output=tmp_path / "p.flpkg")


@pytest.mark.parametrize("variant", ["llama", "gpt2"])
def test_cores_share_one_layout_of_mixed_formats(variant, tmp_path):
    graph = decoder(**{**VARIANTS[variant], "dim": 96, "ffn": 160})
    recipe = {"default": {"weights": 5.5, "group": 64}}
    one = run(build(graph, tmp_path / "a.flpkg", small_arch(cores=1, channels=4), recipe), IDS)
    three = run(build(graph, tmp_path / "b.flpkg", small_arch(cores=3, channels=1), recipe), IDS)
    # Granules differ, so the mixes do; both must be sane.
    assert np.corrcoef(one.ravel(), three.ravel())[0, 1] > 0.95


def test_heads_that_the_matrix_unit_cannot_hold(tmp_path):
    graph = decoder(dim=64, heads=1, kv_heads=1, head_dim=272, ffn=64, vocab=70)
    with pytest.raises(UnsupportedError, match="heads of 272") as caught:
        compile_model(graph, board="u280", output=tmp_path / "p.flpkg")
    assert caught.value.where == "layers.0.attn.core" and not (tmp_path / "p.flpkg").exists()
