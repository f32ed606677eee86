"""`meshloom solve` from outside: answers, exit codes, interrupts, and that what it prints validates."""
import gzip
import json
import os
import pathlib
import pty
import random
import re
import signal
import subprocess
import time
import unittest

import jsonschema
from meshloom_program import CONTEST, PROGRAM, ROOT, TABLE, Workplace, changed

DATA = ROOT / "tests/data"
WITHOUT_LIMIT = {"problem": {key: value for key, value in CONTEST["problem"].items() if key != "usage_limit"}}


def check(document, schema):
    """Validates with an independent validator; `schema` is a name in docs/schemas."""
    jsonschema.validate(document, json.loads((ROOT / f"docs/schemas/{schema}.schema.json").read_text()))


def solved(*words, exit_code=0, stdin="", place=None):
    with Workplace() as other:
        answer = (place or other).json("solve", *words, exit_code=exit_code, stdin=stdin)
    check(answer, "solve_" + words[0].replace("-", "_"))
    return answer


def without_time(answer):
    return {key: value for key, value in answer.items() if key != "seconds"}


class IntraOp(unittest.TestCase):
    def test_the_example_is_solved_as_by_hand(self):
        check(CONTEST, "intra_op_problem")
        self.assertEqual({"status": "optimal", "stopped_by": "proof", "objective": 445, "lower_bound": 445, "gap": 0, "choices":
                          [0, 0, 2, 1, 0], "peak_usage": 50},
                         without_time(solved("intra-op", "-", stdin=json.dumps(CONTEST))))
        self.assertEqual({"status": "optimal", "stopped_by": "proof", "objective": 415, "lower_bound": 415, "gap": 0, "choices":
                          [0, 0, 1, 1, 0], "peak_usage": 55},
                         without_time(solved("intra-op", "-", stdin=json.dumps(WITHOUT_LIMIT))))

    def test_every_solver_finds_the_optimum_of_the_example(self):
        for solver, problem, objective in [("auto", CONTEST, 445), ("cbc", CONTEST, 445), ("auto", WITHOUT_LIMIT, 415),
                                           ("elimination", CONTEST, 445), ("anytime", CONTEST, 445),
                                           ("elimination", WITHOUT_LIMIT, 415), ("cbc", WITHOUT_LIMIT, 415)]:
            with self.subTest((solver, objective)):
                answer = solved("intra-op", "-", "--solver", solver, stdin=json.dumps(problem))
                self.assertEqual(("optimal", objective), (answer["status"], answer["objective"]))

    def test_gzip_is_told_by_its_bytes_not_by_its_name(self):
        with Workplace() as place:
            (place.path / "p.json").write_bytes(gzip.compress(json.dumps(CONTEST).encode()))
            place.write("p.json.gz", CONTEST)
            for name in ["p.json", "p.json.gz"]:
                self.assertEqual(445, solved("intra-op", name, place=place)["objective"])

    def test_gzip_data_that_is_cut_off_is_refused(self):
        with Workplace() as place:
            (place.path / "p.json.gz").write_bytes(gzip.compress(json.dumps(CONTEST).encode())[:-1])
            run = place.run("solve", "intra-op", "p.json.gz")
            self.assertEqual((2, "", "error: p.json.gz: the gzip data is cut off; copy or compress the file again\n"),
                             (run.returncode, run.stdout, run.stderr))

    def test_an_instance_of_the_contest_is_solved_to_its_optimum(self):
        answer = solved("intra-op", str(DATA / "intra_op_contest/asplos-2025-iopddl-G.json.gz"))
        self.assertEqual(("optimal", 217039, 217039), (answer["status"], answer["objective"], answer["lower_bound"]))
        self.assertEqual(816, len(answer["choices"]))
        self.assertLessEqual(answer["peak_usage"], 14392528)

    def test_no_solution_is_an_answer_with_an_exit_code_of_its_own(self):
        # At time 110 nodes 2, 3 and 4 use at least 15 + 10 + 15.
        answer = solved("intra-op", "-", stdin=json.dumps(changed(CONTEST, ["problem", "usage_limit"], 39)), exit_code=3)
        self.assertEqual({"status": "infeasible", "stopped_by": "proof", "objective": None, "lower_bound": None, "gap": None,
                          "choices": None, "peak_usage": None}, without_time(answer))

    def test_totals_beyond_64_bits_are_exact(self):
        most = 2**63 - 1
        problem = {"problem": {"nodes": {"intervals": [[0, 9], [8, 9]], "costs": [[1], [2]], "usages": [[most], [most]]},
                               "edges": {"nodes": [], "costs": []}}}
        answer = solved("intra-op", "-", stdin=json.dumps(problem))
        self.assertEqual((3, 2 * most), (answer["objective"], answer["peak_usage"]))

    def test_a_problem_without_nodes_costs_nothing(self):
        problem = {"problem": {"nodes": {"intervals": [], "costs": [], "usages": []}, "edges": {"nodes": [], "costs": []}}}
        answer = solved("intra-op", "-", stdin=json.dumps(problem))
        self.assertEqual(("optimal", 0, 0, []), tuple(answer[key] for key in ["status", "objective", "gap", "choices"]))

    def test_a_time_limit_that_is_too_short_says_so_by_status_and_exit_code(self):
        with Workplace() as place:
            run = place.run("solve", "intra-op", str(DATA / "intra_op_contest/asplos-2025-iopddl-G.json.gz"),
                            "--time-limit", "0.001", "--json")
            answer = json.loads(run.stdout)
            check(answer, "solve_intra_op")
            self.assertEqual({"optimal": 0, "feasible": 0, "time_limit": 4}[answer["status"]], run.returncode)
            self.assertEqual(answer["status"] == "time_limit", answer["choices"] is None)
            self.assertEqual("proof" if answer["status"] == "optimal" else "time_limit", answer["stopped_by"])

    def test_a_gap_that_is_accepted_ends_the_search(self):
        for solver in ["auto", "anytime", "cbc"]:
            with self.subTest(solver):
                answer = solved("intra-op", "-", "--gap", "5000%", "--solver", solver, stdin=json.dumps(hard_problem()))
                self.assertEqual(("feasible", "gap"), (answer["status"], answer["stopped_by"]))
                self.assertLessEqual(answer["gap"], 50)
                self.assertLess(answer["seconds"], 30)

    def test_the_text_says_why_there_is_no_solution(self):
        problem = changed(CONTEST, ["problem", "usage_limit"], 49)  # from 50 to 70: 10 + 25 + 15
        with Workplace() as place:
            run = place.run("solve", "intra-op", "-", stdin=json.dumps(problem))
        self.assertEqual(3, run.returncode)
        self.assertIn("\n  reason       at time 50 at least 50 is used, the limit is 49\n", run.stdout)

    def test_usage_without_a_limit_is_not_limited_and_no_usage_is_not_shown(self):
        no_usage = changed(WITHOUT_LIMIT, ["problem", "nodes", "usages"],
                           [[0] * len(each) for each in CONTEST["problem"]["nodes"]["usages"]])
        with Workplace() as place:
            run = place.run("solve", "intra-op", "-", stdin=json.dumps(WITHOUT_LIMIT))
            self.assertIn("\n  peak usage   55, not limited\n", run.stdout)
            run = place.run("solve", "intra-op", "-", stdin=json.dumps(no_usage))
            self.assertNotIn("usage", run.stdout)

    def test_an_output_that_ends_in_gz_is_compressed(self):
        with Workplace() as place:
            place.write("p.json", CONTEST)
            printed = solved("intra-op", "p.json", "-o", "out.json.gz", place=place)
            self.assertEqual(printed, json.loads(gzip.decompress((place.path / "out.json.gz").read_bytes())))

    def test_the_output_file_is_what_is_printed(self):
        with Workplace() as place:
            place.write("p.json", CONTEST)
            printed = solved("intra-op", "p.json", "-o", "out.json", place=place)
            self.assertEqual(printed, place.read("out.json"))
            self.assertEqual({"graph.json", "cluster.json", "p.json", "out.json"}, place.files())
            run = place.run("solve", "intra-op", "p.json", "-o", "-")
            self.assertEqual(without_time(printed), without_time(json.loads(run.stdout)))

    def test_the_text_says_the_same(self):
        with Workplace() as place:
            run = place.run("solve", "intra-op", "-", stdin=json.dumps(CONTEST))
            self.assertEqual((0, ""), (run.returncode, run.stderr))
            self.assertRegex(run.stdout, r"^5 nodes, 5 edges: optimal\n  cost +445\n  lower bound +445, gap 0 %\n"
                                         r"  peak usage +50 of 50\n  choices +0 0 2 1 0\n  time +[\d.]+ \w+\n$")


