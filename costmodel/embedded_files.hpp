// The data files that are built into the program: cluster_specs/devices/*.json, training_recipes/*.json.
#pragma once

#include <span>
#include <string_view>

namespace meshloom {

struct EmbeddedFile {
  std::string_view name;  // without folder and ending: "a100_sxm4_80gb"
  std::string_view text;
};
std::span<const EmbeddedFile> embedded_devices();  // by name
std::span<const EmbeddedFile> embedded_recipes();

}  // namespace meshloom
