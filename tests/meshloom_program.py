"""What the tests of the command line share: running the program, and a small graph and cluster to change."""
import copy
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("MESHLOOM_PROGRAM", str(ROOT / "build/release/meshloom"))

# Two matrix products with a GELU between them, as two layers.
GRAPH = {
    "schema": "meshloom.graph/1", "name": "mlp", "batch_dim": "b", "dims": {"h": 256, "f": 1024},
    "tensors": [{"id": "x", "shape": ["b", "h"], "dtype": "bf16", "role": "input"},
                {"id": "w1", "shape": ["h", "f"], "dtype": "bf16", "role": "parameter"},
                {"id": "w2", "shape": ["f", "h"], "dtype": "bf16", "role": "parameter"}],
    "ops": [{"id": "up", "kind": "einsum", "layer": "h0", "inputs": ["x", "w1"], "outputs": ["u"],
             "rule": "b h, h f -> b f"},
            {"id": "act", "kind": "gelu", "layer": "h0", "inputs": ["u"], "outputs": ["a"], "rule": "b f -> b f"},
            {"id": "down", "kind": "einsum", "layer": "h1", "inputs": ["a", "w2"], "outputs": ["y"],
             "rule": "b f, f h -> b h"}]}

# One host with four devices.
CLUSTER = {
    "schema": "meshloom.cluster/1", "name": "quad",
    "device": {"name": "D", "memory": "16 GiB", "memory_bandwidth": "900 GB/s",
               "peak": {"bf16": "100 TFLOP/s", "fp32": "15 TFLOP/s"}, "launch": "5 us"},
    "hosts": 1, "devices_per_host": 4,
    "intra_host": {"bandwidth": "150 GB/s", "latency": "5 us"},
    "nic": {"bandwidth": "25 Gbit/s", "latency": "20 us"}, "nics_per_host": 1}


# The ASPLOS 2025 contest's example, and a stage table of two layers on two devices (docs/solve.md solves both by hand).
CONTEST = json.loads((ROOT / "tests/data/intra_op_contest/example.json").read_text())
TABLE = {
    "schema": "meshloom.stage_table/1", "layers": 2, "hosts": 1, "devices_per_host": 2, "microbatches": 4,
    "submeshes": [[1, 1], [1, 2]],
    "entries": [
        {"first": 0, "last": 0, "submesh": 0, "config": 0, "time_s": 3, "max_following_stages": 1},
        {"first": 1, "last": 1, "submesh": 0, "config": 0, "time_s": 2.5, "max_following_stages": 0},
        {"first": 0, "last": 1, "submesh": 1, "config": 5, "time_s": 4, "max_following_stages": 0}]}


def changed(document, path, value):
    """A copy of `document` whose value at `path`, keys and positions, is `value`."""
    result = copy.deepcopy(document)
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


class Workplace:
    """A temporary folder with graph.json and cluster.json, in which the program runs."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self._folder.name)
        self.write("graph.json", GRAPH)
        self.write("cluster.json", CLUSTER)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def write(self, name, content):
        """A string is written as it is, anything else as JSON."""
        (self.path / name).write_text(content if isinstance(content, str) else json.dumps(content))

    def read(self, name):
        return json.loads((self.path / name).read_text())

    def files(self):
        return {path.name for path in self.path.iterdir()}

    def run(self, *words, stdin=""):
        return subprocess.run([PROGRAM, *words], input=stdin, capture_output=True, text=True, cwd=self.path)

    def json(self, *words, exit_code=0, stdin=""):
        """What the program prints under --json; fails when it exits with another code."""
        run = self.run(*words, "--json", stdin=stdin)
        if run.returncode != exit_code:
            raise AssertionError(f"{words} exited with {run.returncode}, not {exit_code}: {run.stderr}{run.stdout}")
        return json.loads(run.stdout)
