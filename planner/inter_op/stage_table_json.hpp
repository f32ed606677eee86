// Stage tables (meshloom.stage_table/1, docs/solve.md): an inter-operator problem of Alpa's Eq. 2 as a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/inter_op/problem.hpp"

namespace meshloom {

// Options whose time is all forward, without work per step or sends, so that the objective is Σt + (B−1)·max t; only
// the numbers of devices matter (Placement::devices_only).
struct ConfiguredProblem {
  InterOpProblem problem;
  std::vector<std::int64_t> configs;  // by option: what the table calls it
};

// Reads a table, plain or gzip; "-" is standard input. Throws InputError with file and JSON pointer.
ConfiguredProblem read_stage_table(const std::string& path);
ConfiguredProblem parse_stage_table(const std::string& text, const std::string& file);

std::string write_stage_table(const ConfiguredProblem& table);

}  // namespace meshloom
