#!/usr/bin/env python3
"""Alpa's GPT and MoE rows: this program's plan, Alpa's plan and the best uniform layout, as the table of
docs/alpa_comparison.md.

    tests/bench/alpa_comparison.py [path of meshloom] [--model gpt|moe] [--gpus N ...]

Published figures: TFLOP/s per GPU of Zheng et al. 2022 (OSDI), figure 7, from the artifact's results_e2e_ref.tsv; plans
Alpa found and Megatron's grid points from the same place. Hosts of 8 V100 (AWS p3.16xlarge). Everything is priced by one
cost model whose constants were fixed before: those of cluster_specs/aws_p3_16xlarge.json and of the recipe "alpa". The models
as in alpa-projects/alpa, benchmark/alpa/benchmark_3d_one_case_{gpt_bert,moe}.py: fp16, embeddings not tied, no dropout,
attention as its single operators, the embedding a product with one-hot rows (looked up in the uniform plans, as Megatron and
DeepSpeed do); MoE with Adafactor, whose factored moments are next to nothing, GPT with Adam.

The systems as this program's constraints, each free in everything else, all with one 1F1B pipeline and all layers
recomputed, as in the published runs:
  ours      free: stages, submeshes, shardings, microbatches, parameter states, recompute, schedules
  alpa      the published stages, submeshes, mesh shapes and microbatches; where none was published: free
  intra     one stage on all devices
  inter     stages of one device
  uniform   Megatron's grid for GPT; for MoE DeepSpeed's: expert and data parallelism, ZeRO, no pipeline
Whether an order is kept is asked of each pair of systems of a row whose published figures differ by more than 5 %.
"""
import argparse
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 1024

GPT = {1: (1024, 24, 16), 2: (1536, 24, 16), 4: (2048, 24, 32), 8: (2560, 32, 32), 16: (4096, 32, 32),
       32: (5120, 48, 40), 64: (8192, 48, 64)}  # hidden, layers, heads
MOE = {1: (768, 8, 16, 8), 2: (768, 8, 16, 16), 4: (768, 16, 16, 16), 8: (1024, 16, 16, 16), 16: (1536, 16, 16, 32),
       32: (2048, 16, 16, 48), 64: (2048, 32, 16, 64)}  # hidden, layers, heads, experts

# Blocks of each stage, submesh of each, mesh of each (data-like, model-like), microbatches.
GPT_PLANS = {
    8: ([8, 8, 16], [(1, 2), (1, 2), (1, 4)], [(2, 1), (2, 1), (4, 1)], 128),
    16: ([16, 16], [(1, 8)] * 2, [(2, 4)] * 2, 64),
    32: ([12] * 4, [(1, 8)] * 4, [(2, 4)] * 4, 128),
    64: ([3] * 16, [(1, 4)] * 16, [(1, 4)] * 16, 1024),
}
MOE_PLANS = {
    8: ([8, 8], [(1, 4)] * 2, [(4, 1)] * 2, 32),
    64: ([4] * 8, [(1, 8)] * 8, [(8, 1)] * 8, 64),
}
MEGATRON = {4: (2, 1, 2, 128), 8: (1, 1, 8, 128), 16: (1, 2, 8, 256), 32: (1, 4, 8, 256)}  # dp, tp, pp, microbatches

# TFLOP/s per GPU; None: out of memory.
PUBLISHED = {
    "gpt": {"uniform": [47.5, 55.5, 55.9, 50.4, 56.6, 58.2, 57.8], "intra": [46.2, 59.5, 58.4, 50.8, 48.4, 35.1, 2.1],
            "inter": [44.2, 57.9, 54.0, 56.6, 59.7, 49.8, 50.6], "alpa": [45.1, 57.9, 58.2, 61.6, 60.0, 59.9, 57.0]},
    "moe": {"uniform": [34.2, 33.1, 34.7, 40.0, 12.9, 3.8, None], "intra": [45.5, 42.2, 41.1, 46.7, 22.9, 1.5, 0.2],
            "inter": [45.5, 40.8, 37.5, 39.8, 31.1, None, None], "alpa": [45.5, 43.0, 39.9, 45.8, 45.4, 38.8, 36.6]},
}
# Seconds of Alpa's and Megatron's steps, where they follow from the same table and the model's FLOPs.
MEASURED_SECONDS = {"gpt": {"alpa": [72.9, 58.9, 50.0, 47.4, 60.0, 69.1, 91.5],
                            "uniform": [69.1, 61.5, 52.1, 57.8, 63.6, 71.1, 90.1]}}
GPUS = [1, 2, 4, 8, 16, 32, 64]
SYSTEMS = ["ours", "alpa", "intra", "inter", "uniform"]


