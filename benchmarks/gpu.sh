#!/bin/sh
# All that a machine with a CUDA device can say about the GPU backend: the tests marked gpu, and only if they pass the
# benchmark, which writes benchmarks/results/gpu.{csv,md}. Takes some five minutes on an H100.
#   benchmarks/gpu.sh            PYTHON=python3 benchmarks/gpu.sh
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "benchmarks/gpu.sh: found no CUDA device")'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$PYTHON" -m pytest -n "${WORKERS:-4}" -m gpu -q -p no:cacheprovider ${PYTEST_FLAGS:-} tests/similarity > "$log" || { cat "$log"; exit 1; }
tail -1 "$log"
"$PYTHON" benchmarks/gpu.py --tests "$(tail -1 "$log")" "$@"
