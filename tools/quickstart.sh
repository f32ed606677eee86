#!/usr/bin/env bash
# From a fresh Debian 12 machine to a plan: installs what is missing, builds, and plans GPT-2.6B for one host with eight
# V100s. Writes out/plan.json and out/report.html.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/build.sh -- meshloom
mkdir -p out
meshloom=build/release/meshloom
"$meshloom" graph gpt --layers 32 --hidden 2560 --heads 32 --seq-len 1024 --vocab 51200 -o out/gpt_2_6b.json >/dev/null
"$meshloom" plan out/gpt_2_6b.json cluster_specs/aws_p3_16xlarge.json --global-batch 1024 \
  -o out/plan.json --report out/report.html
echo "Wrote out/plan.json and out/report.html"
