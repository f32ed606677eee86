"""meshloom problem writes what meshloom solve reads."""
import gzip
import json
import unittest

import jsonschema
from meshloom_program import ROOT, Workplace

GRAPH = ["graph", "gpt", "--layers", "2", "--hidden", "64", "--heads", "4", "--seq-len", "32", "--vocab", "256"]
PROBLEM = ["problem", "graph.json", "cluster.json", "--mesh", "2x2", "--global-batch", "16"]


class Problem(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Workplace().__enter__()
        cls.addClassCleanup(cls.place.__exit__, None, None, None)
        cls.place.run(*GRAPH, "-o", "graph.json")

    def test_its_file_is_a_problem_that_solve_solves(self):
        self.place.run(*PROBLEM, "-o", "problem.json")
        schema = json.loads((ROOT / "docs/schemas/intra_op_problem.schema.json").read_text())
        jsonschema.validate(self.place.read("problem.json"), schema)
        self.assertNotIn("usage_limit", self.place.read("problem.json")["problem"])
        solution = self.place.json("solve", "intra-op", "problem.json")
        self.assertEqual("optimal", solution["status"])
        self.assertGreater(solution["objective"], 0)

    def test_gzip_holds_the_same_bytes_on_every_run(self):
        self.place.run(*PROBLEM, "-o", "problem.json")
        for name in ("a.json.gz", "b.json.gz"):
            self.place.run(*PROBLEM, "-o", name)
        read = [(self.place.path / name).read_bytes() for name in ("a.json.gz", "b.json.gz")]
        self.assertEqual(read[0], read[1])
        self.assertEqual((self.place.path / "problem.json").read_bytes(), gzip.decompress(read[0]))

    def test_a_share_of_the_memory_limits_usages(self):
        limits = []
        for share in ("50%", "0.25"):
            self.place.run(*PROBLEM, "--memory", share, "-o", "limited.json")
            problem = self.place.read("limited.json")["problem"]
            self.assertGreater(max(map(max, problem["nodes"]["usages"])), 0)
            limits.append(problem["usage_limit"])
        self.assertAlmostEqual(limits[0], 2 * limits[1], delta=2)

    def test_a_limit_in_bytes_is_the_limit(self):
        self.place.run(*PROBLEM, "--memory", "40 MiB", "-o", "limited.json")
        self.assertEqual(40 * 2**20, self.place.read("limited.json")["problem"]["usage_limit"])

    def test_it_says_how_large_the_problem_is_and_what_limits_it(self):
        # The quad's devices have 16 GiB and the neutral recipe's overhead leaves a share of it.
        run = self.place.run(*PROBLEM, "--memory", "50%", "-o", "limited.json")
        problem = self.place.read("limited.json")["problem"]
        self.assertRegex(run.stdout, rf"^gpt on 2x2: {len(problem['nodes']['costs'])} nodes, "
                                     rf"{len(problem['edges']['nodes'])} edges, limit [\d.]+ GiB \(50.0 % of [\d.]+ GiB "
                                     r"usable\), costs in ps, usage in bytes\n$")
        self.assertTrue(self.place.run(*PROBLEM, "-o", "p.json").stdout.endswith(" edges, no limit, costs in ps\n"))
        json.loads(self.place.run(*PROBLEM, "-o", "-").stdout)

    def test_a_mesh_that_the_cluster_lacks_is_refused_with_those_it_has(self):
        run = self.place.run("problem", "graph.json", "cluster.json", "--mesh", "3x5", "--global-batch", "16", "-o", "p.json")
        self.assertEqual(2, run.returncode)
        self.assertRegex(run.stderr, "--mesh: the cluster has no mesh 3x5; it has .*2x2")
        run = self.place.run("problem", "graph.json", "cluster.json", "--mesh", "2y4", "--global-batch", "16", "-o", "p.json")
        self.assertIn('--mesh: expected sizes of axes such as 8 or 2x4, found "2y4"', run.stderr)


if __name__ == "__main__":
    unittest.main()
