#!/usr/bin/env python3
"""Five plans that Alpa's search chose and ran, priced and simulated: predicted against measured seconds, which number
of microbatches is best, and what the costs in the logs consist of.

    tests/bench/alpa_search_logs.py [path of meshloom] [--recipe NAME] [--stage-overhead MS]

Source: logs of alpa-projects/alpa's automatic search (stage table, plan chosen, measured step), GPT-2.6B on 8 and
GPT-6.7B on 16 V100; sequence 1024, vocabulary 51200, 1,024 samples a step, fp16, each of Alpa's layers recomputed. Of a
log are kept: microbatches, the layers and devices of each stage (all data parallel: logical (n, 1) is (data-like,
model-like), "force_batch_dim_to_mesh_dim": 0), the measured seconds, and the stage table
(tests/data/stage_tables/alpa_log_*.json.gz). docs/alpa_comparison.md says what was read from Alpa's code:

- Alpa cuts its layers by FLOPs, so inside blocks: that a layer begins at h3's MLP follows from the log's optimizer
  bytes, 12 B for each parameter, shared out over the stage's devices (GPT-2.6B, first layer of eight: 4.411 GiB =
  394.7 M parameters = both embeddings and 3.35 blocks of 78.7 M; the attention is a third of a block).
- The embedding is a product with one-hot rows.
- The machine is one host of 16 V100 of 32 GB behind switches: the submeshes of 16 devices are (1, 1) to (1, 16), 28.0
  GB of a device are free, and groups of 2, 4 and 8 have the same bandwidth.

--stage-overhead adds so many milliseconds to each run of a stage's forward and of its backward before simulating: a
trial of what a runtime's cost per pipeline instruction would explain. The second table is such a trial, not a
prediction: products run at the rate of the log's own costs, and each microbatch takes as much longer as the other four
logs ask for.
"""
import argparse
import gzip
import json
import math
import pathlib
import subprocess
import sys
import tempfile

from alpa_comparison import with_one_hot_embedding

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = {8: ("GPT-2.6B", 2560), 16: ("GPT-6.7B", 4096)}  # by devices: name, hidden; 32 layers, 32 heads
BLOCKS, SAMPLES, SEQUENCE, VOCABULARY = 32, 1024, 1024, 51200
LIMIT = 0.15

# The block at which each of Alpa's layers begins, by their number; k + 1/3: at its MLP.
LAYERS = {8: [0, 3 + 1 / 3, 7 + 1 / 3, 11 + 1 / 3, 16, 20, 24, 28],
          16: [0, 1 + 1 / 3, 3 + 1 / 3, 5 + 1 / 3, 8, 10, 12, 14, 16, 18, 20 + 1 / 3, 22 + 1 / 3, 24 + 1 / 3,
               26 + 1 / 3, 28 + 1 / 3, 30 + 1 / 3]}

# Devices, microbatches, layers of Alpa, first of them and devices of each stage, seconds.
LOGS = {
    "case 0": (8, 64, 8, [0, 4], [4, 4], 44.997),
    "case 2": (8, 256, 8, [0, 1, 2, 3, 4, 5, 6, 7], [1] * 8, 67.063),
    "case 4": (8, 128, 16, [0, 2, 4, 6, 14], [1, 1, 1, 4, 1], 50.576),
    "case 6": (16, 64, 8, [0, 2, 4, 6], [4] * 4, 46.193),
    "case 8": (16, 256, 8, [0, 2, 3, 5, 7], [4, 2, 4, 4, 2], 77.133),
}
# Case 6's stages with other numbers of microbatches: is 64 the best? Measured with plans of their own: 72.28 s with 128
# microbatches (its plan is not in the log), 77.13 s with 256 (case 8).
RANKED = [64, 128, 256]


def layer_of(op, begins):
    tag = op["layer"]
    if tag in ("embed", "head"):
        return 0 if tag == "embed" else len(begins) - 1
    place = int(tag[1:]) + (1 / 3 if op["id"].startswith((f"{tag}.ln2", f"{tag}.mlp")) else 0)
    return sum(begin <= place + 1e-9 for begin in begins) - 1


