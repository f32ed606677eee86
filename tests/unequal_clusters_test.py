"""The command line on a cluster with groups of hosts."""
import copy
import json
import unittest

import jsonschema

from meshloom_program import CLUSTER, ROOT, Workplace, changed

# Four quick devices on a host, four of half their speed on two.
QUICK = {key: value for key, value in CLUSTER.items() if key != "schema"} | {"name": "quick"}
SLOW = copy.deepcopy(QUICK) | {"name": "slow", "hosts": 2, "devices_per_host": 2}
SLOW["device"] |= {"name": "E", "peak": {"bf16": "50 TFLOP/s", "fp32": "15 TFLOP/s"}}
MIXED = {"schema": "meshloom.cluster/1", "name": "mixed", "groups": [QUICK, SLOW]}
GPT = ["graph", "gpt", "--layers", "6", "--hidden", "2048", "--heads", "16", "--seq-len", "512", "--vocab", "8192",
       "-o", "gpt.json"]
PLAN = ["plan", "gpt.json", "mixed.json", "--global-batch", "64", "--schedule", "1f1b"]


def validate(name, document):
    jsonschema.validate(document, json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text()))


class UnequalClusters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Workplace()
        cls.place.write("mixed.json", MIXED)
        cls.place.run(*GPT)
        cls.summary = cls.place.json(*PLAN, "-o", "plan.json", "--report", "report.html")
        cls.plan = cls.place.read("plan.json")

    def refused(self, *words):
        run = self.place.run(*words)
        self.assertEqual(2, run.returncode, run.stdout)
        return run.stderr

    def test_every_stage_says_its_group_and_idle_devices_are_listed(self):
        validate("summary", self.summary)
        used = [device for stage in self.summary["stages"] for device in stage["devices"]]
        for stage in self.summary["stages"]:
            devices = range(0, 4) if stage["group"] == "quick" else range(4, 8)
            self.assertLessEqual(set(stage["devices"]), set(devices))
        self.assertEqual(list(range(8)), sorted(used + self.summary["idle_devices"]))

    def test_the_files_fit_their_schemas(self):
        validate("plan", self.plan)
        validate("cluster", MIXED)
        validate("cluster", self.plan["cluster"])
        validate("cluster", json.loads((ROOT / "cluster_specs/aws_4_p4d_8_p3.json").read_text()))
        for wrong in (MIXED | {"hosts": 2}, CLUSTER | {"groups": [QUICK]}, changed(MIXED, ["groups"], [])):
            with self.assertRaises(jsonschema.ValidationError):
                validate("cluster", wrong)

    def test_a_plan_is_priced_again_to_the_same_times(self):
        again = self.place.json("simulate", "plan.json", "--graph", "gpt.json", "--cluster", "mixed.json")
        self.assertEqual([], again["differences"])

    def test_another_number_of_groups_is_refused(self):
        complaint = self.refused("simulate", "plan.json", "--graph", "gpt.json", "--cluster", "cluster.json")
        self.assertIn("--cluster cluster.json: has 4 × D, but the plan is for 4 × D and 4 × E; give such a cluster",
                      complaint)

    def test_an_edited_plan_with_a_stage_on_two_groups_is_refused(self):
        stages = copy.deepcopy(self.plan["stages"])
        stages[0]["devices"][-1] = 7 if stages[0]["devices"][0] < 4 else 0
        self.place.write("edited.json", self.plan | {"stages": stages})
        self.assertIn("a stage lies in one group", self.refused("simulate", "edited.json"))

    def test_options_that_do_not_say_their_group_are_refused(self):
        self.assertIn("--hosts: mixed.json: the cluster has groups", self.refused(*PLAN, "--hosts", "3"))
        self.assertIn("--device-memory: mixed.json: the cluster has groups",
                      self.refused(*PLAN, "--device-memory", "32 GiB"))

    def test_a_list_of_stages_is_refused(self):
        self.place.write("stages.json", {"schema": "meshloom.stages/1", "stages": [{"layers": 8, "submesh": [1, 4]}]})
        self.assertIn("not on which groups", self.refused(*PLAN, "--stages-from", "stages.json"))

    def test_submeshes_hold_in_every_group_that_can_have_them(self):
        summary = self.place.json(*PLAN, "--submeshes", "1x2")
        self.assertEqual({(1, 2)}, {tuple(stage["submesh"]) for stage in summary["stages"]})

    def test_the_text_names_groups(self):
        run = self.place.run(*PLAN)
        self.assertIn(" on 4 × D and 4 × E (mixed, 3 hosts)", run.stdout.splitlines()[0])
        self.assertRegex(run.stdout, r"parameters +group\n")

    def test_the_report_draws_hosts_of_both_sizes(self):
        page = (self.place.path / "report.html").read_text()
        self.assertIn('"groups":[{"name":"quick","hosts":1,"devices_per_host":4},'
                      '{"name":"slow","hosts":2,"devices_per_host":2}]', page)
        self.assertIn("on 4 × D and 4 × E</title>", page)


if __name__ == "__main__":
    unittest.main()
