#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test. Ends with "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."

tools/build.sh
exec python3 tests/run_all.py build/release
