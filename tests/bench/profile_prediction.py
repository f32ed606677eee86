#!/usr/bin/env python3
"""How well a profile of the processor predicts a training step on it: measures both in turns and prints a table.

Usage: tests/bench/profile_prediction.py [--rounds 3] [--steps 5] [--clock processor|wall] [--build FOLDER] [--json FILE]

Each round profiles the kernels of a small GPT on one core, prices a plan of one device with that profile, and runs the
same graph's training step with real buffers (meshloom-profile --run-step). The error is predicted over measured step
time, minus 1; the last line is of the medians over the rounds. On a machine that others share, --clock processor counts
the time that the program gets, on both sides; with --clock wall both sides wait for the others, not in equal shares.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# name: options of `meshloom graph gpt`, samples in a step
MODELS = {
    "gpt-17m": (["--layers", "4", "--hidden", "512", "--heads", "8", "--seq-len", "256", "--vocab", "8192"], 4),
    "gpt-3m-long": (["--layers", "2", "--hidden", "256", "--heads", "4", "--seq-len", "1024", "--vocab", "4096", "--causal"], 1),
    "gpt-30m": (["--layers", "3", "--hidden", "768", "--heads", "12", "--seq-len", "128", "--vocab", "16384"], 4),
}
# What the step on the processor does: everything in fp32, Adam with two moments and no master copy.
RECIPE = {"schema": "meshloom.recipe/1", "name": "processor", "extends": "neutral", "compute_dtype": "fp32",
          "parameter_bytes": "4 B", "gradient_bytes": "4 B", "optimizer_bytes": "8 B", "optimizer_traffic": "28 B"}


def run(folder, *words):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, env=environment).stdout


def measure_round(folder, build, batch, arguments):
    """(predicted, measured) seconds of a step, and the share of predicted time that is of measured kernels."""
    profiler, clock = str(build / "meshloom-profile"), ["--clock", arguments.clock]
    cache = ["--flush-cache"] if arguments.cache == "flushed" else []
    run(folder, profiler, "--backend", "cpu", "--graph", "graph.json", "--cluster", "cluster.json", "--recipe", "recipe.json",
        "--microbatch-size", str(batch), "--device", "processor core", "--restart", "-o", "profile.json", *clock, *cache)
    step = json.loads(run(folder, profiler, "--run-step", str(arguments.steps), "--graph", "graph.json",
                          "--microbatch-size", str(batch), "--json", *clock))
    plan = json.loads(run(folder, str(build / "meshloom"), "baseline", "graph.json", "cluster.json", "--global-batch",
                          str(batch), "--microbatch-size", str(batch), "--recipe", "recipe.json", "--profile",
                          "profile.json", "--json"))
    return plan["iteration_time_s"], step["step_s"], plan.get("time_by_source")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--clock", choices=["processor", "wall"], default="processor")
    parser.add_argument("--cache", choices=["flushed", "as-left"], default="flushed")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    rows = []
    for name, (options, batch) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "recipe.json").write_text(json.dumps(RECIPE))
            (path / "cluster.json").write_text((ROOT / "cluster_specs/cpu_core.json").read_text())
            run(folder, str(arguments.build / "meshloom"), "graph", "gpt", *options, "--dtype", "fp32", "-o", "graph.json")
            rounds = [measure_round(folder, arguments.build, batch, arguments) for _ in range(arguments.rounds)]
        for predicted, measured, _ in rounds:
            print(f"{name:14} predicted {predicted:8.4f} s  measured {measured:8.4f} s  {predicted / measured - 1:+7.1%}",
                  flush=True)
        predicted, measured = (statistics.median(each[i] for each in rounds) for i in (0, 1))
        print(f"{name:14} medians   {predicted:8.4f} s           {measured:8.4f} s  {predicted / measured - 1:+7.1%}"
              f"  {rounds[-1][2]}", flush=True)
        rows.append({"model": name, "predicted_s": predicted, "measured_s": measured, "error": predicted / measured - 1,
                     "rounds": [{"predicted_s": p, "measured_s": m} for p, m, _ in rounds], "clock": arguments.clock,
                     "cache": arguments.cache})
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
