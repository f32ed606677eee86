"""Bad inputs: each exits with 2, prints exactly one message that names place, value and remedy, and leaves no file."""
import json
import unittest

from meshloom_program import CLUSTER, CONTEST, GRAPH, TABLE, Workplace, changed

PLAN = ["plan", "graph.json", "cluster.json", "--global-batch", "8", "-o", "out.json", "--report", "out.html"]
BASELINE = ["baseline", "graph.json", "cluster.json", "--global-batch", "8", "-o", "out.json"]


INTRA_OP = ["solve", "intra-op", "p.json", "-o", "out.json"]
PROBLEM = ["problem", "graph.json", "cluster.json", "--mesh", "4", "--global-batch", "8", "-o", "p.json"]
INTER_OP = ["solve", "inter-op", "t.json", "-o", "out.json"]


def without(document, key):
    return {name: value for name, value in document.items() if name != key}


# Name: (files to write before, words of the command line, the message; one that ends in … is a beginning).
BAD_FILES = {
    "missing file": ({}, ["validate", "absent.json"], "absent.json: cannot be read: No such file or directory"),
    "folder instead of a file": ({}, ["validate", "."], ".: is a folder; name a file in it"),
    "empty file": ({"graph.json": ""}, PLAN, "graph.json: is empty; expected JSON"),
    "broken JSON": ({"graph.json": '{"schema": "meshloom.graph/1",\n "name": }'}, PLAN,
                    "graph.json:2:10: is not valid JSON: syntax error while parsing value - unexpected '}'; expected "
                    "'[', '{', or a literal"),
    "a number that JSON does not have": (
        {"cluster.json": '{"schema": NaN}'}, PLAN,
        "cluster.json:1:12: is not valid JSON: syntax error while parsing value - invalid literal; last read: "
        "'\"schema\": N'"),
    "key given twice": ({"graph.json": '{"schema": "meshloom.graph/1", "schema": "meshloom.graph/1"}'}, PLAN,
                        'graph.json: the key "schema" stands twice in one object; keep one'),
    "no schema": ({"graph.json": without(GRAPH, "schema")}, PLAN,
                  'graph.json: missing key "schema"; expected "meshloom.graph/1"'),
    "wrong schema": ({}, ["plan", "cluster.json", "cluster.json", "--global-batch", "8", "-o", "out.json"],
                     'cluster.json: /schema: is "meshloom.cluster/1"; expected "meshloom.graph/1"; this is a '
                     'cluster file, the order is GRAPH CLUSTER'),
    "a graph as cluster": ({}, ["plan", "graph.json", "graph.json", "--global-batch", "8"],
                           'graph.json: /schema: is "meshloom.graph/1"; expected "meshloom.cluster/1"; this is a graph '
                           'file, the order is GRAPH CLUSTER'),
    "unknown schema": ({"graph.json": changed(GRAPH, ["schema"], "meshloom.grap/1")}, ["validate", "graph.json"],
                       'graph.json: /schema: unknown schema "meshloom.grap/1"; expected one of: meshloom.graph/1, '
                       'meshloom.cluster/1, meshloom.device/1, meshloom.recipe/1, meshloom.plan/1, meshloom.profile/1, '
                       'meshloom.pins/1, meshloom.stages/1, meshloom.stage_table/1; did you mean "meshloom.graph/1"?'),
    "unknown key": ({"graph.json": changed(GRAPH, ["ops", 0, "input"], ["x"])}, PLAN,
                    'graph.json: /ops/0: unknown key "input"; did you mean "inputs"?'),
    "unknown tensor": ({"graph.json": changed(GRAPH, ["ops", 2, "inputs"], ["a", "w3"])}, PLAN,
                       'graph.json: /ops/2/inputs/1: unknown tensor "w3"; did you mean "w1"?'),
    "a pin on an unknown op": ({"pins.json": '{"schema": "meshloom.pins/1", "pins": [{"op": "zz", "shard": {"b": 2}}]}'},
                               PLAN + ["--pin", "pins.json"], 'pins.json: /pins/0: the graph has no op "zz"'),
    "unknown kind": ({"graph.json": changed(GRAPH, ["ops", 1, "kind"], "geluu")}, PLAN,
                     'graph.json: /ops/1/kind: unknown value "geluu"; expected one of: …'),
    "rule with other operands": (
        {"graph.json": changed(GRAPH, ["ops", 0, "rule"], "b h -> b f")}, PLAN,
        "graph.json: /ops/0/rule: the rule has 1 inputs, the op has 2"),
    "rule against a shape": ({"graph.json": changed(GRAPH, ["ops", 2, "rule"], "b f, h f -> b h")}, PLAN,
                             "graph.json: /ops/2/…"),
    "cyclic graph": ({"graph.json": changed(GRAPH, ["ops", 0, "inputs"], ["y", "w1"])}, PLAN,
                     "graph.json: /ops/0: ops wait for each other in a cycle: …"),
    "tensor made twice": ({"graph.json": changed(GRAPH, ["ops", 1, "outputs"], ["u"])}, PLAN,
                          'graph.json: /ops/1/outputs/0: tensor "u" is already made by op "up"'),
    "reduction on a kind that does not add up": (
        {"graph.json": changed(GRAPH, ["ops", 1, "rule"], "b f -> b")}, PLAN, "graph.json: /ops/1/rule: …"),
    "cluster without hosts": ({"cluster.json": changed(CLUSTER, ["hosts"], 0)}, PLAN,
                              "cluster.json: /hosts: must be at least 1, is 0"),
    "cluster without devices": ({"cluster.json": changed(CLUSTER, ["devices_per_host"], 0)}, PLAN,
                                "cluster.json: /devices_per_host: must be at least 1, is 0"),
    "negative size": ({"graph.json": changed(GRAPH, ["dims", "h"], -256)}, PLAN,
                      "graph.json: /dims/h: must be at least 1, is -256"),
    "missing unit": ({"cluster.json": changed(CLUSTER, ["device", "memory"], "16")}, PLAN,
                     'cluster.json: /device/memory: "16" is not a quantity of bytes; write a number and a unit in a '
                     'string, such as "5 B" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)'),
    "number instead of a quantity": (
        {"cluster.json": changed(CLUSTER, ["device", "memory"], 16)}, PLAN,
        'cluster.json: /device/memory: expected bytes, found the number 16; write a number and a unit in a string, '
        'such as "5 B" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)'),
    "a kernel set that the recipe lacks": (
        {"r.json": '{"schema": "meshloom.recipe/1", "name": "r", "kernel_sets": {"fused": {"norm_traffic": 2}}}'},
        PLAN + ["--recipe", "r.json", "--kernels", "fusd"],
        'r.json: has no kernel set "fusd"; it has: fused; did you mean "fused"?'),
    "a kernel set of a recipe without any": (
        {}, BASELINE + ["--tp", "4", "--recipe", "neutral", "--kernels", "fused"],
        'training_recipes/neutral.json: has no kernel sets, so "fused" names none; leave --kernels out'),
    "a cluster that names an unknown device": (
        {"cluster.json": changed(CLUSTER, ["device"], "A100-SXM5")}, PLAN,
        'cluster.json: /device: no device file is named "A100-SXM5"; write the device as an object or name one that '
        '`meshloom devices` lists…'),
    "wrong unit": ({"cluster.json": changed(CLUSTER, ["nic", "latency"], "20 GB")}, PLAN,
                   'cluster.json: /nic/latency: "20 GB" is not a quantity of seconds; write a number and a unit in a '
                   'string, such as "5 s" (s, ms, us, µs, ns, h, min)'),
    "not a number": ({"cluster.json": changed(CLUSTER, ["nic", "bandwidth"], "nan Gbit/s")}, PLAN,
                     'cluster.json: /nic/bandwidth: "nan Gbit/s" must be finite and not negative'),
    "no peak for any float": ({"cluster.json": changed(CLUSTER, ["device", "peak"], {})}, PLAN,
                              "cluster.json: /device/peak: states no peak for bf16, fp16 or fp32; …"),
}


