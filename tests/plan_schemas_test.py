"""The schemas of plans, summaries and traces accept what the program writes and refuse what it never would."""
import copy
import json
import pathlib
import unittest

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parent.parent


def validator(name):
    schema = json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def worked_file(name):
    return json.loads((ROOT / f"tests/data/plan/{name}.json").read_text())


class Schemas(unittest.TestCase):
    def assert_refused(self, schema, document, change):
        spoiled = copy.deepcopy(document)
        change(spoiled)
        self.assertFalse(validator(schema).is_valid(spoiled))

    def test_the_worked_files_validate(self):
        for name in ["plan", "summary", "infeasible_plan", "infeasible_summary", "trace"]:
            with self.subTest(name):
                validator(name.removeprefix("infeasible_")).validate(worked_file(name))

    def test_the_inline_cluster_and_recipe_are_files_of_their_own(self):
        plan = worked_file("plan")
        validator("cluster").validate(plan["cluster"])
        validator("recipe").validate(plan["recipe"])

    def test_the_pins_of_the_documentation(self):
        text = (ROOT / "docs/pins_format.md").read_text()
        pins = json.loads(text.split("```json")[1].split("```")[0])
        validator("pins").validate(pins)
        self.assert_refused("pins", pins, lambda p: p["pins"][0].update(tensor="w"))
        self.assert_refused("pins", pins, lambda p: p["pins"][0].pop("shard"))
        self.assert_refused("pins", pins, lambda p: p["pins"][0]["shard"].update(f=0))
        self.assert_refused("pins", pins, lambda p: p["pins"][0]["shard"].update(f="some"))

    def test_the_list_of_stages_of_the_documentation(self):
        stages = json.loads((ROOT / "docs/constraints.md").read_text().split("```json")[1].split("```")[0])
        validator("stages").validate(stages)
        self.assert_refused("stages", stages, lambda s: s["stages"][0].update(first="h0"))
        self.assert_refused("stages", stages, lambda s: s["stages"][0].pop("layers"))
        self.assert_refused("stages", stages, lambda s: s["stages"][0].update(submesh=[1]))
        self.assert_refused("stages", stages, lambda s: s.update(stages=[]))

    def test_what_simulate_adds(self):
        summary = worked_file("summary") | {"search_s": None, "differences": None, "noise": None, "failures": None}
        for schema in ["summary", "simulate"]:
            validator(schema).validate(summary)
            validator(schema).validate(summary | {"differences": [{"path": "/stages/0", "stored": 1.0, "priced": 2.0}]})
            self.assertFalse(validator(schema).is_valid(summary | {"differences": [{"path": "/stages/0"}]}))

    def test_a_spoiled_plan_is_refused(self):
        plan = worked_file("plan")
        self.assert_refused("plan", plan, lambda p: p.pop("origin"))
        self.assert_refused("plan", plan, lambda p: p.update(extra=1))
        self.assert_refused("plan", plan, lambda p: p.update(status="good"))
        self.assert_refused("plan", plan, lambda p: p["stages"][0].update(forward_s=-1))
        self.assert_refused("plan", plan, lambda p: p["stages"][0]["ops"][0]["outputs"].append(["S"]))
        self.assert_refused("plan", plan, lambda p: p["stages"][0]["conversions"][0].update(rate="often"))

    def test_a_spoiled_summary_or_trace_is_refused(self):
        self.assert_refused("summary", worked_file("summary"), lambda s: s.pop("gap"))
        self.assert_refused("summary", worked_file("summary"), lambda s: s["stages"][0].pop("chunk"))
        self.assert_refused("trace", worked_file("trace"), lambda t: t["traceEvents"][-1].pop("ts"))
        self.assert_refused("trace", worked_file("trace"), lambda t: t["traceEvents"][-1].update(ph="Z"))


if __name__ == "__main__":
    unittest.main()
