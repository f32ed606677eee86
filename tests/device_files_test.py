"""Device files and recipes that ship: they fit their schemas, `validate` reads them, clusters may name a device."""
import copy
import json
import pathlib
import unittest

import jsonschema

from meshloom_program import CLUSTER, GRAPH, Workplace

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEVICES = sorted((ROOT / "cluster_specs/devices").glob("*.json"))
RECIPES = [path for path in sorted((ROOT / "training_recipes").glob("*.json"))
           if json.loads(path.read_text())["schema"] == "meshloom.recipe/1"]


def validator(name):
    schema = json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


class DeviceFiles(unittest.TestCase):
    def test_files_that_ship_fit_their_schemas(self):
        self.assertGreaterEqual(len(DEVICES), 47)
        self.assertGreaterEqual(len(RECIPES), 11)
        for name, paths in {"device": DEVICES, "recipe": RECIPES}.items():
            for path in paths:
                with self.subTest(path.name):
                    validator(name).validate(json.loads(path.read_text()))

    def test_the_schemas_refuse_what_the_program_refuses(self):
        device, recipe = json.loads(DEVICES[0].read_text()), json.loads(RECIPES[0].read_text())
        for name, document, key, value in [("device", device, "nics", 2), ("device", device, "memory", "80"),
                                           ("device", device, "attention_kernels", {"triton": 1.5}),
                                           ("recipe", recipe, "kernel_sets", {"fused": {"launhc": "1 us"}}),
                                           ("recipe", recipe, "linear_dtype", "int8"),
                                           ("recipe", recipe, "expert_imbalance", 0.5)]:
            spoiled = copy.deepcopy(document)
            spoiled[key] = value
            with self.subTest(key):
                self.assertFalse(validator(name).is_valid(spoiled))
                with Workplace() as place:
                    (place.path / "spoiled.json").write_text(json.dumps(spoiled))
                    self.assertEqual(2, place.run("validate", "spoiled.json").returncode)

    def test_validate_reads_them(self):
        with Workplace() as place:
            run = place.run("validate", *map(str, DEVICES + RECIPES))
            self.assertEqual(0, run.returncode, run.stderr)

    def test_a_cluster_may_name_a_device_and_a_plan_holds_it_whole(self):
        cluster = {"schema": "meshloom.cluster/1", "name": "two", "device": "A100-80GB", "devices_per_host": 2}
        validator("cluster").validate(cluster)
        self.assertFalse(validator("cluster").is_valid({**cluster, "device": CLUSTER["device"]}))  # without links
        with Workplace() as place:
            (place.path / "graph.json").write_text(json.dumps(GRAPH))
            (place.path / "cluster.json").write_text(json.dumps(cluster))
            run = place.run("plan", "graph.json", "cluster.json", "--global-batch", "8", "-o", "plan.json")
            self.assertEqual(0, run.returncode, run.stderr)
            stored = json.loads((place.path / "plan.json").read_text())["cluster"]
            validator("cluster").validate(stored)
            self.assertEqual("A100-SXM4-80GB", stored["device"]["name"])
            self.assertEqual("300 GB/s", stored["intra_host"]["bandwidth"])

    def test_a_name_of_several_devices_is_refused_with_theirs(self):
        with Workplace() as place:
            for name, members in (("A100", "A100-PCIE-40GB, A100-PCIE-80GB, A100-SXM4-40GB, A100-SXM4-80GB"),
                                  ("NVIDIA v100 SXM2", "V100-SXM2-16GB, V100-SXM2-32GB"),
                                  ("H100-SXM5", "H100-SXM5-80GB, H100-SXM5-96GB-500W")):
                cluster = {"schema": "meshloom.cluster/1", "name": "two", "device": name, "devices_per_host": 2}
                (place.path / "cluster.json").write_text(json.dumps(cluster))
                run = place.run("validate", "cluster.json")
                self.assertEqual(2, run.returncode)
                self.assertIn(f'cluster.json: /device: "{name}" may be any of {members}, which differ in memory and '
                              "speed; name one", run.stderr)
            for alone in "B200", "H20", "L4", "L40", "A10", "MI250":  # others only begin with the same letters
                cluster["device"] = alone
                (place.path / "cluster.json").write_text(json.dumps(cluster))
                run = place.run("validate", "cluster.json")
                self.assertEqual(0, run.returncode, run.stderr)

    def test_a_kernel_set_is_chosen_on_the_command_line_and_recorded(self):
        recipe = {"schema": "meshloom.recipe/1", "name": "ours", "kernels": "plain",
                  "kernel_sets": {"plain": {"norm_traffic": 2}, "fused": {"norm_traffic": 0.5}}}
        validator("recipe").validate(recipe)
        with Workplace() as place:
            (place.path / "graph.json").write_text(json.dumps(GRAPH))
            (place.path / "cluster.json").write_text(json.dumps(CLUSTER))
            (place.path / "recipe.json").write_text(json.dumps(recipe))
            words = ["graph.json", "cluster.json", "--global-batch", "8", "--recipe", "recipe.json", "-o", "plan.json"]
            for command in (["plan"], ["baseline", "--dp", "4"]):
                for chosen, kernels, traffic in [([], "plain", 2), (["--kernels", "fused"], "fused", 0.5)]:
                    run = place.run(*command, *words, *chosen)
                    self.assertEqual(0, run.returncode, run.stderr)
                    stored = json.loads((place.path / "plan.json").read_text())["recipe"]
                    validator("recipe").validate(stored)
                    self.assertEqual((kernels, traffic), (stored["kernels"], stored["norm_traffic"]))


if __name__ == "__main__":
    unittest.main()
