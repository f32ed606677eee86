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
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(text)
            return list(include_directions.offences(pathlib.Path(folder)))

    def test_the_repository_keeps_them(self):
        self.assertEqual([], list(include_directions.offences(ROOT)))

    def test_cuda_and_blas_are_private_to_the_profiler(self):
        self.assertEqual(["costmodel/profiler/session.cpp: includes cublasLt.h; CUDA is private to costmodel/profiler/cuda"],
                         self.planted("costmodel/profiler/session.cpp", "#include <cublasLt.h>\n"))
        self.assertEqual(["costmodel/a.cpp: includes cblas.h; OpenBLAS is private to costmodel/profiler/cpu_matrix.cpp"],
                         self.planted("costmodel/a.cpp", "#include <cblas.h>\n"))

    def test_the_cost_model_may_not_include_the_profiler(self):
        self.assertEqual(["costmodel/a.cpp: includes costmodel/profiler/task.hpp; costmodel may not know costmodel/profiler"],
                         self.planted("costmodel/a.cpp", '#include "costmodel/profiler/task.hpp"\n'))

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
