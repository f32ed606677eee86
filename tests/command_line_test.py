"""The command line from outside: exit codes, what is printed and written, and that all of it validates."""
import gzip
import html.parser
import json
import os
import pathlib
import re
import subprocess
import unittest
import xml.etree.ElementTree

import jsonschema
from meshloom_program import CLUSTER, CONTEST, GRAPH, PROGRAM, ROOT, TABLE, Workplace, changed

PLAN = ["plan", "graph.json", "cluster.json", "--global-batch", "64"]
TINY_GPT = ["graph", "gpt", "--layers", "4", "--hidden", "256", "--heads", "4", "--seq-len", "128", "--vocab", "1024"]
# The recipe's context takes 1 GiB of each device; parameters, gradients and optimizer state need 18 bytes for each of
# 2 · 256 · 1024 parameters, on 4 devices at least 2.25 MiB each.
SMALL_MEMORY = changed(CLUSTER, ["device", "memory"], "1025 MiB")


def check(document, schema):
    """Validates with an independent validator; `schema` is a name in docs/schemas."""
    text = json.loads((ROOT / "docs/schemas" / f"{schema}.schema.json").read_text())
    validator = jsonschema.validators.validator_for(text)
    validator.check_schema(text)
    validator(text).validate(document)


class PlanAndBaseline(unittest.TestCase):
    def test_the_summary_and_the_files_validate(self):
        with Workplace() as place:
            summary = place.json(*PLAN, "-o", "plan.json")
            check(summary, "summary")
            check(place.read("plan.json"), "plan")
            self.assertLessEqual(summary["lower_bound_s"], summary["best_estimate_s"])
            self.assertEqual(64, summary["microbatch_size"] * summary["microbatches"])

    def test_no_temporary_file_is_left(self):
        with Workplace() as place:
            self.assertEqual(0, place.run(*PLAN, "-o", "plan.json", "--report", "r.html").returncode)
            self.assertEqual({"graph.json", "cluster.json", "plan.json", "r.html"}, place.files())

    def test_the_same_input_gives_the_same_bytes_with_any_number_of_threads(self):
        with Workplace() as place:
            place.run(*TINY_GPT, "-o", "graph.json")
            written = set()
            for threads in ["1", "2", "1", "2"]:
                self.assertEqual(0, place.run(*PLAN, "--threads", threads, "-o", "plan.json").returncode)
                written.add((place.path / "plan.json").read_bytes())
            self.assertEqual(1, len(written))

    def test_standard_error_is_silent_without_a_terminal(self):
        with Workplace() as place:
            self.assertEqual("", place.run(*PLAN).stderr)

    def test_graph_and_plan_pass_through_pipes(self):
        with Workplace() as place:
            graph = place.run(*TINY_GPT, "-o", "-").stdout
            check(json.loads(graph), "graph")
            run = place.run("plan", "-", "cluster.json", "--global-batch", "64", "-o", "-", stdin=graph)
            plan = json.loads(run.stdout)
            check(plan, "plan")
            check(place.json("simulate", "-", stdin=run.stdout), "simulate")

    def test_number_and_size_of_microbatches_say_the_same(self):
        with Workplace() as place:
            by_size = place.json(*PLAN, "--microbatch-size", "16")
            by_number = place.json(*PLAN, "--microbatches", "4")
            self.assertEqual(4, by_size["microbatches"])
            by_size["search_s"] = by_number["search_s"] = None
            self.assertEqual(by_size, by_number)

    def test_hosts_on_the_command_line_win_over_the_file(self):
        with Workplace() as place:
            summary = place.json(*PLAN, "--hosts", "2")
            self.assertEqual(8, sum(len(stage["devices"]) for stage in summary["stages"]))

    def test_a_baseline_has_the_degrees_asked_for(self):
        with Workplace() as place:
            summary = place.json("baseline", *PLAN[1:], "--pp", "2", "--tp", "2", "--microbatch-size", "4", "-o", "b.json")
            check(summary, "summary")
            check(place.read("b.json"), "plan")
            self.assertEqual([2, 2], [len(stage["devices"]) for stage in summary["stages"]])
            self.assertEqual(4, summary["microbatch_size"])

    def test_the_microbatch_of_a_baseline_counts_per_replica(self):
        with Workplace() as place:
            summary = place.json("baseline", *PLAN[1:], "--dp", "4", "--microbatch-size", "4")
            self.assertEqual(16, summary["microbatch_size"])  # 4 samples on each of 4 replicas


