"""Runs that no constant was fitted to: well-formed, traceable, apart from the fitted ones, and each is priced or skipped."""
import gzip
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import jsonschema
from meshloom_program import ROOT, Workplace



def runs_of(name):
    return json.loads(gzip.decompress((ROOT / f"tests/data/measured/{name}.json.gz").read_bytes()))


RUNS, SECOND, FITTED = runs_of("held_out_runs"), runs_of("held_out_runs_2"), runs_of("published_runs")
THIRD = runs_of("held_out_runs_3")
sys.path.insert(0, str(ROOT / "tests/bench"))


def measurement(run):
    keys = ("gpus", "tp", "pp", "cp", "micro_batch", "global_batch", "framework", "precision")
    return (*(run[key] for key in keys), run["model"]["layers"], run["model"]["hidden"], run["model"]["seq_len"],
            float(f"{run.get('iteration_time_s') or 0:.3g}"))


def accuracy_of(runs):
    with Workplace() as place:
        (place.path / "runs.json").write_text(json.dumps(runs))
        answer = place.json("accuracy", "runs.json")
    return answer["rows"], answer["skipped"]


class HeldOutRuns(unittest.TestCase):
    def test_each_file_is_what_its_tables_say(self):
        for runs, script in ((RUNS, "held_out_runs.py"), (SECOND, "held_out_runs_2.py"), (THIRD, "held_out_runs_3.py")):
            with tempfile.TemporaryDirectory() as folder:
                target = pathlib.Path(folder) / "runs.json.gz"
                subprocess.run([sys.executable, ROOT / "tests/bench" / script, target], check=True, capture_output=True)
                self.assertEqual(runs, json.loads(gzip.decompress(target.read_bytes())), script)

    def test_every_run_is_well_formed_and_says_where_its_time_comes_from(self):
        schema = json.loads((ROOT / "docs/schemas/measured_runs.schema.json").read_text())
        for runs in (RUNS, SECOND, THIRD):
            jsonschema.validate(runs, schema)
            self.assertEqual(len(runs), len({run["id"] for run in runs}))
            for run in runs:
                self.assertTrue(run["where"] and (run["time_from"] or run["status"] == "oom"), run["id"])

    def test_no_source_and_no_measurement_is_in_two_of_the_files(self):
        for one, other in itertools.combinations((RUNS, SECOND, THIRD, FITTED), 2):
            self.assertFalse({run["source"] for run in one} & {run["source"] for run in other})
            self.assertFalse(set(map(measurement, one)) & set(map(measurement, other)))

    def test_every_run_is_priced_or_skipped_for_a_stated_reason(self):
        # Experts over ranks of one long sample take a second each to price: two of the eight stand for all.
        slow = [run["id"] for run in RUNS if run["id"].startswith("mpf-t5-")][1:-1]
        runs = [run for run in RUNS if run["id"] not in slow]
        rows, skipped = accuracy_of(runs)
        self.assertEqual(sorted(run["id"] for run in runs), sorted(each["id"] for each in rows + skipped))
        for row in rows:
            self.assertGreater(row["predicted_s"], 0)
        # Experts over ranks of two samples (folding with fewer samples than experts' ranks) have no layout yet.
        self.assertLessEqual(len(skipped), 2)
        for each in skipped:
            self.assertIn("data parallelism", each["reason"])

    def test_of_the_later_sets_runs_are_skipped_only_where_their_gpu_is_not_known(self):
        later = SECOND + THIRD
        rows, skipped = accuracy_of(later)
        self.assertEqual(sorted(run["id"] for run in later), sorted(each["id"] for each in rows + skipped))
        for row in rows:
            self.assertGreater(row["predicted_s"], 0)
        gpus = {run["id"]: run["gpu"] for run in later}
        for each in skipped:
            self.assertIn(f'no device file for the GPU "{gpus[each["id"]]}"', each["reason"])
        for name in ("V100", "A100", "H100", "H200", "B200", "B300"):
            self.assertFalse([each["id"] for each in skipped if gpus[each["id"]].startswith(name)])

    def test_the_page_counts_doubtful_runs_apart(self):
        from accuracy_page import held_out
        rows = [{"source": "A", "framework": "Megatron-LM", "gpu": "H100", "suspect": None, "error": 0.1},
                {"source": "A", "framework": "OneFlow", "gpu": "B200", "suspect": None, "error": -0.2},
                {"source": "A", "framework": "Megatron-LM", "gpu": "H100", "suspect": "a reason", "error": 0.5},
                {"source": "B", "framework": "OneFlow", "gpu": "V100", "suspect": "a reason", "error": 0.3}]
        for row in rows:
            row["device"] = row["gpu"]
            row["in_interval"] = row["error"] > 0
        second = [{"source": "D", "framework": "Megatron-LM", "gpu": "H100", "device": "H100", "suspect": None, "error": 0.04,
                   "in_interval": True},
                  {"source": "D", "framework": "Megatron-LM", "gpu": "MI300X", "device": "MI300X", "suspect": None, "error": -0.4,
                   "in_interval": False}]
        page = held_out({"held_out_runs": {"rows": rows, "skipped": [{"id": "C"}]},
                         "held_out_runs_2": {"rows": second, "skipped": []}}, {"H100", "B200", "V100"})
        # (10 + 20)/2 = 15, bias (10 - 20)/2 = -5; one of two in its interval; doubtful ones of both: (50 + 30)/2 = 40
        self.assertRegex(page, r"held_out_runs.json.gz` \| 5 \| 2 \| 2 \|.* \| 15.0 \| 15.0 \| -5.0 \| 50 \|\n")
        self.assertIn("| A | H100, B200 | 2 | 15.0 | 15.0 | -5.0 | 1 | 50.0 |", page)
        self.assertIn("| B | V100 |  |  |  |  | 1 | 30.0 |", page)
        self.assertIn("| **frameworks with a recipe** |  | 1 | 10.0 | 10.0 | +10.0 | 1 | 50.0 |", page)
        self.assertIn("| **frameworks without one** |  | 1 | 20.0 | 20.0 | -20.0 | 1 | 30.0 |", page)
        self.assertIn("| **all** |  | 2 | 15.0 | 15.0 | -5.0 | 2 | 40.0 |", page)
        # The second set: (4 + 40)/2 = 22, bias (4 - 40)/2 = -18; one of two in its interval, one of two on a device that was fitted.
        self.assertRegex(page, r"held_out_runs_2.json.gz` \| 2 \| 1 \| 2 \|.* \| 22.0 \| 22.0 \| -18.0 \| 50 \|\n")
        self.assertIn("| **devices that no constant was fitted to** |  | 1 | 40.0 | 40.0 | -40.0 |  |  |", page)
        self.assertIn("| **framework and device known** |  | 1 | 4.0 | 4.0 | +4.0 |  |  |", page)


if __name__ == "__main__":
    unittest.main()
