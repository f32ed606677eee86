#!/usr/bin/env python3
"""Writes docs/accuracy.md from what `meshloom calibrate RUNS.json -o FOLDER [--leave-out source,framework,device]` wrote.

    tests/bench/accuracy_page.py FOLDER [HELD_OUT HELD_OUT_2 HELD_OUT_3] > docs/accuracy.md

HELD_OUT is what `meshloom accuracy tests/data/measured/held_out_runs.json.gz --constants FOLDER --json` printed, the others the same
of held_out_runs_2.json.gz and held_out_runs_3.json.gz.
"""
import csv
import json
import pathlib
import re
import statistics
import sys

# Calculon's seconds: Isaev et al. 2023, validation against Korthikanti et al. 2022, table 5.
CALCULON = {"22B full": 1.40, "22B selective": 1.14, "175B full": 18.03, "175B selective": 13.64,
            "530B full": 49.89, "530B selective": 34.47, "1T full": 90.08, "1T selective": 66.04}
MEASURED = {"22B full": 1.42, "22B selective": 1.10, "175B full": 18.13, "175B selective": 13.75,
            "530B full": 49.05, "530B selective": 37.83, "1T full": 94.42, "1T selective": 71.49}
CALCULON_VTRAIN_MULTI = 12.9  # MAPE of Calculon on vTrain's runs on several hosts

INTRODUCTION = """# How close predictions come to measured runs

`meshloom accuracy RUNS.json` turns each published, measured training run into a graph, a cluster and a manual plan, prices
and simulates that plan as every plan is, and compares. The runs are those of `tests/data/measured`: {runs} with a measured
step (V100 to GB300, 1 to 2,304 GPUs, dense and MoE, eleven frameworks) and {oom} that ran out of memory. The constants of
devices and recipes were fitted to them by `meshloom calibrate` ([how](calibration.md)), so what counts is the column
**unseen**: each run is predicted by constants that were fitted without its configuration (four folds). {left_out} Errors are of
the step time, in percent; runs with a stated reason to doubt them are left out where nothing else is said.

This page is written by `tests/bench/accuracy_page.py` from the files of

    meshloom calibrate tests/data/measured/published_runs.json.gz -o calibrated{option}
"""

LEFT_OUT = "**Source left out** is stricter still: constants fitted without any run of its source."
NOT_LEFT_OUT = "Whole sources (`--leave-out source`) were not left out."

HELD_OUT = """## Runs nobody fitted

Three more sets of runs never enter a calibration ([how they were made](measured_runs.md#runs-nobody-fitted)). Each was collected,
doubted and, the second and third, committed before anyone had seen a prediction of one of its runs; the columns *at first* are of
that first look, with the model and constants of that day. **They say what to expect of a run that nobody has looked at**, mostly of
frameworks and devices that no constant was fitted to. Every set has been looked at since, so the columns *now*, of the constants of
this page, are no longer blind.
"""

# Of sure runs, when nobody had seen an error of theirs: MAPE, median, bias, share in the interval of 90 %; and the
# commit whose constants they were priced with.
FIRST_LOOKS = {"held_out_runs": (125, "17.2", "12.2", "+5.2", "59", "41d19a7"),
               "held_out_runs_2": (135, "16.2", "10.9", "-10.8", "83", "ee0b927"),
               "held_out_runs_3": (68, "24.0", "20.4", "-7.2", "75", "ee0b927")}

LOOKED_AT = {"held_out_runs": """### The first set

Its first errors showed that Megatron-LM adds up fp16 gradients in 2 B, that its releases for devices with fp8 are another framework,
that torchtitan repeats every second product, that published mixtures of experts are run with balanced routers, each expert's
product a kernel of its own, and that metaseq and lit-gpt are FSDP. Most of it was then read in the frameworks' code (that metaseq and
lit-gpt are FSDP is from memory); but that Megatron-Core's experts are taken as balanced was set by hand with them in view.
Untouched by that are the runs of NeMo, MLPerf, OneFlow, fms-fsdp, GPT-NeoX and SC21's table 1.
""", "held_out_runs_2": """### The second set

Its 21 runs on devices without a fit had been priced once before. Nothing was changed for any of its errors. Runs of Pax on 1,024
and 2,048 devices are taken as ZeRO-3 over all of them, which their network could not carry: they will have been sharded in groups.
""", "held_out_runs_3": """### The third set

Its first errors showed one thing that was changed: dense models in bf16 on B200 were predicted 57 to 68 % too slow, because the share
of the peak of that device came from mixtures of experts alone; these now pull less ([how](calibration.md#how-times-are-fitted)). What
is left has no constant: mixtures whose steps do not depend on the size of the microbatch (Qwen3-30B on four GB300, 10.5 ms a layer in
bf16 and 17 in fp8: the host that starts kernels, without CUDA graphs, which no run states), and small models on GH200.
"""}