class NothingFits(unittest.TestCase):
    def test_it_is_an_answer_with_an_exit_code_of_its_own(self):
        with Workplace() as place:
            place.write("cluster.json", SMALL_MEMORY)
            summary = place.json(*PLAN, "-o", "plan.json", "--report", "r.html", exit_code=3)
            check(summary, "summary")
            self.assertEqual("infeasible", summary["status"])
            self.assertGreater(len(summary["reasons"]), 0)
            for reason in summary["reasons"]:
                self.assertGreater(reason["needs_bytes"], reason["has_bytes"])
                self.assertEqual(1025 * 2**20, reason["has_bytes"])
                self.assertTrue({"stage", "layers"} & reason.keys())
            self.assertEqual({"graph.json", "cluster.json", "plan.json"}, place.files())
            check(place.read("plan.json"), "plan")
            self.assertEqual(0, place.run("validate", "plan.json").returncode)

    def test_a_report_that_was_asked_for_is_missed_aloud(self):
        with Workplace() as place:
            place.write("cluster.json", SMALL_MEMORY)
            run = place.run(*PLAN, "--report", "r.html")
            self.assertEqual((3, "note: no plan fits, so no report was written\n"), (run.returncode, run.stderr))

    def test_the_text_names_layers_and_bytes(self):
        with Workplace() as place:
            place.write("cluster.json", SMALL_MEMORY)
            run = place.run(*PLAN)
            self.assertEqual(3, run.returncode)
            self.assertRegex(run.stdout, r"layers h\d.*: need .* \(\d+ bytes\), have .* \(1074790400 bytes\)")

    def test_a_baseline_that_does_not_fit_says_so_too(self):
        with Workplace() as place:
            place.write("cluster.json", SMALL_MEMORY)
            check(place.json("baseline", *PLAN[1:], "--dp", "4", "-o", "b.json", exit_code=3), "summary")
            check(place.read("b.json"), "plan")


