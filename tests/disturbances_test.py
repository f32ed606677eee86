"""`simulate` under stragglers, jitter and failures: what it prints, and that it validates."""
import math
import unittest

from command_line_test import TINY_GPT, check
from meshloom_program import Workplace

BASELINE = ["baseline", "graph.json", "cluster.json", "--global-batch", "64", "--pp", "4", "--microbatch-size", "1"]
FAILURES = ["--mtbf", "30 days", "--checkpoint-time", "60 s", "--restart-time", "10 min"]


class Disturbances(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Workplace().__enter__()
        cls.addClassCleanup(cls.place.__exit__)
        assert cls.place.run(*TINY_GPT, "-o", "graph.json").returncode == 0
        cls.planned = cls.place.json(*BASELINE, "-o", "plan.json")

    def simulate(self, *words):
        summary = self.place.json("simulate", "plan.json", *words)
        check(summary, "simulate")
        self.assertEqual(self.planned["iteration_time_s"], summary["iteration_time_s"])
        return summary

    def refused(self, text, *words):
        run = self.place.run("simulate", "plan.json", *words)
        self.assertEqual(2, run.returncode)
        self.assertIn(text, run.stderr)

    def test_nothing_is_said_of_what_was_not_asked_for(self):
        summary = self.simulate()
        self.assertIsNone(summary["noise"])
        self.assertIsNone(summary["failures"])

    def test_a_slow_rank_costs_up_to_its_share_and_a_device_of_it_the_same(self):
        slow = self.simulate("--slow", "rank:1=1.5", "--trace", "t.json")["noise"]
        self.assertEqual(1, slow["runs"])
        self.assertGreater(slow["p50_s"], self.planned["iteration_time_s"])
        self.assertLessEqual(slow["p50_s"], 1.5 * self.planned["iteration_time_s"])
        self.assertEqual(slow["p50_s"], slow["p99_s"])
        self.assertEqual(slow, self.simulate("--slow", "device:1=1.5")["noise"])
        last = max(each["ts"] + each["dur"] for each in self.place.read("t.json")["traceEvents"] if each["ph"] == "X")
        self.assertAlmostEqual(slow["p50_s"] * 1e6, last, places=3)

    def test_two_slow_ranks_cost_no_less_than_one(self):
        one = self.simulate("--slow", "rank:1=1.5")["noise"]["p50_s"]
        two = self.simulate("--slow", "rank:1=1.5", "--slow", "rank:3=1.5")["noise"]["p50_s"]
        self.assertGreaterEqual(two, one)

    def test_jitter_gives_percentiles_that_depend_on_the_seed_only(self):
        noise = self.simulate("--jitter", "5%", "--seed", "3", "--runs", "40")["noise"]
        self.assertEqual(40, noise["runs"])
        self.assertLess(noise["p50_s"], noise["p90_s"])
        self.assertLessEqual(noise["p90_s"], noise["p99_s"])
        self.assertEqual(noise, self.simulate("--jitter", "5%", "--seed", "3", "--runs", "40", "--threads", "1")["noise"])
        self.assertNotEqual(noise, self.simulate("--jitter", "5%", "--seed", "4", "--runs", "40")["noise"])

    def test_goodput_is_the_formula_of_the_documentation(self):
        failures = self.simulate(*FAILURES, "--checkpoint-interval", "2 h")["failures"]
        m, tau, delta, restart = 30 * 86400, 7200, 60, 600  # one host
        self.assertEqual(m, failures["mean_time_between_s"])
        self.assertAlmostEqual(tau / (m * math.exp(restart / m) * math.expm1((tau + delta) / m)), failures["goodput"], 12)
        self.assertAlmostEqual(self.planned["iteration_time_s"] / failures["goodput"], failures["step_s"], 12)
        best = self.simulate(*FAILURES)["failures"]
        half = delta / (2 * m)
        self.assertAlmostEqual(math.sqrt(2 * delta * m) * (1 + math.sqrt(half) / 3 + half / 9) - delta,
                               best["checkpoint_interval_s"], 6)
        self.assertGreater(best["goodput"], failures["goodput"])

    def test_the_text_has_a_line_for_each(self):
        text = self.place.run("simulate", "plan.json", "--jitter", "3%", "--runs", "20", *FAILURES).stdout
        self.assertRegex(text, r"(?m)^  disturbed    p50 .* p90 .*, p99 .* of 20 runs$")
        self.assertRegex(text, r"(?m)^  goodput      9\d\.\d+ % with a failure every 720 h, a checkpoint every ")
        self.assertLess(text.index("goodput"), text.index("stage  layers"))

    def test_words_that_mean_nothing_are_refused(self):
        self.refused('--slow: expected who and a factor from 1 to 1000, such as rank:2=1.2 or device:17=1.2, found "2=1.2"',
                     "--slow", "2=1.2")
        self.refused("--slow: expected who", "--slow", "rank:2=0.5")
        self.refused("slow rank: 4 does not exist; the plan has ranks 0 to 3", "--slow", "rank:4=1.2")
        self.refused('--mtbf: expected a time above 0 in s, min, h or days, such as "30 days", found "30"',
                     "--mtbf", "30", *FAILURES[2:])
        self.refused("--checkpoint-time", "--mtbf", "30 days")
        self.refused("--jitter", "--runs", "5")


if __name__ == "__main__":
    unittest.main()