LIMITS = """## What limits it

- **"Unseen" is free of a run's configuration, not of its builders' eyes.** Which terms, kernel sets and constants there are was
  decided while looking at errors of these same runs, the unseen ones too, over several calibrations (one was taken back because
  its unseen error of FSDP was higher), and some priors come from a prototype that was fitted to them. Expect more on runs that
  nobody has looked at: sources and frameworks left out, and the runs nobody fitted, say how much.
- **Memory of Aleph Alpha's runs is not cross-validated** in what matters most: bytes of gradients, norms and gathered logits were
  chosen by hand with all of its runs in view, the last so that fewer than 5 % of what ran is called impossible. The calibration,
  with or without folds, fits only context and fragmentation.
- **Releases and sessions.** The same layout of Qwen3-30B on 16 H100 took 28.9 s in one release of a framework and 51.3 s in
  another; vTrain's runs on one host differ from any smooth model by session (tensor parallelism over 8 devices with one
  sample is slower than with two). Neither is modelled.
- **Mixtures of experts**: one traffic factor for all dispatchers and kernels, and one imbalance, which stands for whatever a
  release's experts lose, though published runs force a balance. Releases of one framework differ by up to 80 % in the same layout:
  with CUDA graphs the host does not limit a layer, without them it takes 10 to 17 ms, and runs do not say which they had.
  Whether tensor parallelism divides experts is taken from what frameworks usually do where a run does not say it.
- **Blackwell**: few runs for each device and precision; those of B300, and of B200 in bf16, are mixtures of experts, so that their shares
  of the peak in bf16 are hardly more than what was believed before ([microbenchmarks](microbenchmarks.md)).
- **Recompute that a run does not state** is the least that memory holds, so an error of memory becomes one of time.
- **Megatron-LM in 2022**: that runs of that release add up gradients in fp32, fused with their products, is assumed: the fusion's
  author is one of Korthikanti et al. Added up apart, in fp16, as by default, their eight runs were off by 4.8 %. The assumption was
  made with that figure in view.
- **Intervals** hold nine in ten runs overall, but of runs that nobody had looked at six, eight and seven in ten. On AMD's
  MI300X none of eight held: it is 1.7 to 4 times slower than constants typical of NVIDIA's devices make it.
"""


def percent(value):
    return "–" if value is None else f"{100 * value:.1f}"


def mape(errors):
    return sum(map(abs, errors)) / len(errors) if errors else None


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def number(text):
    return float(text) if text else None


def beside_calculon(rows):
    found = {}
    for row in rows:
        if "Korthikanti" not in row["source"]:
            continue
        for case, measured in MEASURED.items():
            if abs(float(row["measured_s"]) / measured - 1) < 1e-3:
                found[case] = row
    lines = []
    for case, row in found.items():
        calculon = CALCULON[case] / MEASURED[case] - 1
        lines.append([case, MEASURED[case], percent(calculon), percent(number(row["fitted_error"])),
                      percent(number(row["unseen_error"]))])
    lines.append(["mean of absolute errors", "", percent(mape([CALCULON[c] / MEASURED[c] - 1 for c in found])),
                  percent(mape([float(r["fitted_error"]) for r in found.values()])),
                  percent(mape([float(r["unseen_error"]) for r in found.values()]))])
    multi = [r for r in rows if r["id"].startswith("vtrain-multi") and r["measured_s"]]
    lines.append([f"vTrain, several hosts ({len(multi)} runs)", "", f"{CALCULON_VTRAIN_MULTI}",
                  percent(mape([float(r["fitted_error"]) for r in multi])),
                  percent(mape([float(r["unseen_error"]) for r in multi]))])
    return table(["run", "measured, s", "Calculon", "fitted", "unseen"], lines)


