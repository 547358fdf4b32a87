#!/usr/bin/env bash
# Makes the virtual environment for development: setup.sh PYTHON VENV. System packages that are missing are installed only as root on
# Debian and its relatives; otherwise their names are printed. Python packages come from wherever this machine's pip takes them.
set -euo pipefail
python=$1
venv=$2

need=()
for program in g++ make perl; do # Verilator's models are compiled here; Verilator itself is a perl script
  command -v "$program" >/dev/null || need+=("$program")
done
# tests run the Tcl that `flightllm build` writes: in tclsh, or in the Tcl of Python's tkinter, which slim Pythons lack
command -v tclsh >/dev/null || "$python" -c 'import _tkinter' 2>/dev/null || need+=(tcl)
# headers of Verilator's FST traces: tests write them, nothing else needs them, so only who can install them gets them
have_header() { echo "#include <$1>" | g++ -E -x c++ - >/dev/null 2>&1; }
if [ "$(id -u)" = 0 ]; then
  have_header lz4.h || need+=(liblz4-dev)
  have_header zlib.h || need+=(zlib1g-dev)
fi
if ! command -v "$python" >/dev/null; then
  need+=(python3 python3-venv)
elif [ ! -x "$venv/bin/pip" ] && ! "$python" -c 'import ensurepip' 2>/dev/null; then
  need+=(python3-venv)
fi
if [ ${#need[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "flightllm: installing system packages: ${need[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}"
  else
    echo "flightllm: these system packages are missing: ${need[*]}" >&2
    echo "  install them (Debian, Ubuntu: sudo apt-get install ${need[*]}) and run make again" >&2
    exit 1
  fi
fi
# the browser in which tests look at the page of `flightllm report`; those skip without one, so nothing fails here
has_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
if ! has_browser >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "flightllm: installing chromium"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium || true
  fi
  has_browser >/dev/null || echo "flightllm: no Chromium here: tests of the page of \`flightllm report\` will be skipped (Debian: apt-get install chromium)" >&2
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "flightllm: Python 3.11 or newer is needed, this is $("$python" --version); choose one: make PYTHON=python3.12 ..." >&2
  exit 1
}

if [ ! -x "$venv/bin/pip" ]; then
  # an environment without pip is what an interrupted run has left; anything else in that place is not ours to clear
  if [ -f "$venv/pyvenv.cfg" ]; then clear=(--clear); else clear=(); fi
  "$python" -m venv "${clear[@]}" "$venv"
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
echo "flightllm: installing Python packages into $venv (about 1.5 GB)"
# torch first and by its exact version (see pyproject.toml): what comes later then takes it as it is
pip install --quiet "$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)"
pip install --quiet --editable ".[dev]"