# Alpa's embedding (alpa-projects/alpa, alpa/monkey_patch.py, embed_call_one_hot): a product with one-hot rows.
def with_one_hot_embedding(graph):
    for op in graph["ops"]:
        if op["id"] == "embed.tokens":
            op |= {"kind": "einsum", "inputs": ["one_hot", "embed.tokens.weight"], "rule": "b s v, v h -> b s h"}
    tensors = [tensor for tensor in graph["tensors"] if tensor["id"] != "tokens"]
    graph["tensors"] = [{"id": "one_hot", "shape": ["b", "s", "v"], "dtype": "fp16", "role": "input"}] + tensors
    return graph


class Row:
    def __init__(self, meshloom, folder, model, gpus):
        self.meshloom, self.model, self.gpus, self.folder = meshloom, model, gpus, folder
        self.graph = folder / f"{model}_{gpus}.json"
        hidden, layers, heads = (GPT if model == "gpt" else MOE)[gpus][:3]
        words = ["graph", model, "--hidden", hidden, "--layers", layers, "--heads", heads, "--seq-len", 1024, "--dtype",
                 "fp16", "--unfused-attention", "--no-dropout", "--untied-embeddings", "--vocab", 51200 if model == "gpt" else 32000, "-o", self.graph]
        if model == "moe":
            words += ["--experts", MOE[gpus][3]]
        self.run(*words)
        self.one_hot_graph = folder / "one_hot.json"
        self.one_hot_graph.write_text(json.dumps(with_one_hot_embedding(json.loads(self.graph.read_text()))))
        cluster = json.loads((ROOT / "cluster_specs/aws_p3_16xlarge.json").read_text())
        if gpus < 8:
            cluster["devices_per_host"] = gpus
        self.cluster = folder / f"cluster_{gpus}.json"
        self.cluster.write_text(json.dumps(cluster))
        self.recipe = "alpa" if model == "gpt" else self.with_adafactor()

    def run(self, *words):
        return subprocess.run([str(self.meshloom), *map(str, words)], capture_output=True, text=True, check=False)

    # The recipe as a plan records it, but of the optimizer's state only the fp32 copy; read and written with the fp16
    # parameter and its gradient.
    def with_adafactor(self):
        plan = self.folder / "recipe_of.json"
        self.run("baseline", self.graph, self.cluster, "--hosts", max(1, self.gpus // 8), "--global-batch", BATCH, "--dp",
                 self.gpus, "--recipe", "alpa", "-o", plan)
        recipe = json.loads(plan.read_text())["recipe"]
        recipe |= {"name": "alpa with Adafactor", "optimizer_bytes": "4 B", "optimizer_traffic": "12 B"}
        path = self.folder / "recipe.json"
        path.write_text(json.dumps(recipe))
        return path

    # Seconds of a step, and a text for people; None when nothing fits.
    def seconds(self, command, *words):
        graph = self.graph if command == "baseline" else self.one_hot_graph
        done = self.run(command, graph, self.cluster, "--hosts", max(1, self.gpus // 8), "--global-batch", BATCH,
                        "--recipe", self.recipe, "--json", *words)
        if done.returncode == 3:
            return None, "does not fit"
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        plan = json.loads(done.stdout)
        return plan["iteration_time_s"], describe(plan)

    def published_rules(self):
        return ["--schedule", "1f1b", "--recompute", "full"]

    def ours(self):
        return self.seconds("plan")

    def alpa(self):
        plans = GPT_PLANS if self.model == "gpt" else MOE_PLANS
        if self.gpus not in plans:
            return self.seconds("plan", *self.published_rules())
        blocks, submeshes, meshes, microbatches = plans[self.gpus]
        stages, begin = [], 0
        for s, (count, submesh, mesh) in enumerate(zip(blocks, submeshes, meshes)):
            first = "embed" if s == 0 else f"h{begin}"
            last = "head" if s + 1 == len(blocks) else f"h{begin + count - 1}"
            stages.append({"first": first, "last": last, "submesh": submesh, "mesh": mesh})
            begin += count
        path = self.folder / "stages.json"
        path.write_text(json.dumps({"schema": "meshloom.stages/1", "stages": stages}))
        return self.seconds("plan", "--stages-from", path, "--microbatches", microbatches, *self.published_rules())

    def intra(self):
        return self.seconds("plan", "--stages", 1, *self.published_rules())

    def inter(self):
        hidden_layers = (GPT if self.model == "gpt" else MOE)[self.gpus][1]
        if self.gpus > hidden_layers + 2:
            return None, "more devices than layers"
        return self.seconds("plan", "--submeshes", "1x1", *self.published_rules())

    def uniform(self):
        best = (None, "does not fit")
        for words in self.megatron_grid() if self.model == "gpt" else self.deepspeed_grid():
            seconds, text = self.seconds("baseline", *words)
            if seconds is not None and (best[0] is None or seconds < best[0]):
                best = (seconds, " ".join(map(str, words)))
        return best

    def megatron_grid(self):
        layers = GPT[self.gpus][1]
        for tp, pp in itertools.product((1, 2, 4, 8), (1, 2, 4, 8, 16)):
            if self.gpus % (tp * pp) == 0 and layers % pp == 0 and GPT[self.gpus][2] % tp == 0:
                yield ["--tp", tp, "--pp", pp, "--dp", self.gpus // (tp * pp), "--recompute", "full"]

    def deepspeed_grid(self):
        experts = MOE[self.gpus][3]
        for tp in (1, 2, 4, 8):
            dp = self.gpus // tp
            for ep in (1, 2, 4, 8, 16, 32, 64):
                if self.gpus % tp == 0 and tp <= self.gpus and ep <= dp and dp % ep == 0 and experts % ep == 0:
                    yield ["--tp", tp, "--dp", dp, "--ep", ep, "--zero", 2 if dp > 1 else 0, "--recompute", "full"]


def describe(plan):
    stages = plan["stages"]
    meshes = []
    for stage in stages:
        shape = "×".join(str(axis["size"]) for axis in stage["mesh"]) or "1"
        meshes.append(f"{stage['last_layer'] - stage['first_layer'] + 1} on {shape}")
    runs = [(text, len(list(group))) for text, group in itertools.groupby(meshes)]
    text = ", ".join(text if count == 1 else f"{count} × ({text})" for text, count in runs)
    return f"{plan['schedule']}, {plan['microbatches']} microbatches: {text}"


def cell(model, gpus, system, seconds):
    measured = MEASURED_SECONDS.get(model, {}).get(system)
    text = "–" if seconds is None else f"{seconds:.1f}"
    return text if measured is None else f"{text} (measured {measured[GPUS.index(gpus)]:g})"


def orders(model, gpus, found):
    kept, missed = [], []
    position = GPUS.index(gpus)
    for a, b in itertools.combinations(["alpa", "intra", "inter", "uniform"], 2):
        rates = [PUBLISHED[model][system][position] or 0 for system in (a, b)]
        if max(rates) <= 1.05 * min(rates):
            continue
        seconds = [found[system][0] for system in (a, b)]
        speeds = [0 if time is None else 1 / time for time in seconds]
        faster = (rates[0] > rates[1]) == (speeds[0] > speeds[1]) and speeds[0] != speeds[1]
        published = " > ".join(f"{s} {r:g}" for r, s in sorted(zip(rates, (a, b)), reverse=True))
        (kept if faster else missed).append(f"{model} on {gpus}: {published}")
    return kept, missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("meshloom", nargs="?", default=ROOT / "build/release/meshloom")
    parser.add_argument("--model", choices=["gpt", "moe"], nargs="*", default=["gpt", "moe"])
    parser.add_argument("--gpus", type=int, nargs="*", default=GPUS)
    arguments = parser.parse_args()
    kept, missed, worse = [], [], []
    for model in arguments.model:
        print(f"\n| {model}, GPUs | " + " | ".join(SYSTEMS) + " | published TFLOP/s: alpa, intra, inter, uniform |")
        print("|---|" + "---|" * (len(SYSTEMS) + 1))
        notes = []
        for gpus in arguments.gpus:
            with tempfile.TemporaryDirectory() as folder:
                row = Row(arguments.meshloom, pathlib.Path(folder), model, gpus)
                found = {system: getattr(row, system)() for system in SYSTEMS}
            seconds = [cell(model, gpus, s, found[s][0]) for s in SYSTEMS]
            published = ", ".join("–" if PUBLISHED[model][s][GPUS.index(gpus)] is None
                                  else f"{PUBLISHED[model][s][GPUS.index(gpus)]:g}" for s in SYSTEMS[1:])
            print(f"| {gpus} | " + " | ".join(seconds) + f" | {published} |", flush=True)
            notes.append(f"- {model}, {gpus}: " + "; ".join(f"{s}: {found[s][1]}" for s in SYSTEMS))
            others = [found[s][0] for s in SYSTEMS[1:] if found[s][0] is not None]
            if found["ours"][0] is None or any(found["ours"][0] > other * (1 + 1e-9) for other in others):
                worse.append(f"{model} on {gpus}")
            for list_, more in zip((kept, missed), orders(model, gpus, found)):
                list_ += more
        print("\n" + "\n".join(notes))
    print(f"\nOrders kept: {len(kept)}, missed: {len(missed)}.")
    for each in missed:
        print(f"- missed: {each}")
    print("Ours is slower than another: " + (", ".join(worse) or "never") + ".")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
