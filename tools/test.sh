#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test. Ends with "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."

tools/build.sh
# Debian's Python, whose packages install_dependencies.sh installs; another may come first on the path.
exec /usr/bin/python3 tests/run_all.py build/release