class SimulateAndCompare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Workplace().__enter__()
        cls.addClassCleanup(cls.place.__exit__)
        cls.planned = cls.place.json(*PLAN, "-o", "plan.json")
        assert cls.place.run(*PLAN[:4], "65536", "-o", "larger.json").returncode == 0
        assert cls.place.run(*PLAN, "--recompute", "full", "-o", "slower.json").returncode == 0

    def test_simulating_a_plan_finds_the_time_it_states(self):
        again = self.place.json("simulate", "plan.json", "--trace", "trace.json")
        check(again, "simulate")
        check(self.place.read("trace.json"), "trace")
        self.assertEqual(self.planned["iteration_time_s"], again["iteration_time_s"])
        self.assertIsNone(again["differences"])
        self.assertIsNone(again["search_s"])

    def test_a_trace_over_its_limit_is_cut_and_says_so(self):
        cut = self.place.run("simulate", "plan.json", "--trace", "cut.json", "--trace-limit", "3")
        self.assertEqual(0, cut.returncode)
        trace = self.place.read("cut.json")
        check(trace, "trace")
        count = trace["otherData"]["instructions"]
        self.assertEqual(3, trace["otherData"]["instructions_shown"])
        self.assertIn(f"note: cut.json shows the first 3 of {count} instructions, until ", cut.stderr)
        self.assertIn(f" of the step; --trace-limit {count} writes all, about ", cut.stderr)
        whole = self.place.run("simulate", "plan.json", "--trace", "whole.json", "--trace-limit", str(count))
        self.assertEqual("", whole.stderr)
        self.assertEqual(count, self.place.read("whole.json")["otherData"]["instructions_shown"])

    def test_a_plan_priced_again_has_no_differences(self):
        again = self.place.json("simulate", "plan.json", "--graph", "graph.json", "--cluster", "cluster.json")
        self.assertEqual([], again["differences"])

    def test_a_planted_wrong_time_is_found(self):
        plan = self.place.read("plan.json")
        op = next(i for i, op in enumerate(plan["stages"][0]["ops"]) if op["forward_s"] > 0)
        plan["stages"][0]["ops"][op]["forward_s"] *= 1.01
        self.place.write("planted.json", plan)
        again = self.place.json("simulate", "planted.json", "--graph", "graph.json", "--cluster", "cluster.json", exit_code=5)
        check(again, "simulate")
        self.assertIn(f"/stages/0/ops/{op}/forward_s", [each["path"] for each in again["differences"]])

    PRICED = ["--graph", "graph.json", "--cluster", "cluster.json"]

    def test_a_wrong_iteration_time_is_a_difference_or_a_warning(self):
        plan = self.place.read("plan.json")
        plan["iteration_time_s"] *= 1.01
        self.place.write("planted.json", plan)
        again = self.place.json("simulate", "planted.json", *self.PRICED, exit_code=5)
        self.assertEqual(["/iteration_time_s"], [each["path"] for each in again["differences"]])
        self.assertEqual(self.planned["iteration_time_s"], again["differences"][0]["priced"])
        run = self.place.run("simulate", "planted.json")
        self.assertEqual(0, run.returncode)
        self.assertRegex(run.stderr, r"^warning: planted.json: /iteration_time_s: states .*\n$")

    def test_the_text_states_totals_first_and_ten_of_the_others(self):
        self.place.write("slow.json", changed(CLUSTER, ["device", "peak", "bf16"], "50 TFLOP/s"))
        self.assertEqual(0, self.place.run(*TINY_GPT, "-o", "tiny.json").returncode)
        self.assertEqual(0, self.place.run("plan", "tiny.json", *PLAN[2:], "-o", "tiny_plan.json").returncode)
        words = ["simulate", "tiny_plan.json", "--graph", "tiny.json", "--cluster", "slow.json"]
        differences = self.place.json(*words, exit_code=5)["differences"]
        run = self.place.run(*words)
        self.assertEqual(5, run.returncode)
        lines = run.stdout.split("priced again: ")[1].splitlines()
        self.assertEqual(f"{len(differences)} differences over 0.1 %", lines[0])
        self.assertRegex(lines[2], r"^/estimate_s +[\d.]+ m?s +[\d.]+ m?s +\+[\d.]+ %$")
        others = lines[lines.index("largest of the others") + 2:]
        self.assertEqual(11, len(others))
        self.assertRegex(others[0], r"^/stages/0/ops/\d+/\w+_s .* %  h\d\.\w+")
        of_parts = sum(each["path"].count("/") > 3 for each in differences)
        self.assertEqual(f"… and {of_parts - 10} more; --json lists all", others[-1])

    def test_a_cluster_whose_hosts_are_too_small_for_the_plan_is_refused(self):
        self.place.write("pairs.json", changed(CLUSTER, ["devices_per_host"], 2))
        run = self.place.run("simulate", "plan.json", "--graph", "graph.json", "--cluster", "pairs.json")
        self.assertEqual(2, run.returncode)
        self.assertRegex(run.stderr, r"^error: --cluster pairs.json: has 1 × 2 devices, but stage 0 of the plan takes")

    def test_another_graph_than_the_plans_is_refused(self):
        self.place.write("other.json", changed(GRAPH, ["dims", "f"], 2048))
        run = self.place.run("simulate", "plan.json", "--graph", "other.json", "--cluster", "cluster.json")
        self.assertEqual(2, run.returncode)
        self.assertRegex(run.stderr, r"^error: other.json: is not the graph of plan.json \(digest fnv1a64:")

    def test_a_plan_compared_with_itself_passes_any_threshold(self):
        verdict = self.place.json("compare", "plan.json", "plan.json", "--max-slowdown", "0%")
        check(verdict, "compare")
        self.assertEqual((0, True, []), (verdict["slowdown"], verdict["passed"], verdict["differences"]))

    def test_a_slower_plan_fails_the_threshold(self):
        verdict = self.place.json("compare", "plan.json", "slower.json", "--max-slowdown", "2%", exit_code=5)
        check(verdict, "compare")
        self.assertFalse(verdict["passed"])
        self.assertAlmostEqual(verdict["new_s"] / verdict["base_s"] - 1, verdict["slowdown"])

    def test_without_a_threshold_a_slower_plan_is_no_failure(self):
        self.assertTrue(self.place.json("compare", "plan.json", "slower.json")["passed"])

    def test_plans_of_different_work_are_compared_with_a_warning_but_not_against_a_threshold(self):
        compared = self.place.json("compare", "plan.json", "larger.json")
        check(compared, "compare")
        self.assertEqual(["the global batches differ: 64 and 65536 samples per step"], compared["warnings"])
        self.assertIn("\nwarning: not the same work: the global", self.place.run("compare", "plan.json", "larger.json").stdout)
        run = self.place.run("compare", "plan.json", "larger.json", "--max-slowdown", "2%")
        self.assertEqual((2, ""), (run.returncode, run.stdout))
        self.assertRegex(run.stderr, "^error: --max-slowdown: plan.json and larger.json are not comparable: the global batches")

    def test_junit_states_the_failure(self):
        run = self.place.run("compare", "plan.json", "slower.json", "--max-slowdown", "2%", "--format", "junit")
        self.assertEqual(5, run.returncode)
        suite = xml.etree.ElementTree.fromstring(run.stdout.encode())
        self.assertEqual("1", suite.get("failures"))
        self.assertIsNotNone(suite.find("testcase/failure"))

    def test_markdown_has_one_row_for_each_difference(self):
        differences = self.place.json("compare", "plan.json", "slower.json")["differences"]
        run = self.place.run("compare", "plan.json", "slower.json", "--format", "markdown")
        self.assertEqual(len(differences), run.stdout.count("\n| `"))

    def test_the_explanation_accounts_for_all_time_and_memory(self):
        explained = self.place.json("explain", "plan.json")
        check(explained, "explain")
        for stage in explained["stages"]:
            self.assertAlmostEqual(1, sum(stage["step_time"].values()) / self.planned["iteration_time_s"], places=9)
            peak = stage["memory"].pop("peak_bytes")
            self.assertAlmostEqual(1, sum(stage["memory"].values()) / peak, places=9)

    def test_an_op_is_explained_by_its_runner_up(self):
        explained = self.place.json("explain", "plan.json", "--op", "up")
        check(explained, "explain")
        self.assertEqual("up", explained["op"]["op"])
        self.assertGreaterEqual(explained["op"]["difference_s"], 0)

    def test_equal_ops_of_equal_layers_are_one_row(self):
        with Workplace() as place:
            place.run(*TINY_GPT, "-o", "graph.json")
            self.assertEqual(0, place.run("baseline", *PLAN[1:], "--dp", "4", "-o", "plan.json").returncode)
            self.assertRegex(place.run("explain", "plan.json").stdout, r"\nh0…h3\.mlp\.up ×4 +[\d.]+ [um]s +[\d.]+ %\n")

    def test_a_pinned_op_is_explained_with_its_rule_its_pin_and_the_mesh(self):
        with Workplace() as place:
            place.write("pins.json", {"schema": "meshloom.pins/1", "pins": [{"op": "up", "shard": {"f": 4, "*": 1}},
                                                                            {"tensor": "w2", "shard": [4, None]}]})
            text = place.run(*PLAN, "--pin", "pins.json", "--no-baselines", "-o", "plan.json").stdout
            self.assertIn("\n  pins         2 (1 op, 1 of tensors)\n", text)
            pin = "the plan: /pins/0 (op up: f in 4 parts, every other factor in 1 part)"
            text = place.run("explain", "plan.json", "--op", "up").stdout
            self.assertIn(f"\n  rule        b h, h f -> b f\n  fixed by    {pin}\n", text)
            explained = place.json("explain", "plan.json", "--op", "up")
            check(explained, "explain")
            self.assertEqual(("b h, h f -> b f", pin), (explained["op"]["rule"], explained["op"]["fixed_by"]))
            axes = explained["op"]["chosen_axes"]
            self.assertEqual(explained["op"]["chosen"], [axis["factor"] or "" for axis in axes])
            sizes = [axis["size"] for axis in axes if axis["factor"] == "f"]
            self.assertIn(sizes, [[4], [2, 2]])

    def test_changes_that_keep_a_layout_are_named_for_what_they_do(self):
        # Data parallelism sums gradients; ZeRO gathers the parameters after the update.
        with Workplace() as place:
            for words, change in [(["--zero", "0"], "gradient sum  all_reduce"),
                                  (["--zero", "1"], "gradient sum, gather of parameters  reduce_scatter")]:
                place.run("baseline", *PLAN[1:], "--dp", "4", *words, "-o", "plan.json")
                self.assertIn(change, re.sub(" {2,}", "  ", place.run("explain", "plan.json").stdout))

    def test_a_runner_up_that_takes_less_time_is_not_called_more(self):
        with Workplace() as place:
            place.run(*TINY_GPT, "-o", "graph.json")
            self.assertEqual(0, place.run("baseline", *PLAN[1:], "--tp", "4", "-o", "plan.json").returncode)
            words = ["explain", "plan.json", "--op", "embed.tokens"]
            self.assertIsNone(place.json(*words)["op"]["difference_s"])  # the layout leaves only the vocabulary
            # Taken for a plan of the search, which may shard the table otherwise, the vocabulary costs time.
            text = (place.path / "plan.json").read_text()
            (place.path / "plan.json").write_text(re.sub('"origin": "baseline[^"]*"', '"origin": "search"', text))
            self.assertLess(place.json(*words)["op"]["difference_s"], 0)
            self.assertRegex(place.run(*words).stdout, r"\n  difference  [\d.]+ us per step less, [\d.]+ KiB of memory less, "
                             r"but the plan prescribes its layout\n")

    def test_an_unknown_op_is_refused_with_a_suggestion(self):
        run = self.place.run("explain", "plan.json", "--op", "dwn")
        self.assertEqual(2, run.returncode)
        self.assertIn('did you mean "down"?', run.stderr)


