#!/usr/bin/env python3
"""`meshloom devices`, and what plans and accuracy say of devices that no run was measured on.
`tests/devices_command_test.py --update` writes the table of docs/cluster_format.md."""
import gzip
import json
import re
import sys
import unittest

import jsonschema

from meshloom_program import ROOT, Workplace

PAGE = ROOT / "docs/cluster_format.md"
BLOCK = re.compile(r"(^```console\n\$ meshloom devices\n)(.*?)(?=^```)", re.MULTILINE | re.DOTALL)
UNCERTAINTY = json.loads((ROOT / "training_recipes/uncertainty.json").read_text())
CLUSTER = {"schema": "meshloom.cluster/1", "name": "one", "devices_per_host": 8}


def schema(name):
    return json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text())


def table():
    with Workplace() as place:
        return place.run("devices").stdout


class Devices(unittest.TestCase):
    def test_the_list_has_every_file_and_says_which_runs_support_it(self):
        with Workplace() as place:
            answer = place.json("devices")
        jsonschema.validate(answer, schema("devices"))
        devices = {device["name"]: device for device in answer["devices"]}
        files = [json.loads(path.read_text()) for path in sorted((ROOT / "cluster_specs/devices").glob("*.json"))]
        self.assertEqual([file["name"] for file in files], list(devices))
        for file in files:
            device = devices[file["name"]]
            self.assertEqual(file.get("aliases", []), device["aliases"])
            self.assertEqual(file.get("like"), device["like"])
            groups = UNCERTAINTY["groups"] + UNCERTAINTY["mixtures_of_experts"]["groups"]
            rows = [group["rows"] for group in groups if group["device"] == file["name"]]
            self.assertEqual(sum(rows), device["measured_runs"])
        h20 = devices["H20-SXM-96GB"]
        self.assertEqual((97871 * 2**20, 4e12, 148e12, 450e9, 50e9, 8),
                         (h20["memory_bytes"], h20["memory_bandwidth_bytes_per_s"], h20["peak_flops"]["bf16"],
                          h20["intra_host_bytes_per_s"], h20["nic_bytes_per_s"], h20["nics_per_host"]))

    def test_the_table_of_the_documentation_is_what_it_prints(self):
        self.maxDiff = None
        shown = BLOCK.search(PAGE.read_text())[2]
        self.assertEqual(table(), shown, "tests/devices_command_test.py --update writes what is printed now")

    def test_it_takes_no_file(self):
        with Workplace() as place:
            self.assertEqual(2, place.run("devices", "H100").returncode)


