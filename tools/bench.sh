#!/usr/bin/env bash
# Builds and runs the benchmarks of tests/bench: prints a table and writes out/bench.json. Arguments go to the benchmark
# program, for example --benchmark_filter=plan.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install_dependencies.sh libbenchmark-dev
tools/build.sh -DMESHLOOM_BENCHMARKS=ON -- meshloom meshloom_bench
mkdir -p out
exec build/release/tests/bench/meshloom_bench --benchmark_out=out/bench.json --benchmark_out_format=json "$@"