def contest(path, value):
    return {"p.json": changed(CONTEST, ["problem", *path], value)}


def table(path, value):
    return {"t.json": changed(TABLE, path, value)}


BAD_FILES |= {
    "missing problem": ({}, INTRA_OP, "p.json: cannot be read: No such file or directory"),
    "folder instead of a problem": ({}, ["solve", "intra-op", "."], ".: is a folder; name a file in it"),
    "empty problem": ({"p.json": ""}, INTRA_OP, "p.json: is empty; expected JSON"),
    "truncated problem": ({"p.json": json.dumps(CONTEST)[:-1]}, INTRA_OP,
                          "p.json: the file ends here, it is cut off; copy or write it again"),
    "something after a problem": ({"p.json": json.dumps(CONTEST) + "{}"}, INTRA_OP,
                                  "p.json: something follows the JSON value: an object; remove it"),
    "graph as a problem": ({}, ["solve", "intra-op", "graph.json"],
                           'graph.json: unknown key "schema"; allowed here: problem'),
    "problem with an unknown key": (contest(["usage_limits"], 5), INTRA_OP,
                                    'p.json: /problem: unknown key "usage_limits"; did you mean "usage_limit"?'),
    "problem with a key twice": ({"p.json": '{"problem": {"name": "a", "name": "b"}}'}, INTRA_OP,
                                 'p.json: /problem: the key "name" stands twice in one object; keep one'),
    "problem without edges": ({"p.json": {"problem": without(CONTEST["problem"], "edges")}}, INTRA_OP,
                              'p.json: /problem: missing key "edges"'),
    "negative cost": (contest(["edges", "costs", 2, 3], -80), INTRA_OP,
                      "p.json: /problem/edges/costs/2/3: must be at least 0, is -80"),
    "cost with a fraction": (contest(["nodes", "costs", 1, 0], 55.5), INTRA_OP,
                             "p.json: /problem/nodes/costs/1/0: expected a whole number, found the number 55.5; write it "
                             "in digits, without fraction or exponent"),
    "cost that is not a number": (contest(["nodes", "costs", 1, 0], float("nan")), INTRA_OP,
                                  "p.json: /problem/nodes/costs/1/0: expected a whole number, found NaN"),
    "cost beyond 64 bits": (contest(["nodes", "costs", 1, 0], 2**63), INTRA_OP,
                            "p.json: /problem/nodes/costs/1/0: the number 9223372036854775808 is too large; "
                            "numbers here go from 0 to 9223372036854775807"),
    "stage table as a problem": ({"p.json": TABLE}, INTRA_OP,
                                 'p.json: unknown key "schema"; allowed here: problem; this is a stage table, use '
                                 "meshloom solve inter-op"),
    "problem as a stage table": ({"t.json": CONTEST}, INTER_OP,
                                 't.json: unknown key "problem"; allowed here: schema, layers, hosts, '
                                 "devices_per_host, microbatches, submeshes, entries; this is an intra-operator "
                                 "problem, use meshloom solve intra-op"),
    "node without strategies": (contest(["nodes", "costs", 1], []), INTRA_OP,
                                "p.json: /problem/nodes/costs/1: the node has no strategies; give at least one cost"),
    "reversed interval": (contest(["nodes", "intervals", 4], [150, 110]), INTRA_OP,
                          "p.json: /problem/nodes/intervals/4: [150, 110] ends before it begins; write [from, until], "
                          "or [0, 0] for no time at all"),
    "edge to an unknown node": (contest(["edges", "nodes", 4], [3, 5]), INTRA_OP,
                                "p.json: /problem/edges/nodes/4/1: unknown node 5; there are 5, numbered from 0"),
    "edge to itself": (contest(["edges", "nodes", 4], [3, 3]), INTRA_OP,
                       "p.json: /problem/edges/nodes/4: joins node 3 to itself; add its diagonal to the node's costs"),
    "matrix of another size": (contest(["edges", "costs", 2], [90, 10, 20]), INTRA_OP,
                               "p.json: /problem/edges/costs/2: has 3 costs; nodes 1 and 3 with 2 and 2 strategies "
                               "need 4"),
    "negative usage limit": (contest(["usage_limit"], -1), INTRA_OP,
                             "p.json: /problem/usage_limit: must be at least 0, is -1"),
    "elimination under a limit that binds": (
        {"p.json": {"problem": {"nodes": {"intervals": [[0, 2], [1, 3]], "costs": [[0, 10], [0, 7]],
                                          "usages": [[8, 1], [8, 2]]},
                                "edges": {"nodes": [], "costs": []}, "usage_limit": 15}}},
        [*INTRA_OP, "--solver", "elimination"],
        "--solver elimination: cannot keep the usage limit 15, which choices may exceed; use --solver auto"),
    "table of another schema": (table(["schema"], "meshloom.stage_table/2"), INTER_OP,
                                't.json: /schema: is "meshloom.stage_table/2"; expected "meshloom.stage_table/1"'),
    "table with a negative time": (table(["entries", 1, "time_s"], -1), INTER_OP,
                                   "t.json: /entries/1/time_s: must be at least 0, is -1"),
    "table with a time that is not a number": (table(["entries", 1, "time_s"], float("nan")), INTER_OP,
                                               "t.json: /entries/1/time_s: expected a number, found NaN"),
    "table with an unknown submesh": (table(["entries", 0, "submesh"], 2), INTER_OP,
                                      "t.json: /entries/0/submesh: unknown submesh 2; there are 2, numbered from 0"),
    "table with reversed layers": (table(["entries", 2], {**TABLE["entries"][2], "first": 1, "last": 0}), INTER_OP,
                                   "t.json: /entries/2: first is 1, after last, 0; give the first and the last layer"),
    "table without layers": (table(["layers"], 0), INTER_OP, "t.json: /layers: must be at least 1, is 0"),
    "table with an entry said twice in two ways": (
        table(["entries", 1], {**TABLE["entries"][0], "time_s": 2}), INTER_OP,
        "t.json: /entries/1: contradicts /entries/0, of the same layers, submesh and config; keep one"),
}
BAD_WORDS = {
    "no command": ([], "meshloom needs a command: plan, baseline, simulate, compare, graph, problem, validate, explain, "
                       "solve, import, accuracy, calibrate, devices, completion; see meshloom --help"),
    "missing graph": (["plan", "absent.json", *PLAN[2:]],
                      "GRAPH absent.json: cannot be read: No such file or directory"),
    "missing cluster": (["plan", "graph.json", "absent.json", *PLAN[3:]],
                        "CLUSTER absent.json: cannot be read: No such file or directory"),
    "unknown command": (["frobnicate"], 'unknown command "frobnicate"; expected one of: …'),
    "swapped letters": (["graph", "gtp"], 'unknown command "gtp"; did you mean "gpt"?'),
    "mistyped command": (["simulat"], 'unknown command "simulat"; did you mean "simulate"?'),
    "unknown option": ([*PLAN, "--global-bach", "8"],
                       'unknown option "--global-bach"; did you mean "--global-batch"?'),
    "missing option": (PLAN[:3], "--global-batch is required; see meshloom plan --help"),
    "missing argument": (["compare", "a.json"], "NEW is required; see meshloom compare --help"),
    "global batch 0": ([*PLAN[:4], "0", "-o", "out.json"],
                       '--global-batch: expected a whole number of at least 1, found "0"'),
    "garbage for a number": ([*PLAN[:4], "8x", "-o", "out.json"],
                             '--global-batch: expected a whole number of at least 1, found "8x"'),
    "number too large": ([*PLAN[:4], "9" * 30], "--global-batch: expected at most 2147483648, found 999…"),
    "absurd number of hosts": ([*PLAN, "--hosts", "100001"], "--hosts: expected at most 100000, found 100001"),
    "absurd number of layers": (["graph", "gpt", "--layers", "10001"], "--layers: expected at most 10000, found 10001"),
    "very negative number": ([*PLAN, "--hosts", "-" + "9" * 30],
                             "--hosts: expected a whole number of at least 1, found …"),
    "percentage without its sign": (["compare", "a", "b", "--max-slowdown", "2"],
                                    '--max-slowdown: "2" would be 200 %; write "2%" or 0.02'),
    "microbatch size that does not divide": ([*PLAN, "--microbatch-size", "3"],
                                             "--microbatch-size: 3 does not divide the global batch 8"),
    "number of microbatches that does not divide": ([*PLAN, "--microbatches", "3"],
                                                    "--microbatches: 3 does not divide the global batch 8"),
    "unknown schedule": ([*PLAN, "--schedule", "1f1"], '--schedule: unknown value "1f1"; expected one of: auto, 1f1b, '
                                                       'gpipe, interleaved-1f1b, zb-h1, zb-h2, zb-1p, zb-2p; did you '
                                                       'mean "1f1b"?'),
    "chunks without interleaving": ([*PLAN, "--schedule", "zb-h1", "--vpp", "2"],
                                    "--vpp: the schedule zb-h1 has one chunk per rank; leave --vpp out or use "
                                    "interleaved-1f1b"),
    "one chunk to interleave": ([*PLAN, "--vpp", "1"], "--vpp: needs chunks to interleave, 2 or more, not 1"),
    "unknown recipe": ([*PLAN, "--recipe", "megatrom"], '--recipe: unknown recipe "megatrom"; give the path of a file '
                                                        'or one of: neutral, alpa, deepspeed, …'),
    "degrees that do not multiply to the devices": ([*BASELINE, "--tp", "2"],
                                                    "--tp, --pp, --dp: 2 x 1 x 1 = 2, but the cluster has 4 devices; "
                                                    "change a degree or --hosts"),
    "context parallelism on devices that do not exist": ([*BASELINE, "--tp", "4", "--cp", "2"],
                                                         "--tp, --pp, --dp, --cp: 4 x 1 x 1 x 2 = 8, but the cluster "
                                                         "has 4 devices; change a degree or --hosts"),
    "expert parallelism beyond data parallelism": ([*BASELINE, "--tp", "2", "--dp", "2", "--ep", "4"],
                                                   "--ep: 4 must divide data parallelism, --dp 2; give a divisor"),
    "recompute that does not exist": ([*BASELINE, "--recompute", "selected"],
                                      '--recompute: unknown value "selected"; expected one of: none, selective, full'),
    "threshold that is no share": (["compare", "a", "b", "--max-slowdown", "two"],
                                   '--max-slowdown: expected a share such as 2% or 0.02, found "two"'),
    "output in a folder that does not exist": ([*PLAN[:5], "-o", "absent/out.json"],
                                               '--output absent/out.json: the folder "absent" does not exist; make it '
                                               'first'),
    "output that is an input": ([*PLAN[:5], "-o", "./graph.json"],
                                "GRAPH and --output: both are ./graph.json; an output must not overwrite an input, "
                                "name another file"),
    "two outputs in one file": ([*BASELINE[:5], "-o", "out", "--report", "./out"],
                                "--output and --report: both write ./out; name two files"),
    "trace over the plan": (["simulate", "cluster.json", "--trace", "cluster.json"],
                            "PLAN and --trace: both are cluster.json; an output must not overwrite an input, name "
                            "another file"),
    "two outputs on standard output": ([*PLAN[:5], "-o", "-", "--json"],
                                       "--output - and --json: both write to standard output; send all but one of "
                                       "them to a file"),
    "two inputs on standard input": (["plan", "-", "-", "--global-batch", "8"],
                                     "GRAPH and CLUSTER: only one of them can be standard input"),
    "time limit 0": ([*INTRA_OP, "--time-limit", "0"],
                     '--time-limit: expected a number of seconds above 0, such as 60 or 0.5, found "0"'),
    "time limit that is not a number": ([*INTRA_OP, "--time-limit", "nan"],
                                        '--time-limit: expected a number of seconds above 0, such as 60 or 0.5, found '
                                        '"nan"'),
    "gap of 2": ([*INTRA_OP, "--gap", "2"], '--gap: "2" would be 200 %; write "2%" or 0.02'),
    "memory without a unit": ([*PROBLEM, "--memory", "40"], '--memory: "40" would be 4000 %; write "40%" or 0.4; or give '
                                                            "bytes, such as 40GiB"),
    "memory of another unit": ([*PROBLEM, "--memory", "40 GB/sB"],
                               '--memory: "40 GB/sB" is not a quantity of bytes; write a number and a unit in a string, '
                               'such as "5 B" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)'),
    "unknown solver": ([*INTRA_OP, "--solver", "cbx"], '--solver: unknown value "cbx"; expected one of: auto, '
                                                       'elimination, cbc, anytime; did you mean "cbc"?'),
    "nothing to solve": (["solve"], "meshloom solve needs a command: intra-op, inter-op; see meshloom solve --help"),
    "no problem": (["solve", "intra-op"], "PROBLEM is required; see meshloom solve intra-op --help"),
    "answer over the problem": (["solve", "inter-op", "graph.json", "-o", "graph.json"],
                                "TABLE and --output: both are graph.json; an output must not overwrite an input, name "
                                "another file"),
    "unknown shell": (["completion", "bsh"],
                      'completion: unknown value "bsh"; expected one of: bash, zsh, fish; did you mean "bash"?'),
}