class Plans(unittest.TestCase):
    """A small GPT on eight devices of several kinds."""

    @classmethod
    def setUpClass(cls):
        cls.place = Workplace().__enter__()
        cls.place.run("graph", "gpt", "--layers", "2", "--hidden", "2048", "--heads", "16", "--seq-len", "1024", "-o", "gpt.json")

    @classmethod
    def tearDownClass(cls):
        cls.place.__exit__(None, None, None)

    def baseline(self, device, *words, json_too=True):
        (self.place.path / "c.json").write_text(json.dumps({**CLUSTER, "device": device} if isinstance(device, str)
                                                           else {**CLUSTER, **device}))
        words = ["baseline", "gpt.json", "c.json", "--global-batch", "16", "--recipe", "megatron", *words]
        return self.place.json(*words) if json_too else self.place.run(*words).stdout

    def test_a_plan_says_that_no_measured_run_supports_a_device(self):
        answer = self.baseline("H20", "--dp", "8")
        jsonschema.validate(answer, schema("summary"))
        self.assertEqual(["H20-SXM-96GB"], answer["unmeasured_devices"])
        self.assertIn("constants    no measured run supports those of H20-SXM-96GB\n",
                      self.baseline("H20", "--dp", "8", json_too=False))
        self.assertEqual([], self.baseline("H100-SXM5-80GB", "--dp", "8")["unmeasured_devices"])
        self.assertNotIn("no measured run", self.baseline("H100-SXM5-80GB", "--dp", "8", json_too=False))

    def test_its_interval_is_that_of_unknown_devices(self):
        # A known recipe on a device without runs: of rows whose sources, and where known whose devices, were left out.
        answer = self.baseline("H20", "--dp", "8")
        low, high = (end / answer["iteration_time_s"] for end in answer["iteration_time_interval_s"])
        unknown = UNCERTAINTY.get("unknown_device") or UNCERTAINTY.get("elsewhere") or UNCERTAINTY["all"]
        elsewhere = UNCERTAINTY.get("elsewhere") or UNCERTAINTY["all"]
        self.assertAlmostEqual(2.718281828459045 ** min(unknown["low"], elsewhere["low"]), low)
        self.assertAlmostEqual(2.718281828459045 ** max(unknown["high"], elsewhere["high"]), high)

    def test_steps_are_as_fast_as_the_devices(self):
        times = {device: self.baseline(device, "--tp", "8")["iteration_time_s"]
                 for device in ["H100-SXM5-80GB", "H800-SXM5-80GB", "H20", "A100-SXM4-80GB", "A800-SXM4-80GB", "RTX 4090"]}
        self.assertLess(times["H100-SXM5-80GB"], times["H800-SXM5-80GB"])  # NVLink
        self.assertLess(times["H800-SXM5-80GB"], times["H20"])   # a sixth of the products
        self.assertLess(times["A100-SXM4-80GB"], times["A800-SXM4-80GB"])
        self.assertLess(times["A800-SXM4-80GB"], times["RTX 4090"])

    def test_an_h100_with_other_links_computes_as_fast_as_an_h100(self):
        own = {"device": {"name": "ours", "like": "H100-SXM5-80GB", "memory": "80 GiB", "memory_bandwidth": "3350 GB/s",
                          "peak": {"bf16": "989 TFLOP/s", "fp16": "989 TFLOP/s", "fp8": "1979 TFLOP/s",
                                   "fp32": "67 TFLOP/s"}},
               "intra_host": {"bandwidth": "20 GB/s"}, "nic": {"bandwidth": "100 Gbit/s"}}
        one, other = self.baseline("H100-SXM5-80GB", "--dp", "8"), self.baseline(own, "--dp", "8")
        for key in ["forward_s", "backward_s"]:
            self.assertEqual(one["stages"][0][key], other["stages"][0][key])
        self.assertLess(one["stages"][0]["sync_s"], other["stages"][0]["sync_s"])


class Accuracy(unittest.TestCase):
    def test_a_run_on_such_a_device_is_priced_and_said_to_be(self):
        runs = json.loads(gzip.decompress((ROOT / "tests/data/measured/published_runs.json.gz").read_bytes()))
        run = next(run for run in runs
                   if run["gpu"] == "H100-80GB-SXM" and run["status"] == "ok" and not run["model"].get("num_experts"))
        with Workplace() as place:
            (place.path / "runs.json").write_text(json.dumps([run | {"id": gpu, "gpu": gpu} for gpu in
                                                              ["H100-80GB-SXM", "NVIDIA H800", "Tesla K80"]]))
            answer, text = place.json("accuracy", "runs.json"), place.run("accuracy", "runs.json").stdout
        jsonschema.validate(answer, schema("accuracy"))
        self.assertEqual([("H100-SXM5-80GB", True), ("H800-SXM5-80GB", False)],
                         [(row["device"], row["device_measured"]) for row in answer["rows"]])
        self.assertLess(answer["rows"][0]["predicted_s"], answer["rows"][1]["predicted_s"])
        width = [row["interval_s"][1] / row["interval_s"][0] for row in answer["rows"]]
        self.assertLess(width[0], width[1])
        self.assertEqual(["Tesla K80"], [each["id"] for each in answer["skipped"]])
        self.assertRegex(text, r"no measured run supports the constants of +runs\nH800-SXM5-80GB +1\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        PAGE.write_text(BLOCK.sub(lambda block: block[1] + table(), PAGE.read_text()))
    else:
        unittest.main()
