#!/usr/bin/env bash
# Makes the virtual environment for development: setup.sh PYTHON VENV. Installs system packages only as root on Debian; otherwise
# says which are missing.
set -euo pipefail
python=$1
venv=$2

need=()
command -v g++ >/dev/null || need+=(g++)
command -v make >/dev/null || need+=(make)
command -v perl >/dev/null || need+=(perl)
command -v git >/dev/null || need+=(git)
command -v "$python" >/dev/null || need+=(python3)
"$python" -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
if [ ${#need[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${need[@]}"
  else
    echo "flightllm: these system packages are missing: ${need[*]}" >&2
    echo "  install them (Debian, Ubuntu: sudo apt-get install ${need[*]}) and run make again" >&2
    exit 1
  fi
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "flightllm: Python 3.11 or newer is needed, $("$python" --version) is there; set PYTHON=..." >&2
  exit 1
}

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# torch first and by its exact version: later packages then take it as it is.
"$venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0"
"$venv/bin/pip" install --quiet --disable-pip-version-check -e ".[dev]"
