"""When no plan fits: twelve infeasible cases, and that each remedy, applied on the command line, gives a plan while the
next smaller step of its kind does not. docs/infeasible.md tells of the same cases."""
import re
import shlex
import subprocess
import unittest

from meshloom_program import CLUSTER, PROGRAM, ROOT, Workplace, changed

# 937 million parameters, with gradients and optimizer state 15.7 GiB.
GPT = ["graph", "gpt", "--layers", "4", "--hidden", "4096", "--heads", "32", "--seq-len", "1024", "--vocab", "32000"]
STATES = ["replicated", "zero1", "zero2", "zero3"]
RECOMPUTES = ["none", "selective", "full"]


def cluster(memory, hosts=1, devices=4):
    result = changed(CLUSTER, ["device", "memory"], memory)
    return changed(changed(result, ["hosts"], hosts), ["devices_per_host"], devices)


# By name: the cluster, and the options after --global-batch 64. The recipe keeps 1 GiB of each device for itself.
CASES = {
    "parameters": (cluster("4 GiB"), ""),
    "activations": (cluster("16 GiB"), "--microbatches 1 --recompute none"),
    "recompute fixed": (cluster("7 GiB"), "--recompute none --microbatch-size 16"),
    "microbatch fixed": (cluster("8 GiB"), "--microbatch-size 64"),
    "parameter state fixed": (cluster("12 GiB"), "--parameter-state replicated --pin batch.json --submeshes 1x4"),
    "pins": (cluster("9 GiB"), "--pin pins.json --submeshes 1x4"),
    "memory share": (cluster("8 GiB"), "--memory-share 50%"),
    "stages fixed": (cluster("6 GiB"), "--stages 4"),
    "one device": (cluster("14 GiB", devices=1), "--recompute none"),
    "small device": (cluster("1000 MiB"), ""),
    "many hosts": (cluster("4 GiB", hosts=6, devices=2), "--microbatch-size 64 --layers 3 --max-mesh-axes 1"),
    "stage list": (cluster("6 GiB"), "--stages-from stages.json"),
}
STAGES = {"schema": "meshloom.stages/1", "stages": [{"first": "embed", "last": "h0", "submesh": [1, 2]},
                                                  {"layers": 4, "submesh": [1, 2], "mesh": [2, 1]}]}
PINS = [{"op": "h*.mlp.up", "shard": {"*": 1}}, {"op": "h*.mlp.down", "shard": {"*": 1}}]
LEFT_OUT = re.compile(r"\(leave out (--[a-z-]+)\)")
PIN_LEFT_OUT = re.compile(r"leave out the pin /pins/(\d+) ")


def replaced(options, words):
    """The options with those of `words` in place of the same ones."""
    result, given = list(options), shlex.split(words)
    if given[0] in result:
        at = result.index(given[0])
        del result[at:at + 2]
    return result + given


def value_of(options, name):
    return options[options.index(name) + 1] if name in options else None


def smaller_steps(remedy, options, document):
    """The steps of the remedy's kind next below it that change less, as options; none where nothing lies between."""
    name, value = shlex.split(remedy)
    given = value_of(options, name)
    if name in ("--microbatch-size", "--microbatches"):
        numbers = [n for n in range(1, 65) if 64 % n == 0]
        step = 1 if name == "--microbatch-size" else -1
        return [f"{name} {numbers[numbers.index(int(value)) + step]}"]
    if name == "--stages":
        distance = abs(int(value) - int(given))
        return [f"{name} {n}" for n in range(int(given) - distance + 1, int(given) + distance) if 0 < n <= 4]
    if name in ("--recompute", "--parameter-state"):
        steps = [step for step in (STATES if name == "--parameter-state" else RECOMPUTES) if step in known(name)]
        return [f"{name} {step}" for step in steps[steps.index(given) if given else 0:steps.index(value)]]
    if name == "--memory-share":
        return [f"{name} {int(value[:-1]) - 1}%"]
    if name == "--hosts":
        return [f"{name} {int(value) - 1}"]
    if name == "--device-memory":
        return [f'{name} "{int(value.split()[0]) - 1} GiB"']
    return []  # nothing lies between


def known(option):
    return re.search(option + r" ([a-z0-9|]+)", subprocess.run([PROGRAM, "plan", "--help"], capture_output=True,
                                                               text=True).stdout)[1].split("|")


class NothingFits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Workplace().__enter__()
        cls.addClassCleanup(cls.place.__exit__)
        assert cls.place.run(*GPT, "-o", "graph.json").returncode == 0

    def plan(self, options, exit_code):
        return self.place.json("plan", "graph.json", "cluster.json", "--global-batch", "64", *options, exit_code=exit_code)

    def apply(self, remedy, options):
        """The options of the changed command; writes the pins file without those that are to go."""
        if remedy["options"]:
            return replaced(options, remedy["options"])
        if left_out := LEFT_OUT.search(remedy["text"]):
            at = options.index(left_out[1])
            return options[:at] + options[at + 2:]
        gone = PIN_LEFT_OUT.search(remedy["text"])
        if "batch.json" in options:  # its only pin
            at = options.index("--pin")
            return options[:at] + options[at + 2:]
        self.write_pins([pin for p, pin in enumerate(PINS) if gone and p != int(gone[1])])
        return options

    def write_pins(self, pins):
        self.place.write("pins.json", {"schema": "meshloom.pins/1", "pins": pins})

    def check(self, name):
        document, words = CASES[name]
        self.place.write("cluster.json", document)
        self.place.write("stages.json", STAGES)
        self.place.write("batch.json", {"schema": "meshloom.pins/1", "pins": [{"op": "h*", "shard": {"b": "all"}}]})
        options = shlex.split(words)
        self.write_pins(PINS)
        answer = self.plan(options, 3)
        self.assertEqual("infeasible", answer["status"])
        self.assertEqual(1, len(answer["reasons"]))
        self.assertGreater(answer["reasons"][0]["needs_bytes"], answer["reasons"][0]["has_bytes"])
        kinds = [kind(remedy) for remedy in answer["remedies"]]
        self.assertEqual(documented()[name], list(dict.fromkeys(kinds)))
        for remedy in answer["remedies"]:
            with self.subTest(remedy["text"]):
                self.write_pins(PINS)
                self.assertIn(self.plan(self.apply(remedy, options), 0)["status"], ["feasible", "optimal"])
                self.write_pins(PINS)
                for smaller in smaller_steps(remedy["options"], options, document) if remedy["options"] else []:
                    self.plan(replaced(options, smaller), 3)


def kind(remedy):
    if remedy["options"]:
        return shlex.split(remedy["options"])[0]
    return (LEFT_OUT.search(remedy["text"]) or [None, "--pin"])[1]


def documented():
    """By case: the options that the table of docs/infeasible.md names as remedies."""
    rows = re.findall(r"^\| ([a-z ]+) \|(?:[^|]*\|){3} (.*) \|$", (ROOT / "docs/infeasible.md").read_text(), re.MULTILINE)
    return {name: list(dict.fromkeys(re.findall(r"(?:^|, )`(--[a-z-]+)", remedies))) for name, remedies in rows}


def add_tests():
    for name in CASES:
        setattr(NothingFits, "test_" + name.replace(" ", "_"), lambda self, name=name: self.check(name))


add_tests()

if __name__ == "__main__":
    unittest.main()