class Surroundings(unittest.TestCase):
    def test_validate_reports_each_file(self):
        with Workplace() as place:
            place.write("broken.json", "{")
            found = place.json("validate", "graph.json", "broken.json", "cluster.json", exit_code=2)
            check(found, "validate")
            self.assertEqual([True, False, True], [each["valid"] for each in found["files"]])

    def test_the_size_of_a_graph_has_a_fitting_unit(self):
        with Workplace() as place:
            # 12 · 1024² in the block's matrices: 12.58 million, times 2 for a token's forward, times 8 tokens …
            small = place.run("graph", "gpt", "--layers", "1", "--hidden", "1024", "--heads", "4", "--seq-len", "8",
                              "--vocab", "256").stdout
            self.assertRegex(small, r"^gpt: 1[23]\.\d+ million parameters")
            self.assertRegex(small, r"one sample  2\d\d\.?\d* MFLOP forward, \d+\.?\d* MFLOP with backward")
            self.assertRegex(place.run("graph", "gpt").stdout, r"^gpt: [\d.]+ (b|m)illion parameters")

    def test_validate_knows_problems_and_stage_tables_also_as_gzip(self):
        with Workplace() as place:
            for name, document in [("p.json", CONTEST), ("t.json", TABLE), ("g.json", GRAPH)]:
                (place.path / name).write_text(json.dumps(document, indent=1))
                (place.path / (name + ".gz")).write_bytes(gzip.compress(json.dumps(document).encode()))
            place.write("bad.json", changed(CONTEST, ["problem", "usage_limit"], -1))
            found = place.json("validate", "p.json", "p.json.gz", "t.json", "t.json.gz", "g.json.gz", "bad.json",
                               exit_code=2)
            check(found, "validate")
            self.assertEqual(["intra_op_problem"] * 2 + ["meshloom.stage_table/1"] * 2 + [None, "intra_op_problem"],
                             [each["schema"] for each in found["files"]])
            self.assertEqual([None] * 4, [each["error"] for each in found["files"][:4]])
            self.assertEqual(["g.json.gz: is gzip, which only intra-operator problems, stage tables and measured runs may be; "
                              "decompress it",
                              "bad.json: /problem/usage_limit: must be at least 0, is -1"],
                             [each["error"] for each in found["files"][4:]])

    def test_every_file_of_the_repository_validates(self):
        with Workplace() as place:
            files = sorted(str(path) for folder in ("cluster_specs", "graphs/zoo") for path in (ROOT / folder).glob("*.json"))
            found = place.json("validate", *files)
            for path in files:
                document = json.loads(pathlib.Path(path).read_text())
                check(document, document["schema"].split(".")[1].split("/")[0])
            self.assertEqual(len(files), found["valid"])

    def test_the_graphs_that_are_built_validate(self):
        with Workplace() as place:
            for words in (["gpt", "--layers", "2"], ["llama", "--layers", "2"], ["moe", "--layers", "2"], ["transformer", "--layers", "2", "--experts", "4"], ["wresnet"]):
                check(place.json("graph", *words, "-o", "model.json"), "graph_summary")
                check(place.read("model.json"), "graph")

    def test_a_reader_that_leaves_early_is_no_failure(self):
        read, write = os.pipe()
        os.close(read)
        with Workplace() as place:
            run = subprocess.run([PROGRAM, *PLAN, "-o", "plan.json"], stdout=write, stderr=subprocess.PIPE, cwd=place.path)
            self.assertEqual((0, b""), (run.returncode, run.stderr))
            self.assertIn("plan.json", place.files())
        os.close(write)

    def test_a_full_standard_output_is_a_failure(self):
        with open("/dev/full", "w") as full, Workplace() as place:
            run = subprocess.run([PROGRAM, *PLAN], stdout=full, stderr=subprocess.PIPE, text=True, cwd=place.path)
            self.assertEqual(2, run.returncode)
            self.assertEqual("error: standard output: cannot be written: No space left on device\n", run.stderr)

    def test_special_files_and_links_are_written_not_replaced(self):
        with Workplace() as place:
            full = place.run(*TINY_GPT, "-o", "/dev/full")
            self.assertEqual((2, "error: /dev/full: cannot be written: No space left on device\n"),
                             (full.returncode, full.stderr))
            self.assertTrue(pathlib.Path("/dev/full").is_char_device())
            os.mkfifo(place.path / "fifo")
            with subprocess.Popen(["cat", "fifo"], stdout=subprocess.PIPE, text=True, cwd=place.path) as reader:
                self.assertEqual(0, place.run(*TINY_GPT, "-o", "fifo").returncode)
                check(json.loads(reader.stdout.read()), "graph")
            self.assertTrue((place.path / "fifo").is_fifo())
            (place.path / "folder").mkdir()
            (place.path / "folder/model.json").write_text("old")
            for link, target in [("link", "folder/model.json"), ("dangling", "folder/new.json")]:
                (place.path / link).symlink_to(target)
                self.assertEqual(0, place.run(*TINY_GPT, "-o", link).returncode)
                self.assertTrue((place.path / link).is_symlink())
                check(place.read(target), "graph")
            self.assertEqual({"model.json", "new.json"}, {each.name for each in (place.path / "folder").iterdir()})
            run = subprocess.run([PROGRAM, *TINY_GPT, "-o", "/dev/fd/1"], capture_output=True, text=True, check=True)
            self.assertTrue(run.stdout.startswith('{\n  "schema": "meshloom.graph/1"'), run.stdout[:80])

    def test_bash_completes_commands_and_options(self):
        def completions(*words):
            script = f'source <("$0" completion bash); COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; ' \
                     '_meshloom; printf "%s\\n" "${COMPREPLY[@]}"'
            return subprocess.run(["bash", "-c", script, PROGRAM], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(["simulate"], completions("meshloom", "si"))
        self.assertEqual(["gpt", "llama", "moe", "transformer", "hf", "wresnet"], completions("meshloom", "graph", '""'))
        self.assertEqual(["intra-op", "inter-op"], completions("meshloom", "solve", '""'))
        self.assertEqual(["--time-limit"], completions("meshloom", "solve", "intra-op", "--ti"))
        self.assertEqual(["cbc"], completions("meshloom", "solve", "intra-op", "p", "--solver", "c"))
        self.assertEqual(["--max-slowdown"], completions("meshloom", "compare", "a", "b", "--max"))
        self.assertEqual(["auto", "1f1b", "gpipe", "interleaved-1f1b", "zb-h1", "zb-h2", "zb-1p", "zb-2p"],
                         completions("meshloom", "plan", "g", "c", "--schedule", '""'))
        self.assertEqual(["megatron", "megatron-core", "megatron-deepspeed"],
                         sorted(completions("meshloom", "baseline", "--recipe", "me")))
        self.assertEqual(["none", "selective", "full"], completions("meshloom", "baseline", "--recompute", '""'))
        self.assertEqual(["zero1", "zero2", "zero3"], completions("meshloom", "plan", "--parameter-state", "z"))
        self.assertEqual(["markdown"], completions("meshloom", "compare", "--format", "m"))
        self.assertEqual(["bash", "zsh", "fish"], completions("meshloom", "completion", '""'))
        self.assertEqual(["--kv-heads"], completions("meshloom", "graph", "llama", "--kv"))
        self.assertEqual(["source", "framework", "device"], completions("meshloom", "calibrate", "r", "--leave-out", '""'))
        self.assertEqual(["source,framework"], completions("meshloom", "calibrate", "r", "--leave-out", "source,f"))

    def test_the_other_shells_name_every_command(self):
        for shell in ("zsh", "fish"):
            script = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout
            for word in ("plan", "baseline", "global-batch", "max-slowdown", "kv-heads"):
                self.assertIn(word, script)

    def test_the_other_shells_offer_the_values_of_an_option_and_no_files(self):
        zsh, fish = (subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout
                     for shell in ("zsh", "fish"))
        self.assertIn("""    "calibrate"*" --leave-out") compset -P '*,'; compadd -- source framework device; return ;;\n""", zsh)
        self.assertIn("""    "plan"*" --parameter-state") compadd -- """, zsh)
        self.assertIn("""    "completion") compadd -- bash zsh fish; return ;;\n""", zsh)
        lines = fish.splitlines()
        self.assertIn('complete -c meshloom -n "__fish_seen_subcommand_from calibrate" -l leave-out -x '
                      '-a "(__fish_append , source framework device)"', lines)
        self.assertIn('complete -c meshloom -n "__fish_seen_subcommand_from completion" -f -a "bash zsh fish"', lines)

    def test_version_and_help_are_answers(self):
        with Workplace() as place:
            self.assertRegex(place.run("--version").stdout, r"^meshloom \d+\.\d+\.\d+\n$")
            self.assertEqual(0, place.run("--help").returncode)
            self.assertEqual(place.run("--help").stdout, place.run("help").stdout)
            self.assertEqual(place.run("plan", "--help").stdout, place.run("help", "plan").stdout)


class Nesting(html.parser.HTMLParser):
    """Checks that every element that opens closes, in order."""
    VOID = {"meta", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes another element")


class Report(unittest.TestCase):
    def test_it_is_one_well_formed_page_that_needs_no_network(self):
        with Workplace() as place:
            self.assertEqual(0, place.run(*PLAN, "--microbatches", "4", "--report", "r.html").returncode)
            page = Nesting()
            page.feed((place.path / "r.html").read_text())
            self.assertEqual([], page.open)
            self.assertEqual([], [link for link in page.links if not link.startswith("#section-")])
            self.assertEqual(2, page.seen.count("canvas"))

    def test_of_many_microbatches_it_stays_small(self):
        with Workplace() as place:
            words = ["baseline", *PLAN[1:4], "65536", "--pp", "2", "--dp", "2", "--microbatch-size", "1"]
            self.assertEqual(0, place.run(*words, "--report", "r.html").returncode)
            self.assertLess((place.path / "r.html").stat().st_size, 3_000_000)  # 230,000 instructions

    def test_the_data_cannot_end_their_element(self):
        with Workplace() as place:
            place.write("graph.json", changed(GRAPH, ["name"], "</script><b>"))
            self.assertEqual(0, place.run(*PLAN, "--report", "r.html").returncode)
            text = (place.path / "r.html").read_text()
            self.assertEqual(2, text.count("</script>"))
            content = text.split('id="data">')[1].split("</script>")[0]
            self.assertNotIn("<", content)
            self.assertEqual(0, json.loads(content)["timeline"]["merged"])

    def test_names_are_escaped(self):
        with Workplace() as place:
            place.write("graph.json", changed(GRAPH, ["name"], "<b>&"))
            self.assertEqual(0, place.run(*PLAN, "--report", "r.html").returncode)
            self.assertIn("<title>&lt;b&gt;&amp; on", (place.path / "r.html").read_text())


if __name__ == "__main__":
    unittest.main()
