#!/usr/bin/env bash
# Builds and runs the benchmarks of tests/bench: prints a table and writes out/bench.json. Arguments go to the benchmark
# program, for example --benchmark_filter=plan. With `intra-op` as the first, runs the solvers of the intra-operator
# problem against plain CBC instead and writes out/intra_op_bench.json: tools/bench.sh intra-op --curves --cbc-limit 600.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install_dependencies.sh libbenchmark-dev
tools/build.sh -DMESHLOOM_BENCHMARKS=ON -- meshloom meshloom_bench intra_op_bench
mkdir -p out
if [ "${1:-}" = intra-op ]; then
  shift
  exec build/release/tests/bench/intra_op_bench --json out/intra_op_bench.json "$@"
fi
exec build/release/tests/bench/meshloom_bench --benchmark_out=out/bench.json --benchmark_out_format=json "$@"
