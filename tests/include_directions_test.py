"""The repository keeps its include directions, and the check that says so finds planted offences."""
import pathlib
import tempfile
import unittest

import include_directions

ROOT = pathlib.Path(__file__).resolve().parent.parent


class IncludeDirections(unittest.TestCase):
    def planted(self, path, text):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, path)
            source.parent.mkdir(parents=True)
            source.write_text(text)
            return list(include_directions.offences(pathlib.Path(folder)))

    def test_the_repository_keeps_them(self):
        self.assertEqual([], list(include_directions.offences(ROOT)))

    def test_the_simulator_may_not_include_the_planner(self):
        self.assertEqual(["simulator/a.cpp: includes planner/search.hpp; simulator may not know planner"],
                         self.planted("simulator/a.cpp", '#include "planner/search.hpp"\n'))

    def test_the_planner_may_not_include_the_simulator(self):
        self.assertEqual(1, len(self.planted("planner/a.cpp", '#include "simulator/simulation.hpp"\n')))

    def test_the_plan_may_not_include_the_search(self):
        self.assertEqual(1, len(self.planted("planner/plan/a.hpp", '#include "planner/search.hpp"\n')))

    def test_the_simulator_may_include_the_plan(self):
        self.assertEqual([], self.planted("simulator/a.cpp", '#include "planner/plan/plan.hpp"\n'))

    def test_solvers_other_than_the_cbc_file_may_not_include_cbc(self):
        self.assertEqual(1, len(self.planted("planner/search.cpp", "#include <coin/CbcModel.hpp>\n")))

    def test_json_stays_in_json_files(self):
        self.assertEqual(1, len(self.planted("planner/search.cpp", '#include "graphs/json_input.hpp"\n')))
        self.assertEqual([], self.planted("planner/plan/plan_json.cpp", '#include "graphs/json_input.hpp"\n'))


if __name__ == "__main__":
    unittest.main()
