#!/usr/bin/env bash
# Installs the Debian 12 packages that the build and the tests need, and those named as arguments. Says and does nothing
# when all of them are there.
set -euo pipefail

# zlib1g-dev: CBC's pkg-config asks for -lz without depending on it.
packages=(g++ cmake ninja-build ccache pkg-config
  libfmt-dev nlohmann-json3-dev libcli11-dev libboost-graph-dev libtbb-dev libeigen3-dev coinor-libcbc-dev zlib1g-dev libopenblas-dev catch2
  python3 python3-jsonschema "$@")

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "error: missing packages: ${missing[*]}; install them as root" >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for action in "update" "install --yes --no-install-recommends ${missing[*]}"; do
  # shellcheck disable=SC2086  # the words of an action are separate arguments
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q $action >"$log" 2>&1 </dev/null || {
    cat "$log" >&2
    echo "error: apt-get $action failed" >&2
    exit 1
  }
done