class Bench:
    def __init__(self, arguments, folder):
        self.meshloom, self.recipe, self.folder = arguments.meshloom, arguments.recipe, pathlib.Path(folder)
        self.overhead = arguments.stage_overhead / 1e3
        device = json.loads((ROOT / "cluster_specs/devices/v100_sxm2_32gb.json").read_text())
        kept = ["name", "memory", "memory_bandwidth", "memory_efficiency", "peak", "gemm", "attention_of_peak",
                "launch"]
        self.device = {key: device[key] for key in kept}
        self.products = self.device["gemm"]

    def run(self, *words):
        done = subprocess.run([str(self.meshloom), *map(str, words)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def write(self, name, value):
        path = self.folder / name
        path.write_text(json.dumps(value))
        return path

    # One host whose devices reach each other over switches; 60 of 150 GB/s is what collectives take in the logs.
    def cluster(self, devices):
        return self.write("cluster.json", {
            "schema": "meshloom.cluster/1", "name": "16 V100 behind switches", "hosts": 1, "devices_per_host": devices,
            "device": self.device | {"gemm": self.products},
            "intra_host": {"bandwidth": "150 GB/s", "efficiency": 0.4, "latency": "6 us"},
            "nic": {"bandwidth": "100 Gbit/s", "efficiency": 0.8, "latency": "40 us"}, "nics_per_host": 1})

    # As Alpa has it: its layers, and the embedding a product with one-hot rows.
    def graph(self, devices, layers):
        path = self.folder / "graph.json"
        self.run("graph", "gpt", "--hidden", MODELS[devices][1], "--layers", BLOCKS, "--heads", 32, "--seq-len",
                 SEQUENCE, "--dtype", "fp16", "--unfused-attention", "--no-dropout", "--untied-embeddings", "--vocab",
                 VOCABULARY, "-o", path)
        graph = with_one_hot_embedding(json.loads(path.read_text()))
        for op in graph["ops"]:
            op["layer"] = f"l{layer_of(op, LAYERS[layers])}"
        return self.write("graph.json", graph)

    def plan(self, devices, microbatches, layers, begins, sizes):
        ends = begins[1:] + [layers]
        stages = [{"first": f"l{first}", "last": f"l{end - 1}", "submesh": [1, size], "mesh": [size, 1]}
                  for first, end, size in zip(begins, ends, sizes)]
        plan = self.folder / "plan.json"
        self.run("plan", self.graph(devices, layers), self.cluster(devices), "--global-batch", SAMPLES, "--recipe",
                 self.recipe, "--stages-from", self.write("stages.json", {"schema": "meshloom.stages/1",
                                                                          "stages": stages}),
                 "--pin", self.write("pins.json", {"schema": "meshloom.pins/1",
                                                   "pins": [{"op": "*", "shard": {"b": "all"}}]}),
                 "--microbatch-size", SAMPLES // microbatches, "--schedule", "1f1b", "--recompute", "full", "-o", plan)
        return plan

    def seconds(self, *case):
        path = self.plan(*case)
        plan = json.loads(path.read_text())
        for stage in plan["stages"]:
            stage["forward_s"] += self.overhead
            stage["backward_s"] += self.overhead
        path.write_text(json.dumps(plan))
        return json.loads(self.run("simulate", path, "--json"))["iteration_time_s"]


# FLOPs of products in layers first to last for one sample, with so many passes: a block's attention is
# 8 h² + 4 s h of its 24 h² + 4 s h a token.
def product_flops(hidden, begins, first, last, passes, passes_of_last, embedding_passes):
    ends = begins[1:] + [BLOCKS]
    part = lambda place: int(place) * (24 * hidden**2 + 4 * SEQUENCE * hidden) + (
        8 * hidden**2 + 4 * SEQUENCE * hidden if place != int(place) else 0)
    vocabulary = 2 * VOCABULARY * hidden
    flops = embedding_passes * vocabulary if first == 0 else 0
    for layer in range(first, last + 1):
        is_last = layer + 1 == len(begins)
        times = passes_of_last if is_last else passes
        flops += times * (part(ends[layer]) - part(begins[layer]) + (vocabulary if is_last else 0))
    return SEQUENCE * flops


# FLOP/s that the data-parallel stages of a log's table would run at if they were products alone: the (geometric) mean,
# and the largest deviation. Passes as in product_flops.
def rate_of_log(name, passes):
    devices, microbatches, layers, *_ = LOGS[name]
    table = json.loads(gzip.open(ROOT / f"tests/data/stage_tables/alpa_log_{name[5:]}.json.gz").read())
    rates = []
    for entry in table["entries"]:
        size = math.prod(table["submeshes"][entry["submesh"]])
        if entry["config"] == 0 and SAMPLES // microbatches % size == 0:  # the first configuration: data parallel
            flops = product_flops(MODELS[devices][1], LAYERS[layers], entry["first"], entry["last"], *passes)
            rates.append(flops * SAMPLES / microbatches / size / entry["time_s"])
    middle = math.exp(sum(map(math.log, rates)) / len(rates))
    return middle, max(max(rate / middle, middle / rate) - 1 for rate in rates)


AS_ALPA_RUNS = (4, 3, 3)  # forward, recompute and twice that backward; of the last layer and the embedding one less


# What the logs' costs are: under several counts of passes.
def costs_of_logs():
    hypotheses = {"forward, recompute, backward; last layer without; one-hot embedding": AS_ALPA_RUNS,
                  "forward, recompute, backward everywhere; one-hot embedding": (4, 4, 3),
                  "forward, backward; one-hot embedding": (3, 3, 2),
                  "forward, recompute, backward; last layer without; embedding looked up": (4, 3, 0)}
    print("\n| products counted | " + " | ".join(LOGS) + " |\n|---|" + "---|" * len(LOGS))
    for text, passes in hypotheses.items():
        rates = [rate_of_log(name, passes) for name in LOGS]
        print(f"| {text} | " + " | ".join(f"{r / 1e12:.0f} TFLOP/s, ±{100 * worst:.0f} %" for r, worst in rates) + " |")


# Each log with products at its own rate; what is missing a microbatch; and with what the others ask for, the least
# squares of their relative errors.
def trial(bench):
    peak = float(bench.device["peak"]["fp16"].split()[0]) * 1e12
    predicted, slots = {}, {}
    for name, (_, microbatches, _, _, sizes, _) in LOGS.items():
        bench.products = {"of_peak": rate_of_log(name, AS_ALPA_RUNS)[0] / peak, "wave_penalty": 0, "depth_penalty": 0}
        predicted[name], slots[name] = bench.seconds(*LOGS[name][:5]), microbatches + len(sizes) - 1
    print("\n| log | products at | predicted | measured | error | missing a microbatch | the other four ask for | "
          "error |")
    print("|---|---|---|---|---|---|---|---|")
    for name in LOGS:
        measured = LOGS[name][5]
        weights = {other: slots[other] / LOGS[other][5] for other in LOGS if other != name}
        asked = sum(w * (1 - predicted[other] / LOGS[other][5]) for other, w in weights.items())
        asked /= sum(w * w for w in weights.values())
        print(f"| {name} | {rate_of_log(name, AS_ALPA_RUNS)[0] / 1e12:.0f} TFLOP/s | {predicted[name]:.1f} s | "
              f"{measured:.1f} s | {100 * (predicted[name] / measured - 1):+.1f} % | "
              f"{1e3 * (measured - predicted[name]) / slots[name]:.0f} ms | {1e3 * asked:.0f} ms | "
              f"{100 * ((predicted[name] + asked * slots[name]) / measured - 1):+.1f} % |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("meshloom", nargs="?", default=ROOT / "build/release/meshloom")
    parser.add_argument("--recipe", default="alpa")
    parser.add_argument("--stage-overhead", type=float, default=0)
    arguments = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, folder)
        print("| log | model, devices | microbatches | devices of the stages | predicted | measured | error |")
        print("|---|---|---|---|---|---|---|")
        for name, (devices, microbatches, layers, begins, sizes, measured) in LOGS.items():
            predicted = bench.seconds(devices, microbatches, layers, begins, sizes)
            error = predicted / measured - 1
            if abs(error) > LIMIT:
                missed.append(name)
            print(f"| {name} | {MODELS[devices][0]}, {devices} | {microbatches} | {', '.join(map(str, sizes))} | "
                  f"{predicted:.2f} s | {measured:.2f} s | {100 * error:+.1f} % |", flush=True)
        devices, _, layers, begins, sizes, _ = LOGS["case 6"]
        times = {count: bench.seconds(devices, count, layers, begins, sizes) for count in RANKED}
        times["256, as case 8"] = bench.seconds(*LOGS["case 8"][:5])
        trial(bench)
    print("\nGPT-6.7B, stages of case 6: " + ", ".join(f"{count}: {time:.2f} s" for count, time in times.items()))
    first = min(times, key=times.get)
    print(f"Best number of microbatches: {first}. Off by more than {100 * LIMIT:.0f} %: {', '.join(missed) or 'none'}.")
    costs_of_logs()
    return 0 if first == 64 and not missed else 1


if __name__ == "__main__":
    sys.exit(main())
