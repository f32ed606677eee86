#include "tests/uniform_comparison.hpp"

#include <catch2/catch.hpp>

namespace meshloom {

TEST_CASE("the search is never behind a uniform layout with the same microbatches", "[search]") {
  for (const ComparedCase& compared : small_cases())
    for (const ComparedRow& row : compare_with_uniform_layouts(compared)) {
      CAPTURE(compared.name, row.microbatch_size, row.best_layout, row.feasible_layouts);
      CHECK(row.search_feasible);
      if (row.feasible_layouts == 0) continue;
      CHECK(row.search_estimate <= row.layout_estimate);
      CHECK(row.search_iteration <= 1.01 * row.layout_iteration);
    }
}

}  // namespace meshloom
