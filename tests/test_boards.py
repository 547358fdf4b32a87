"""Board files, and the check whether an architecture config fits a board."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightllm.config.arch import ArchConfig
from flightllm.config.board import FLOWS, list_boards, load_board
from flightllm.config.paths import data_dir
from flightllm.errors import ConfigError, FitError, ToolError
from flightllm.resources import check_fit, dsp_count, estimate, fit_rows, rows_within
from flightllm.synth.timing import CLOCK_MHZ

BOARDS = ["kv260", "tiny", "u280", "u50", "u55c", "vhk158"]


def test_boards_that_come_with_flightllm():
    assert list_boards() == BOARDS


@pytest.mark.parametrize("name", BOARDS)
def test_default_config_fits_its_board(name):
    board = load_board(name)
    assert board.name == name
    assert [row.resource for row in check_fit(board, board.arch) if not row.fits] == []
    assert board.flow in FLOWS
    # a port that is slower than its memory would make the memory's figures meaningless, one that is far faster is waste
    port_gbps = board.arch.port_bits / 8 * board.arch.clock_mhz / 1000
    if name == "kv260":  # the four ports at the clock that the paths allow: less than the memory, and all there is
        assert board.arch.port_bits == 512
        assert board.arch.clock_mhz == CLOCK_MHZ
    else:
        assert board.memory.channel_gbps <= port_gbps <= 1.5 * board.memory.channel_gbps or name == "tiny"


@pytest.mark.parametrize("name", BOARDS)
def test_clocks_above_what_paths_allow_have_their_reason_in_the_file(name):
    board = load_board(name)
    (line,) = re.findall(r"^clock_mhz = .*", (data_dir("boards") / f"{name}.toml").read_text(), re.MULTILINE)
    assert board.arch.clock_mhz <= CLOCK_MHZ or "#" in line


@pytest.mark.parametrize("name", ["kv260", "u280", "u50", "u55c", "vhk158"])
def test_defaults_leave_room_beside_the_kernel(name):
    board = load_board(name)
    assert all(row.fits for row in rows_within(board, board.arch, {"lut": 0.9, "bram36": 0.9}))


@pytest.mark.parametrize(
    ("name", "gigabytes", "gbps"),
    [("u280", 8, 460), ("u55c", 16, 460), ("u50", 8, 316), ("vhk158", 32, 819.2), ("kv260", 3.5, 19.2)],
)
def test_totals_are_those_of_the_data_sheets(name, gigabytes, gbps):
    memory = load_board(name).memory
    assert memory.channels * memory.channel_bytes == gigabytes * 2**30
    assert memory.channels * memory.channel_gbps == pytest.approx(gbps)


def test_u280_figures_by_hand():
    board = load_board("u280")
    assert dsp_count(board.arch) == 32 * 6 * 20 + 16 * 18 + 16 * 4 == 4192
    rows = {row.resource: row for row in fit_rows(board, board.arch)}
    # 4,096 x 72 bits each. VB: four banks of 512 bits; AB: four copies of every second window; ring: 1,024 bits, W and K
    assert rows["URAM"].need == 4 * 8 * 40960 // 4096 + 4 * 2 * 32768 // 4096 + 32 * 16
    assert rows["URAM"].have == 960
    # cores multiply everything that a core has
    two = replace(board.arch, cores=2, channels=16)
    assert dsp_count(two) == 2 * (16 * 6 * 20 + 16 * 18 + 64)
    # two VPUs in a chain take the DSPs of one
    assert dsp_count(replace(board.arch, vpus=16, chain_vpus=2)) == dsp_count(replace(board.arch, vpus=8, chain_vpus=1))
    assert {r.resource: r.need for r in fit_rows(board, two)}["URAM"] == 2 * (320 + 64 + 16 * 16)


@pytest.mark.parametrize("name", BOARDS)
def test_no_dsp_is_inferred_by_accident(name):
    """Synthesis finds those of the design, and at most 40 a core for addresses and counts."""
    arch = load_board(name).arch
    assert 0 <= estimate(arch).total("dsp") - dsp_count(arch) <= 40 * arch.cores


@pytest.mark.parametrize(
    ("change", "resource"),
    [
        ({"cores": 2}, "memory channels"),
        ({"channel_bytes": 512 << 20}, "bytes per channel"),
        ({"vpus": 32}, "DSP"),
        ({"vb_elements": 8 << 20}, "URAM"),
        ({"w_ring_bytes": 1 << 20}, "URAM"),
        ({"mb_bytes": 1 << 16, "acc_entries": 4096}, "BRAM36"),
        ({"cores": 4, "channels": 8}, "cores"),
        ({"clock_mhz": 301.0}, "clock MHz"),
    ],
)
def test_what_does_not_fit_is_named_with_its_figures(change, resource):
    board = load_board("u280")
    arch = replace(board.arch, **change)
    (row,) = [r for r in fit_rows(board, arch) if r.resource.startswith(resource)]
    assert not row.fits
    with pytest.raises(FitError) as error:
        check_fit(board, arch)
    (line,) = [
        text for text in str(error.value).splitlines() if "<- too much" in text and text.strip().startswith(resource)
    ]
    assert f"{row.need:,.10g}" in line
    assert f"{row.have:,.10g}" in line
    assert "clock MHz" in str(error.value)  # the whole table, not only what is wrong


def test_exactly_full_fits():
    board = load_board("u280")
    check_fit(board, replace(board.arch, clock_mhz=300.0))
    need = int(estimate(board.arch).total("dsp"))
    check_fit(replace(board, resources=replace(board.resources, dsp=need)), board.arch)
    with pytest.raises(FitError):
        check_fit(replace(board, resources=replace(board.resources, dsp=need - 1)), board.arch)


def test_estimates_of_logic_do_not_refuse_a_config():
    board = load_board("u280")
    small = replace(board, resources=replace(board.resources, lut=1))
    (row,) = [r for r in check_fit(small, board.arch) if not r.fits]
    assert (row.resource, row.estimate) == ("LUT (estimate)", True)


def test_unknown_board_lists_the_known():
    with pytest.raises(ConfigError) as error:
        load_board("u281")
    assert all(name in str(error.value) for name in BOARDS)
    with pytest.raises(ConfigError, match="there is no board"):
        load_board("../boards/u280")


def test_board_of_ones_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text((data_dir("boards") / "u50.toml").read_text().replace('name = "u50"', 'name = "mine"'))
    mine = load_board(file)
    assert replace(mine, name="u50") == load_board("u50")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dsp = 5952", "", "fields missing dsp"),
        ("dsp = 5952", "dsp = 5952\nvram = 1", "unknown vram"),
        ("dsp = 5952", 'dsp = "many"', "dsp = 'many' is not legal"),
        ("dsp = 5952", "dsp = -1", "dsp = -1 is not legal"),
        ("dsp = 5952", "dsp = true", "dsp = True is not legal"),
        ("channel_gbps = 9.875", "channel_gbps = nan", "channel_gbps = nan is not legal"),
        ("measured_gbps = 9.1", "measured_gbps = 91", "measured_gbps = 91 is not legal"),
        ("latency_ns = [107, 122, 138]", "latency_ns = 107", "latency_ns = 107 is not legal"),
        ("latency_ns = [107, 122, 138]", 'latency_ns = ["1"]', "latency_ns"),
        ("latency_ns = [107, 122, 138]", "latency_ns = [107]", "latency_ns"),
        ("slr = 0", "slr = 2", "memory.slr = 2 is not legal"),
        ("slrs = 2", "slrs = 0", "slrs = 0 is not legal"),
        ('flow = "vitis"', 'flow = "quartus"', "flow = 'quartus' is not legal"),
        ('title = "AMD Alveo U50"', "title = 50", "title = 50 is not legal"),
        ("[resources]", "[resource]", "a table is missing"),
        ("[arch]", "[architecture]", "no table [arch]"),
        ("vpus = 8", "vpus = 9", "vpus = 9 is not legal"),
        ("chain_vpus = 2", "chain_vpus = 3", "chain_vpus = 3 is not legal"),
        ("vpus = 8", "vpus = 8.0", "vpus = 8.0 is not legal"),
        ("vpus = 8", 'vpus = "8"', "vpus = '8' is not legal"),
        ("vpus = 8", "vpu = 8", "unknown parameter vpu"),
        ("slrs = 2", "slrs = = 2", "not TOML"),
    ],
)
def test_damaged_board_files(tmp_path, old, new, message):
    text = (data_dir("boards") / "u50.toml").read_text()
    assert text.count(old) >= 1
    file = tmp_path / "damaged.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_board(file)
    assert message in str(error.value)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("cores", 1.5, "not a whole number"),
        ("cores", "4", "not a whole number"),
        ("cores", True, "not a whole number"),
        ("cores", None, "not a whole number"),
        ("cores", 5, "1 to 4"),
        ("clock_mhz", "225", "not a number"),
        ("clock_mhz", False, "not a number"),
        ("clock_mhz", 0, "above 0"),
        ("clock_mhz", -1.0, "above 0"),
        ("clock_mhz", float("nan"), "above 0"),
        ("clock_mhz", float("inf"), "above 0"),
    ],
)
def test_config_values_of_wrong_type_or_range(name, value, why):
    with pytest.raises(ConfigError) as error:
        ArchConfig.from_dict({name: value}, "my config")
    assert f"{name} = {value}" in error.value.what.replace("'", "")
    assert (error.value.where, why in error.value.why, name in error.value.do) == ("my config", True, True)


def test_a_whole_number_is_a_legal_clock_and_stays_one():
    assert ArchConfig.from_dict({"clock_mhz": 200}).to_dict()["clock_mhz"] == 200
    assert isinstance(ArchConfig.from_dict({"clock_mhz": 200}).clock_mhz, int)


def test_board_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_board(tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_board(tmp_path / "folder.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not TOML"):
        load_board(tmp_path / "binary.toml")


TOML_VALUES = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(max_size=5), st.lists(st.integers(), max_size=3), st.just({})
)


@given(table=st.sampled_from(["", "resources", "memory", "arch"]), pick=st.integers(0, 20), value=TOML_VALUES)
def test_any_value_anywhere_gives_a_board_or_an_error_that_says_why(table, pick, value):
    from flightllm.config.board import _board

    data = tomllib.loads((data_dir("boards") / "tiny.toml").read_text())
    fields = data[table] if table else data
    fields[sorted(fields)[pick % len(fields)]] = value
    message = ""
    try:
        board = _board(data, "here")
        fit_rows(board, board.arch)
    except ConfigError as error:
        message = str(error)
    assert not message or "here" in message


def test_no_such_data_folder():
    with pytest.raises(ToolError, match="no folder attic"):
        data_dir("attic")
    with pytest.raises(ToolError):
        data_dir("tests")  # in a checkout it exists, but it is not package data
