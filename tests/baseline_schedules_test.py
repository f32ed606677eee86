"""`baseline` with every schedule: what it prints and writes validates, simulates again and explains."""
import json
import unittest

import jsonschema
from meshloom_program import ROOT, Workplace

TINY_GPT = ["graph", "gpt", "--layers", "4", "--hidden", "256", "--heads", "4", "--seq-len", "128", "--vocab", "1024"]
BASELINE = ["baseline", "graph.json", "cluster.json", "--global-batch", "64", "--pp", "2", "--tp", "2",
            "--microbatch-size", "4"]


def check(document, schema):
    text = json.loads((ROOT / "docs/schemas" / f"{schema}.schema.json").read_text())
    jsonschema.validators.validator_for(text)(text).validate(document)


class GptPlace(Workplace):
    def __init__(self):
        super().__init__()
        if self.run(*TINY_GPT, "-o", "graph.json").returncode != 0:
            raise AssertionError("no graph")


class Schedules(unittest.TestCase):
    def test_every_schedule_can_be_priced_simulated_and_explained(self):
        with GptPlace() as place:
            for schedule, options in {"1f1b": [], "gpipe": [], "eager-1f1b": [], "zb-h1": [], "zb-h2": [], "zb-1p": [],
                                      "zb-2p": [], "inference": [], "interleaved-1f1b": ["--vpp", "2"],
                                      "dualpipe": []}.items():
                with self.subTest(schedule):
                    summary = place.json(*BASELINE, "--schedule", schedule, *options, "-o", "plan.json")
                    check(summary, "summary")
                    check(place.read("plan.json"), "plan")
                    self.assertEqual(schedule, summary["schedule"])
                    self.assertEqual(4, summary["devices"])
                    again = place.json("simulate", "plan.json", "--trace", "t.json", "--report", "r.html", "--graph",
                                       "graph.json", "--cluster", "cluster.json")
                    self.assertEqual([], again["differences"])
                    self.assertEqual(summary["iteration_time_s"], again["iteration_time_s"])
                    check(place.read("t.json"), "trace")
                    check(place.json("explain", "plan.json"), "explain")

    def test_virtual_stages_mean_interleaving(self):
        with GptPlace() as place:
            summary = place.json(*BASELINE, "--vpp", "2")
            self.assertEqual("interleaved-1f1b", summary["schedule"])
            self.assertEqual([0, 0, 1, 1], [stage["chunk"] for stage in summary["stages"]])
            self.assertEqual([[0, 1], [2, 3]] * 2, [stage["devices"] for stage in summary["stages"]])
            layers = [(stage["first_layer"], stage["last_layer"]) for stage in summary["stages"]]
            self.assertEqual(layers, sorted(layers))

    def test_a_vocabulary_that_frameworks_would_pad_is_warned_about(self):
        with GptPlace() as place:
            for vocabulary, padding, warned in ("1023", [], True), ("1023", ["--pad-vocab-to", "256"], False):
                words = [*TINY_GPT[:-1], vocabulary, *padding, "-o", "graph.json"]
                self.assertEqual(0, place.run(*words).returncode)
                run = place.run(*BASELINE)
                self.assertEqual(0, run.returncode)
                warning = ('warning: the vocabulary of 1023 is not a multiple of the 2 devices of mesh axis "tp", so each '
                           "of them computes the whole loss; frameworks pad it: meshloom graph … --pad-vocab-to 256\n")
                self.assertEqual(warning if warned else "", run.stderr)

    def test_a_state_that_the_framework_does_not_have_is_warned_about(self):
        with GptPlace() as place:
            words = ["graph.json", "cluster.json", "--global-batch", "64"]
            warning = ("warning: the recipe megatron does not have zero3 (it has replicated, zero1); priced as frameworks "
                       "that have it do\n")
            self.assertEqual(warning, place.run("baseline", *words, "--dp", "4", "--zero", "3", "--recipe",
                                                "megatron").stderr)
            self.assertEqual(warning, place.run("plan", *words, "--parameter-state", "zero3", "--recipe",
                                                "megatron").stderr)
            self.assertEqual("", place.run("baseline", *words, "--dp", "4", "--zero", "1", "--recipe",
                                           "megatron").stderr)
            self.assertIn("warning: the recipe fsdp does not have replicated (it has zero3)",
                          place.run("baseline", *words, "--dp", "4", "--recipe", "fsdp").stderr)
            self.assertEqual("", place.run("baseline", *words, "--tp", "4", "--recipe", "fsdp").stderr)

    def test_a_graph_in_fp16_is_computed_as_the_recipe_says_and_warned_about(self):
        with GptPlace() as place:
            self.assertEqual(0, place.run(*TINY_GPT, "--dtype", "fp16", "-o", "graph.json").returncode)
            cluster = str(ROOT / "cluster_specs/dgx_a100.json")
            words = ["baseline", "graph.json", cluster, "--global-batch", "64", "--dp", "8"]
            fp16 = {"schema": "meshloom.recipe/1", "name": "fp16", "extends": "megatron", "compute_dtype": "fp16"}
            (place.path / "fp16.json").write_text(json.dumps(fp16))
            told = place.run(*words, "--recipe", "megatron", "-o", "bf16.plan")
            self.assertEqual("warning: the graph's fp16 is computed in bf16, as the recipe megatron says; for fp16 give a "
                             'recipe file with "extends": "megatron", "compute_dtype": "fp16"\n', told.stderr)
            self.assertEqual("", place.run(*words, "--recipe", "fp16.json", "-o", "fp16.plan").stderr)
            gradients = [place.read(f"{name}.plan")["stages"][0]["memory"]["gradients_bytes"] for name in ("bf16", "fp16")]
            self.assertEqual(gradients[0], 2 * gradients[1])  # 4 and 2 bytes each
            # A V100 has no bf16.
            v100 = str(ROOT / "cluster_specs/aws_p3_16xlarge.json")
            self.assertEqual("", place.run(*words[:2], v100, *words[3:], "--recipe", "megatron").stderr)

    def test_what_does_not_go_together_is_refused_with_a_remedy(self):
        with GptPlace() as place:
            for options, message in [
                    (["--schedule", "interleaved-1f1b"],
                     "--schedule interleaved-1f1b: needs chunks to interleave; give --vpp 2 or more"),
                    (["--schedule", "zb-h1", "--vpp", "2"],
                     "--vpp: the schedule zb-h1 has 1 chunk per rank; leave --vpp out or use interleaved-1f1b"),
                    (["--schedule", "zb-3p"], "did you mean"),
                    (["--schedule", "inference", "--recompute", "full"], "leave --recompute out"),
                    (["--vpp", "3"], "--pp, --vpp: 6 does not divide the model's 4 layers")]:
                with self.subTest(options):
                    run = place.run(*BASELINE, *options)
                    self.assertEqual(2, run.returncode)
                    self.assertIn(message, run.stderr)


if __name__ == "__main__":
    unittest.main()
