#include "accuracy/constant_files.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "costmodel/device_files.hpp"
#include "costmodel/embedded_files.hpp"

namespace meshloom {
namespace {

constexpr std::string_view devices_folder = "devices/", recipes_folder = "recipes/";

NamedHost host_of(const DeviceFile& file) {
  NamedHost host{file.aliases, {}};
  host.gpus.push_back(file.device.name);
  host.host.name = file.device.name;
  host.host.device = file.device;
  host.host.devices_per_host = file.devices_per_host;
  host.host.intra_host = file.intra_host;
  host.host.nic = file.nic;
  host.host.nics_per_host = file.nics_per_host;
  return host;
}

// Without what its numbers come from, which nothing here reads.
Recipe recipe_of(const ConstantFiles& files, const std::string& name) {
  Recipe recipe = parse_recipe(resolved_recipe(files, name), fmt::format("{}{}", recipes_folder, name));
  recipe.sources.clear();
  return recipe;
}

}  // namespace

ConstantFiles built_in_constant_files() {
  ConstantFiles files;
  for (const EmbeddedFile& file : embedded_devices()) files[fmt::format("{}{}", devices_folder, file.name)] = file.text;
  for (const EmbeddedFile& file : embedded_recipes()) files[fmt::format("{}{}", recipes_folder, file.name)] = file.text;
  return files;
}

Constants constants_from(const ConstantFiles& files) {
  Constants constants;
  for (const auto& [name, text] : files)
    if (name.starts_with(devices_folder)) constants.hosts.push_back(host_of(parse_device(text, name)));
  constants.frameworks = built_in_constants().frameworks;
  for (FrameworkHabits& habits : constants.frameworks) habits.recipe = recipe_of(files, habits.recipe.name);
  return constants;
}

std::vector<std::string> files_of(const ConstantFiles& files, const std::string& gpu, const std::string& framework) {
  std::vector<std::string> result;
  for (const auto& [name, text] : files) {
    if (!name.starts_with(devices_folder)) continue;
    const NamedHost host = host_of(parse_device(text, name));
    if (std::find(host.gpus.begin(), host.gpus.end(), gpu) != host.gpus.end()) result.push_back(name);
  }
  const Constants constants = constants_from(files);
  for (const std::string& name : recipe_ancestry(files, habits_of(constants, framework).recipe.name))
    result.push_back(fmt::format("{}{}", recipes_folder, name));
  return result;
}

}  // namespace meshloom
