#!/usr/bin/env python3
"""Compares the model with published measurements of collectives and operators; writes docs/microbenchmarks.md.

Usage: tests/bench/microbenchmarks.py [MESHLOOM]. The tables are in tests/data/microbenchmarks, each with its source; the
model is that of the neutral recipe on the cluster file named, without any profile.
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data" / "microbenchmarks"
# Table, device as its source names it, cluster file, options of it.
TABLES = [
    ("a100_all_reduce.csv", "A100", "dgx_a100", "vTrain's eight-GPU host"),
    ("a100_8_all_reduce.csv", "A100 (8x, NVLink3)", "dgx_a100", "another eight-GPU host"),
    ("v100_all_reduce.csv", "V100", "aws_p3_16xlarge", "vTrain's eight-GPU host"),
    ("h200_all_reduce.csv", "H200-SXM", "dgx_h100", "NVLS on; the cluster file is of H100, whose links are the same"),
    ("b200_all_reduce.csv", "B200-SXM", "dgx_b200", "one host and four hosts, EFA between them; the file has InfiniBand"),
    ("a100_gemm.csv", "A100-SXM", "dgx_a100", "best shape of a sweep"),
    ("h100_gemm.csv", "H100-SXM", "dgx_h100", "best shape of a sweep"),
    ("h200_gemm.csv", "H200-SXM", "dgx_h100", "best shape of a sweep"),
    ("b200_gemm.csv", "B200-SXM", "dgx_b200", "best shape of a sweep"),
    ("v100_operators.csv.gz", "V100-32GB", "aws_p3_16xlarge", "operators of GPT, framework included"),
]
HEAD = """# The model against microbenchmarks

What the model of `cluster_specs/`, without profiles, says of published measurements of single collectives and operators. Written by
`tests/bench/microbenchmarks.py` from the tables in `tests/data/microbenchmarks`, each of which names its source; made again after
every change of a device's constants. MAPE is the mean of |modelled / measured − 1|; the ratio is measured over modelled time, its
median over the samples: above 1 the model is too fast.

None of these samples is used as a profile here. With `--profile` they would replace the model where they apply
([profile files](profile_format.md), [importing](importing_profiles.md)).

| table | device | cluster file | key | samples | MAPE | median ratio |
|---|---|---|---|---:|---:|---:|
"""
TAIL = """
**Reading it.** Bandwidths and latencies of A100 and V100 links are fitted to vTrain's tables, those of B200 to these, so these rows
say how well the formula bends; H200's are H100's. Small collectives weigh as much in a MAPE as large ones, and their time is
latency. Constants of products are fitted to training runs; a best shape of a sweep is faster than products in training are. The V100
operators were timed inside a framework, biases, launches and dropout included.

Notes on the tables:

"""


def report(program, table, device, cluster):
    """The summary of `meshloom import csv --cluster`."""
    command = [program, "import", "csv", str(DATA / table), "--device", device, "--profile-device-is", device, "--cluster",
               str(ROOT / "cluster_specs" / f"{cluster}.json"), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["summary"]


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build" / "release" / "meshloom")
    text = HEAD
    for table, device, cluster, _ in TABLES:
        summary = report(program, table, device, cluster)
        for row in summary if len(summary) > 2 else summary[:1]:
            text += (f"| {table} | {device} | {cluster} | {row['key']} | {row['samples']} | {100 * row['mape']:.1f} % "
                     f"| {row['median_ratio']:.2f} |\n")
    text += TAIL + "".join(f"- `{table}`: {note}.\n" for table, _, _, note in TABLES)
    (ROOT / "docs" / "microbenchmarks.md").write_text(text)


if __name__ == "__main__":
    main()