def change_plan(path, value):
    return lambda plan: json.dumps(changed(plan, path, value))


# Name: (what to do to the text of a good plan, the message of `validate plan.json`).
BAD_PLANS = {
    "truncated plan": (lambda plan: json.dumps(plan)[:-100], "plan.json:1:…"),
    "devices used twice": (change_plan(["stages", 0, "devices", 1], 0), "plan.json: /stages/0/devices…"),
    "device outside the cluster": (change_plan(["stages", 0, "devices", 0], 77), "plan.json: /stages/0/devices…"),
    "mesh that is not the devices": (change_plan(["stages", 0, "mesh"], [{"name": "x", "size": 3}]),
                                     "plan.json: /stages/0/mesh…"),
    "batch that is not microbatches": (change_plan(["microbatches"], 3), "plan.json: …"),
    "negative time": (change_plan(["stages", 0, "forward_s"], -1), "plan.json: /stages/0/forward_s: must be at least 0, is -1"),
}


class BadInput(unittest.TestCase):
    def check(self, workplace, words, message):
        before = workplace.files()
        run = workplace.run(*words)
        self.assertEqual(2, run.returncode, run.stderr)
        self.assertEqual("", run.stdout)
        lines = run.stderr.splitlines()
        self.assertEqual(1, len(lines), run.stderr)
        expected = "error: " + message
        if expected.endswith("…"):
            self.assertEqual(expected[:-1], lines[0][:len(expected) - 1])
        else:
            self.assertEqual(expected, lines[0])
        self.assertEqual(before, workplace.files())


def add_tests():
    def of_files(files, words, message):
        def test(self):
            with Workplace() as workplace:
                for name, content in files.items():
                    workplace.write(name, content)
                self.check(workplace, words, message)
        return test

    def of_plan(change, message):
        def test(self):
            with Workplace() as workplace:
                self.assertEqual(0, workplace.run(*PLAN).returncode)
                workplace.write("plan.json", change(workplace.read("out.json")))
                self.check(workplace, ["validate", "plan.json"], message)
        return test

    tests = {name: of_files(*case) for name, case in BAD_FILES.items()}
    tests |= {name: of_files({}, *case) for name, case in BAD_WORDS.items()}
    tests |= {name: of_plan(*case) for name, case in BAD_PLANS.items()}
    for name, test in tests.items():
        setattr(BadInput, "test_" + name.replace(" ", "_"), test)


add_tests()

if __name__ == "__main__":
    unittest.main()
