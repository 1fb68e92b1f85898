#!/usr/bin/env bash
# Runs benchmarks.gpu where there is no network, with the wheels that `python -m benchmarks.travel WHEELS` gathered:
#     bash benchmarks/travel.sh WHEELS OUT.json [options of benchmarks.gpu]
# PYTHON names the interpreter that has torch; SECONDS_AT_MOST ends all of it, the JSON so far is then there.
set -euo pipefail
wheels=$(realpath "$1") out=$(realpath -m "$2")
shift 2
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
export PYTHONPATH="$site:$PWD" PYTHONUNBUFFERED=1
timeout --kill-after=5 "${SECONDS_AT_MOST:-420}" "$python" -m benchmarks.gpu --out "$out" "$@"
