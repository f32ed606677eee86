#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test. Ends with "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."

tools/build.sh
# A browser for the report's tests, which are skipped without one.
command -v chromium >/dev/null || tools/install_dependencies.sh chromium || true
# Debian's Python, whose packages install_dependencies.sh installs; another may come first on the path.
exec /usr/bin/python3 tests/run_all.py build/release