def by_source(rows):
    columns = ["fitted_error", "unseen_error"]
    headings = ["fitted", "unseen"]
    if any(row["without_source_error"] for row in rows):
        columns.append("without_source_error")
        headings.append("source left out")
    sources = {}
    for row in rows:
        if row["measured_s"] and not row["suspect"] and all(row[column] for column in columns):
            sources.setdefault(row["source"], []).append([float(row[column]) for column in columns])
    lines = [[source, len(errors)] + [percent(mape(column)) for column in zip(*errors)]
             for source, errors in sources.items()]
    means = [sum(mape([e[k] for e in errors]) for errors in sources.values()) / len(sources) for k in range(len(columns))]
    lines.append(["**mean over sources**", ""] + [f"**{percent(mean)}**" for mean in means])
    return table(["source", "runs"] + headings, lines)


def signed(value):
    return f"{100 * value:+.1f}"


def errors_by(rows, key, columns):
    """Of runs without doubt: by what they have in `key`, the errors in each of these columns; nothing where one is empty."""
    groups = {}
    for row in rows:
        if row["measured_s"] and not row["suspect"] and all(row[column] for column in columns):
            groups.setdefault(row[key], []).append([float(row[column]) for column in columns])
    return {name: list(zip(*errors)) for name, errors in sorted(groups.items())}


def never_seen(rows, key, columns, headings, names=None):
    """A table: MAPE and bias of each group in each column, and their means over groups."""
    groups = errors_by(rows, key, columns)
    if not groups:
        return None
    lines = []
    for name, errors in groups.items():
        lines.append([names[name] if names else name, len(errors[0])] +
                     [text for each in errors for text in (percent(mape(each)), signed(sum(each) / len(each)))])
    lines.append(["**mean over these**", ""] + [text for k in range(len(columns)) for text in (
        f"**{percent(sum(mape(errors[k]) for errors in groups.values()) / len(groups))}**", "")])
    return table([key, "runs"] + [text for heading in headings for text in (heading, "bias")], lines)


FRAMEWORKS_LEFT_OUT = """## Frameworks and GPUs never seen

Constants fitted without any run of a framework, nor of others with its recipe; its runs predicted by its recipe, whose own constants
are then what is typical of the others or stated before, and by `neutral` (`fsdp` where parameters are sharded), as for a user whose framework has no recipe:
"""

DEVICES_LEFT_OUT = """Constants fitted without any run on a generation of GPUs, whose own are then what was believed before:
"""


def left_out_frameworks(rows):
    names = {}
    for row in rows:
        names.setdefault(row["recipe"], []).append(row["framework"])
    frameworks = never_seen(rows, "recipe", ["unseen_error", "without_framework_error", "unknown_framework_error"],
                            ["unseen", "left out, its recipe", "left out, as unknown"],
                            {recipe: ", ".join(sorted(set(of))) for recipe, of in names.items()})
    devices = never_seen(rows, "gpu", ["unseen_error", "without_device_error"], ["unseen", "left out"])
    return ((FRAMEWORKS_LEFT_OUT + "\n" + frameworks + "\n") if frameworks else "") + \
        ((DEVICES_LEFT_OUT + "\n" + devices + "\n") if devices else "")


def figures(errors):
    if not errors:
        return ["", "", ""]
    return [percent(mape(errors)), percent(statistics.median(map(abs, errors))), f"{100 * sum(errors) / len(errors):+.1f}"]


def has_recipe(framework):
    """Whether a recipe names the framework; the others are priced with the neutral one."""
    recipes = (pathlib.Path(__file__).parents[2] / "training_recipes").glob("*.json")
    names = [name for recipe in recipes for name in json.loads(recipe.read_text()).get("frameworks", [])]
    return any(framework.lower().startswith(name.lower()) for name in names)


