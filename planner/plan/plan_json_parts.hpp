// The parts of a plan file that other formats define or that both directions share: names, layouts, the inline cluster
// and recipe. Private to plan_json_write.cpp and plan_json_read.cpp.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "graphs/json_input.hpp"
#include "planner/plan/plan.hpp"

namespace meshloom {

inline constexpr std::string_view plan_schema = "meshloom.plan/1";

inline constexpr std::array plan_statuses{PlanStatus::optimal, PlanStatus::feasible, PlanStatus::infeasible,
                                          PlanStatus::time_limit};
inline constexpr std::array link_classes{LinkClass::intra_host, LinkClass::inter_host};
inline constexpr std::array rates{Rate::per_microbatch, Rate::per_step};
inline constexpr std::array collectives{Collective::all_gather, Collective::reduce_scatter, Collective::all_reduce,
                                        Collective::all_to_all, Collective::permute};

template <typename Enum, std::size_t count>
Enum read_enumerator(const JsonInput& input, const std::array<Enum, count>& all) {
  std::vector<std::string> names;
  for (const Enum value : all) names.emplace_back(name(value));
  return all[input.one_of(names)];
}

// Lists as runs with repeats: [[{"repeat": 3, "step": 1, "instructions": [["run_forward", 0], …]}, …], …], where each
// repeat adds `step` to the microbatches. An instruction is [kind, microbatch, chunk]; zeros at the end may be left
// out.
Json program_json(const PipelineProgram& program);
// Lists that are longer than a step's can be are refused before they are unrolled. The lists are not checked yet.
PipelineProgram read_program(const JsonInput& input, std::int64_t chunks, std::int64_t microbatches);

// A layout is an array of one state per mesh axis: ["S(0)", "R/P"].
Json layout_json(const Layout& layout, std::size_t mesh_dimensions);
Layout read_layout(const JsonInput& input, std::size_t mesh_dimensions);

// The very objects of cluster and recipe files, units in strings included.
Json cluster_json(const Cluster& cluster);
Json recipe_json(const Recipe& recipe);
Cluster read_inline_cluster(const JsonInput& input);
Recipe read_inline_recipe(const JsonInput& input);

// As in a pins file.
Json pin_json(const Pin& pin);
Pin read_pin(const JsonInput& input);

}  // namespace meshloom
