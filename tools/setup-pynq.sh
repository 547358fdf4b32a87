#!/usr/bin/env bash
# Makes the virtual environment with unmodified pynq, in which tests drive the simulated card: setup-pynq.sh PYTHON VENV. Whoever cannot install it can
# do everything else: tests of pynq are then skipped and say so.
set -euo pipefail
python=$1
venv=$2
give_up() {
  echo "flightllm: pynq 3.0.1 could not be installed into $venv: tests of it will be skipped ($1)" >&2
  exit 0
}
if [ ! -x "$venv/bin/pip" ]; then
  if [ -f "$venv/pyvenv.cfg" ]; then clear=(--clear); else clear=(); fi
  "$python" -m venv "${clear[@]}" "$venv" || give_up "no virtual environment"
fi
echo "flightllm: installing pynq 3.0.1 into $venv"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$(dirname "$0")/pynq-requirements.txt" || give_up "pip failed"
"$venv/bin/python" -c 'import pynq' || give_up "it does not import"
touch "$venv/.installed"