def by_source_held_out(report, fitted_devices):
    """A table of what `meshloom accuracy --json` says of runs that were never fitted, and the number of sources."""
    sources = {}
    for row in report["rows"]:
        if row["error"] is not None:
            sources.setdefault(row["source"], []).append(row)

    def line(name, rows, gpus=()):
        sure = [row["error"] for row in rows if not row["suspect"]]
        unsure = [row["error"] for row in rows if row["suspect"]]
        return [name, ", ".join(dict.fromkeys(gpus)), len(sure) or "", *figures(sure), len(unsure) or "", figures(unsure)[0]]

    lines = [line(source, rows, [row["gpu"] for row in rows]) for source, rows in sources.items()]
    priced = [row for rows in sources.values() for row in rows]
    lines.append(line("**frameworks with a recipe**", [row for row in priced if has_recipe(row["framework"])]))
    lines.append(line("**frameworks without one**", [row for row in priced if not has_recipe(row["framework"])]))
    others = [row for row in priced if row["device"] not in fitted_devices]
    if others:
        lines.append(line("**devices that no constant was fitted to**", others))
        lines.append(line("**framework and device known**",
                          [row for row in priced if has_recipe(row["framework"]) and row["device"] in fitted_devices]))
    lines.append(line("**all**", priced))
    return table(["source", "GPU", "runs", "MAPE", "median", "bias", "doubtful", "MAPE"], lines), len(sources)


def held_out(reports, fitted_devices):
    """The section on runs that were never fitted; reports by the name of their set."""
    overview, sections = [], []
    for name, report in reports.items():
        lines, sources = by_source_held_out(report, fitted_devices)
        sure = [row for row in report["rows"] if row["error"] is not None and not row["suspect"]]
        inside = 100 * sum(row["in_interval"] for row in sure) / len(sure)
        first = FIRST_LOOKS[name]
        overview.append([f"`tests/data/measured/{name}.json.gz`", len(report["rows"]) + len(report["skipped"]), sources, len(sure),
                         *first[1:], *figures([row["error"] for row in sure]), f"{inside:.0f}"])
        sections.append(f"{LOOKED_AT[name]}\n{lines}")
    heading = ["set", "runs", "sources", "without doubt", "MAPE at first", "median", "bias", "in interval", "constants of", "MAPE now",
               "median", "bias", "in interval"]
    return HELD_OUT + "\n" + table(heading, overview) + "\n" + "\n".join(sections)


def main():
    folder = pathlib.Path(sys.argv[1])
    rows = list(csv.DictReader((folder / "residuals.csv").open()))
    report = (folder / "calibration_report.md").read_text()
    ran = sum(1 for row in rows if row["measured_s"])
    left = [what for what in ("source", "framework", "device") if any(row[f"without_{what}_error"] for row in rows)]
    option = " --leave-out " + ",".join(left) if left else ""
    left_out = LEFT_OUT if "source" in left else NOT_LEFT_OUT
    print(INTRODUCTION.format(runs=ran, oom=len(rows) - ran, left_out=left_out, option=option))
    sections = re.split(r"\n\n", report)
    titles = {"| % |": "## In all", "| group |": "## By kind of run",
              "| GPU,": "## By GPU", "| framework,": "## By framework", "| memory |": "## Memory",
              "| intervals": "## Intervals", "| largest unseen": "## Largest errors"}
    for section in sections:
        for start, title in titles.items():
            if section.startswith(start):
                print(title + "\n\n" + section.rstrip() + "\n")
                if start == "| group |":
                    print("## By source\n\n" + by_source(rows))
                    print(left_out_frameworks(rows))
                    print("## Beside Calculon\n\nThe eight runs of Korthikanti et al. 2022, table 5, and vTrain's runs "
                          "on several hosts; Calculon's errors as published.\n\n" + beside_calculon(rows))
    if len(sys.argv) > 2:
        fitted = {row["name"] for row in map(json.loads, (path.read_text() for path in (folder / "devices").glob("*.json")))
                  if "fitted by `meshloom calibrate`" in json.dumps(row["sources"])}
        reports = [json.loads(pathlib.Path(each).read_text()) for each in sys.argv[2:]]
        print(held_out(dict(zip(FIRST_LOOKS, reports)), fitted))
    print(LIMITS)


if __name__ == "__main__":
    main()
