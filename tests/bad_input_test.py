"""Bad inputs: each exits with 2, prints exactly one message that names place, value and remedy, and leaves no file."""
import json
import unittest

from meshloom_program import CLUSTER, GRAPH, Workplace, changed

PLAN = ["plan", "graph.json", "cluster.json", "--global-batch", "8", "-o", "out.json", "--report", "out.html"]
BASELINE = ["baseline", "graph.json", "cluster.json", "--global-batch", "8", "-o", "out.json"]


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
                       'meshloom.cluster/1, meshloom.recipe/1, meshloom.plan/1, meshloom.pins/1; did you mean "meshloom.graph/1"?'),
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
    "wrong unit": ({"cluster.json": changed(CLUSTER, ["nic", "latency"], "20 GB")}, PLAN,
                   'cluster.json: /nic/latency: "20 GB" is not a quantity of seconds; write a number and a unit in a '
                   'string, such as "5 s" (s, ms, us, µs, ns, h, min)'),
    "not a number": ({"cluster.json": changed(CLUSTER, ["nic", "bandwidth"], "nan Gbit/s")}, PLAN,
                     'cluster.json: /nic/bandwidth: "nan Gbit/s" must be finite and not negative'),
    "no peak for any float": ({"cluster.json": changed(CLUSTER, ["device", "peak"], {})}, PLAN,
                              "cluster.json: /device/peak: states no peak for bf16, fp16 or fp32; …"),
}
BAD_WORDS = {
    "no command": ([], "meshloom needs a command: plan, baseline, simulate, compare, graph, validate, explain, "
                       "completion; see meshloom --help"),
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
                                                       'gpipe; did you mean "1f1b"?'),
    "unknown recipe": ([*PLAN, "--recipe", "megatrom"], '--recipe: unknown recipe "megatrom"; give the path of a file '
                                                        'or one of: neutral, megatron, alpa; did you mean "megatron"?'),
    "degrees that do not multiply to the devices": ([*BASELINE, "--tp", "2"],
                                                    "--tp, --pp, --dp: 2 x 1 x 1 = 2, but the cluster has 4 devices; "
                                                    "change a degree or --hosts"),
    "context parallelism": ([*BASELINE, "--cp", "2"],
                            "--cp: Context parallelism is not supported yet; leave it at 1"),
    "selective recompute": ([*BASELINE, "--recompute", "selective"],
                            "--recompute: selective recompute is not supported yet; use none or full"),
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
