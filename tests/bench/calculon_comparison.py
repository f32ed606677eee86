#!/usr/bin/env python3
"""Simulated steps of the eight validation cases of Calculon, as the table of docs/simulation.md.

    tests/bench/calculon_comparison.py [path of meshloom]

The cases are those of Korthikanti et al. 2022, table 5: Megatron-LM on DGX A100 hosts, tensor parallelism over the 8
devices of a host, one replica; "full" recomputes every layer, "selective" shards sequences and recomputes the attention
core. Measured seconds: the same table. Calculon's: Isaev et al. 2023, validation against that table.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# layers, hidden, heads, pipeline stages, chunks per stage, microbatch, global batch
MODELS = {
    "22B": (48, 6144, 64, 1, 1, 4, 4),
    "175B": (96, 12288, 96, 8, 3, 1, 64),
    "530B": (105, 20480, 128, 35, 3, 1, 280),
    "1T": (128, 25600, 160, 64, 1, 1, 512),
}
# (model, mode) -> measured, Calculon's
SECONDS = {
    ("22B", "full"): (1.42, 1.40), ("22B", "selective"): (1.10, 1.14),
    ("175B", "full"): (18.13, 18.03), ("175B", "selective"): (13.75, 13.64),
    ("530B", "full"): (49.05, 49.89), ("530B", "selective"): (37.83, 34.47),
    ("1T", "full"): (94.42, 90.08), ("1T", "selective"): (71.49, 66.04),
}


def run(*words):
    return subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout


def simulated(meshloom, folder, model, mode):
    layers, hidden, heads, stages, chunks, microbatch, batch = MODELS[model]
    graph, plan = folder / "graph.json", folder / "plan.json"
    run(meshloom, "graph", "gpt", "--layers", layers, "--hidden", hidden, "--heads", heads, "--seq-len", 2048,
        "--vocab", 51200, "--dtype", "fp16", "--unfused-attention", "-o", graph)
    layout = ["--tp", 8, "--pp", stages, "--microbatch-size", microbatch]
    layout += ["--vpp", chunks] if chunks > 1 else []
    layout += ["--recompute", mode] + (["--sequence-parallel"] if mode == "selective" else [])
    run(meshloom, "baseline", graph, ROOT / "cluster_specs/dgx_a100.json", "--recipe", "megatron", "--hosts", stages,
        "--global-batch", batch, *layout, "-o", plan)
    return json.loads(run(meshloom, "simulate", plan, "--json"))


def main():
    meshloom = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build/release/meshloom")
    print("| model | recompute | measured | Calculon | | meshloom | | of it idle |")
    print("|---|---|---|---|---|---|---|---|")
    errors = {"Calculon": [], "meshloom": []}
    with tempfile.TemporaryDirectory() as folder:
        for (model, mode), (measured, calculon) in SECONDS.items():
            plan = simulated(meshloom, pathlib.Path(folder), model, mode)
            ours = plan["iteration_time_s"]
            deltas = [calculon / measured - 1, ours / measured - 1]
            errors["Calculon"].append(abs(deltas[0])), errors["meshloom"].append(abs(deltas[1]))
            print(f"| {model} | {mode} | {measured:.2f} s | {calculon:.2f} s | {100 * deltas[0]:+.1f} % "
                  f"| {ours:.2f} s | {100 * deltas[1]:+.1f} % | {100 * plan['bubble_fraction']:.1f} % |")
    for name, values in errors.items():
        print(f"\nMean error of {name} over {len(values)} cases: {100 * sum(values) / len(values):.2f} %.", end="")
    print()


if __name__ == "__main__":
    main()