def hard_problem():
    """A dense problem that no solver closes within seconds: every pair of 24 nodes is joined by a random matrix."""
    numbers = random.Random(1)
    count, strategies = 24, 5
    pairs = [[a, b] for a in range(count) for b in range(a)]
    return {"problem": {"nodes": {"intervals": [[0, 1]] * count, "costs": [[0] * strategies] * count,
                                  "usages": [[0] * strategies] * count},
                        "edges": {"nodes": pairs, "costs": [[numbers.randrange(1000) for _ in range(strategies**2)]
                                                            for _ in pairs]}}}


class Interrupts(unittest.TestCase):
    def catches_interrupts(self, process):
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return bool(int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGINT - 1) & 1)

    def await_that(self, condition):
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.001)

    def start(self, place, *words):
        place.write("p.json", hard_problem())
        process = subprocess.Popen([PROGRAM, "solve", "intra-op", "p.json", *words], cwd=place.path,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.await_that(lambda: self.catches_interrupts(process))
        return process

    def test_the_first_one_is_answered_at_once_with_the_best_so_far(self):
        for solver in ["auto", "anytime", "cbc"]:
            with self.subTest(solver), Workplace() as place, \
                    self.start(place, "--time-limit", "60", "--solver", solver, "--json") as process:
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
                sent = time.monotonic()
                answer = json.loads(process.stdout.read())
                process.wait()
                self.assertLess(time.monotonic() - sent, 5)
                check(answer, "solve_intra_op")
                self.assertEqual(("feasible", 0, ""), (answer["status"], process.returncode, process.stderr.read()))
                self.assertEqual("interrupt", answer["stopped_by"])
                self.assertLess(answer["lower_bound"], answer["objective"])

    def test_the_text_says_that_it_was_interrupted_and_nothing_of_time_limits(self):
        with Workplace() as place, self.start(place, "--time-limit", "60") as process:
            process.send_signal(signal.SIGINT)
            text = process.stdout.read()
            process.wait()
        self.assertRegex(text, r"^24 nodes, 276 edges: (feasible|no answer) \(interrupted\)\n")
        self.assertNotIn("limit", text)

    def test_a_terminal_shows_cost_bound_and_gap_meanwhile(self):
        terminal, end = pty.openpty()
        with Workplace() as place:
            place.write("p.json", hard_problem())
            process = subprocess.Popen([PROGRAM, "solve", "intra-op", "p.json", "--time-limit", "30", "--json"],
                                       cwd=place.path, stdout=subprocess.PIPE, stderr=end, text=True)
            os.close(end)
            shown = ""
            while "gap" not in shown:
                shown += os.read(terminal, 1000).decode()
            process.send_signal(signal.SIGINT)
            answer = json.loads(process.stdout.read())
            process.communicate()
            try:
                while more := os.read(terminal, 1000).decode():
                    shown += more
            except OSError:  # the other end is closed
                pass
            os.close(terminal)
        line = re.search(r"\r\x1b\[K(\d+) s: cost (\d+), bound (\d+), gap ([\d.]+) %", shown)
        self.assertIsNotNone(line, shown)
        cost, bound = int(line[2]), int(line[3])
        self.assertGreaterEqual(int(line[1]), 1)
        self.assertGreaterEqual(cost, answer["objective"])
        self.assertLessEqual(bound, answer["lower_bound"])
        self.assertAlmostEqual(100 * (cost / bound - 1), float(line[4]), delta=0.1 * float(line[4]))
        self.assertTrue(shown.endswith("\r\x1b[K"), "the line is erased before the answer")

    def test_the_second_one_ends_the_program(self):
        with Workplace() as place, self.start(place, "-o", "out.json") as process:
            process.send_signal(signal.SIGINT)
            self.await_that(lambda: not self.catches_interrupts(process))
            process.send_signal(signal.SIGINT)
            process.communicate()
            # The first one is answered at once, so that the second one may come while the answer is written, or later.
            self.assertIn(process.returncode, [-signal.SIGINT, 0])
            if process.returncode == 0:
                self.assertIn("out.json", place.files())
            self.assertFalse([name for name in place.files() - {"graph.json", "cluster.json", "p.json", "out.json"}])


class InterOp(unittest.TestCase):
    def test_the_table_of_the_page_is_solved_as_by_hand(self):
        check(TABLE, "stage_table")
        answer = solved("inter-op", "-", stdin=json.dumps(TABLE))
        self.assertEqual({"status": "optimal", "objective_s": 14.5,
                          "stages": [{"first": 0, "last": 0, "submesh": 0, "config": 0},
                                     {"first": 1, "last": 1, "submesh": 0, "config": 0}]}, without_time(answer))
        single = changed(TABLE, ["entries", 0, "max_following_stages"], 0)
        answer = solved("inter-op", "-", stdin=json.dumps(single))
        self.assertEqual([{"first": 0, "last": 1, "submesh": 1, "config": 5}], answer["stages"])
        self.assertEqual(16, answer["objective_s"])  # 4 + 3·4

    def test_the_tables_of_alpas_searches_have_the_known_optima_at_once(self):
        for name, objective in [("0", 28.119), ("2", 30.127), ("4", 29.128), ("6", 34.660), ("8", 36.343)]:
            path = DATA / f"stage_tables/alpa_log_{name}.json.gz"
            table = json.loads(gzip.decompress(path.read_bytes()))
            check(table, "stage_table")
            answer = solved("inter-op", str(path))
            self.assertAlmostEqual(objective, answer["objective_s"], delta=1e-6)
            self.assertLess(answer["seconds"], 0.05)
            self.check_pipeline(table, answer)

    def check_pipeline(self, table, answer):
        """Adds up the stages from the table's own entries."""
        entry = {tuple(each[key] for key in ["first", "last", "submesh", "config"]): each for each in table["entries"]}
        stages = [entry[tuple(stage.values())] for stage in answer["stages"]]
        times = [stage["time_s"] for stage in stages]
        self.assertAlmostEqual(answer["objective_s"], sum(times) + (table["microbatches"] - 1) * max(times), places=9)
        self.assertEqual(list(range(table["layers"])),
                         [layer for stage in stages for layer in range(stage["first"], stage["last"] + 1)])
        sizes = [hosts * devices for hosts, devices in (table["submeshes"][stage["submesh"]] for stage in stages)]
        self.assertEqual(table["hosts"] * table["devices_per_host"], sum(sizes))
        for following, stage in enumerate(reversed(stages)):
            self.assertLessEqual(following, stage["max_following_stages"])

    def test_no_pipeline_is_an_answer_with_an_exit_code_of_its_own(self):
        answer = solved("inter-op", "-", stdin=json.dumps(changed(TABLE, ["hosts"], 2)), exit_code=3)
        self.assertEqual({"status": "infeasible", "objective_s": None, "stages": None}, without_time(answer))
        with Workplace() as place:
            run = place.run("solve", "inter-op", "-", stdin=json.dumps(changed(TABLE, ["entries"], TABLE["entries"][:1])))
        self.assertEqual(3, run.returncode)
        self.assertIn("\n  reason     no entry that may be a stage holds layer 1\n", run.stdout)

    def test_the_text_lists_the_stages(self):
        with Workplace() as place:
            run = place.run("solve", "inter-op", "-", stdin=json.dumps(TABLE))
            self.assertEqual((0, ""), (run.returncode, run.stderr))
            self.assertRegex(run.stdout, r"^2 layers on 2 devices, 4 microbatches: optimal\n  objective  14.5 s\n")
            third = json.dumps(changed(TABLE, ["entries", 0, "time_s"], 3 + 1 / 3))  # 3.33… + 2.5 + 3 · 3.33… = 15.83…
            self.assertIn("\n  objective  15.8 s\n", place.run("solve", "inter-op", "-", stdin=third).stdout)
            self.assertRegex(run.stdout, r"\n1 +1–1 +1 × 1 +0 +2.50 s\n$")


class Page(unittest.TestCase):
    def test_the_worked_files_of_the_page_are_those_that_the_tests_solve(self):
        blocks = re.findall(r"^```json\n(.*?)^```", (ROOT / "docs/solve.md").read_text(), re.MULTILINE | re.DOTALL)
        problem, table, answer = map(json.loads, blocks)
        self.assertEqual((CONTEST, TABLE), (problem, table))
        self.assertEqual(without_time(answer), without_time(solved("inter-op", "-", stdin=json.dumps(table))))


if __name__ == "__main__":
    unittest.main()
