#!/usr/bin/env bash
# Installs what is missing and builds the release preset; arguments are passed to CMake's configuration except those
# after "--", which name targets. Prints nothing but what went wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

configuration=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do configuration+=("$1"); shift; done
[ $# -eq 0 ] || shift
targets=("$@")

tools/install_dependencies.sh
mkdir -p build
log=build/build.log
{
  cmake --preset release "${configuration[@]}" &&
    cmake --build --preset release ${targets[@]:+--target "${targets[@]}"}
} >"$log" 2>&1 </dev/null || { cat "$log" >&2; echo "error: the build failed" >&2; exit 1; }
