// Profiles out of what other programs print: nccl-tests, PyTorch's profiler, tables of times.
// docs/importing_profiles.md describes each format.
//
// All throw InputError with "FILE:LINE: …" (JSON: file and pointer) for what they do not understand: a unit other than
// the one that stands above, times that are not above zero, a key and shape twice, lines that were cut off. What they
// do not need they skip, and say how much.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "costmodel/profile.hpp"

namespace meshloom {

// What the text itself does not say, or says otherwise.
struct ImportOptions {
  std::optional<std::string> device, measured, host;
  std::optional<MeasuredCollective> collective;                // nccl-tests
  std::optional<std::pair<std::int64_t, std::int64_t>> group;  // nccl-tests: hosts, devices of each
  bool in_place = false;                                       // nccl-tests: the second set of columns
  std::optional<DType> dtype;                                  // PyTorch's tables, which do not say it
};

struct ImportedProfile {
  Profile profile;
  std::map<std::string, std::int64_t> skipped;  // what no profile has a kind for, by name: how often
};

ImportedProfile import_nccl_tests(const std::string& text, const std::string& file, const ImportOptions& options);
// The Chrome trace (JSON), or the table of key_averages(group_by_input_shape=True) as text.
ImportedProfile import_kineto(const std::string& text, const std::string& file, const ImportOptions& options);
ImportedProfile import_csv(const std::string& text, const std::string& file, const ImportOptions& options);

}  // namespace meshloom
