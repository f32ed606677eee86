#include "accuracy/constant_files.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "costmodel/device_files.hpp"
#include "costmodel/embedded_files.hpp"

namespace meshloom {
namespace {

constexpr std::string_view devices_folder = "devices/", recipes_folder = "recipes/";

// Without what its numbers come from, which nothing here reads.
KnownRecipe recipe_of(const ConstantFiles& files, const std::string& name) {
  const std::string text = resolved_recipe(files, name), place = fmt::format("{}{}", recipes_folder, name);
  const auto read = [&](const std::string& kernels) {
    Recipe recipe = parse_recipe(text, place, kernels);
    recipe.sources.clear();
    return recipe;
  };
  KnownRecipe recipe{name, read(""), {}};
  for (const std::string& kernels : kernel_sets_in(files, name)) recipe.by_kernels[kernels] = read(kernels);
  return recipe;
}

}  // namespace

ConstantFiles built_in_constant_files() {
  ConstantFiles files;
  for (const EmbeddedFile& file : embedded_devices()) files[fmt::format("{}{}", devices_folder, file.name)] = file.text;
  for (const EmbeddedFile& file : embedded_recipes()) files[fmt::format("{}{}", recipes_folder, file.name)] = file.text;
  return files;
}

Constants read_constants(const std::string& folder) { return constants_from(read_constant_files(folder)); }

namespace {

using Texts = std::vector<std::pair<std::string, std::string>>;

bool stand_in(const Texts& texts, const ConstantFiles& files) {
  return std::all_of(texts.begin(), texts.end(), [&](const auto& text) {
    const auto found = files.find(text.first);
    return found != files.end() && found->second == text.second;
  });
}

bool is_device(const std::string& name) { return name.starts_with(devices_folder); }

// A device that is like others of `files`, without what its numbers come from, which nothing here reads. `read` gives
// a file's device, for those that are like no other; `used` becomes the names of those that it is like.
template <typename Read>
DeviceFile like_others(const ConstantFiles& files, const std::string& name, const Read& read,
                       std::vector<std::string>& used) {
  const auto others = [&](const std::string& wanted) -> std::optional<DeviceFile> {
    for (const auto& [other, text] : files) {
      if (!is_device(other) || is_like_another(text) || !goes_by(read(other), wanted)) continue;
      if (std::find(used.begin(), used.end(), other) == used.end()) used.push_back(other);
      return read(other);
    }
    return device_named(wanted);
  };
  DeviceFile device = parse_device(files.at(name), name, others);
  device.sources.clear();
  return device;
}

Texts texts_of_recipe(const ConstantFiles& files, const std::string& name) {
  Texts texts;
  for (const std::string& each : recipe_ancestry(files, name)) {
    const std::string file = fmt::format("{}{}", recipes_folder, each);
    texts.emplace_back(file, files.at(file));
  }
  return texts;
}

}  // namespace

// Those that are like others after these.
void ConstantsReader::read_devices(const ConstantFiles& files) {
  for (const auto& [name, text] : files) {
    if (!is_device(name) || is_like_another(text)) continue;
    auto& [texts, device] = devices_[name];
    if (!texts.empty() && stand_in(texts, files)) continue;
    device = parse_device(text, name);
    device.sources.clear();
    texts = {{name, text}};
  }
  const auto read = [&](const std::string& name) -> const DeviceFile& { return devices_.at(name).second; };
  for (const auto& [name, text] : files) {
    if (!is_device(name) || !is_like_another(text)) continue;
    auto& [texts, device] = devices_[name];
    if (!texts.empty() && stand_in(texts, files)) continue;
    std::vector<std::string> used{name};
    device = like_others(files, name, read, used);
    texts.clear();
    for (const std::string& each : used) texts.emplace_back(each, files.at(each));
  }
}

const Constants& ConstantsReader::read(const ConstantFiles& files) {
  constants_ = {};
  read_devices(files);
  for (const auto& [name, text] : files) {
    if (is_device(name)) constants_.devices.push_back(devices_.at(name).second);
    if (name.starts_with(recipes_folder)) {
      auto& [texts, recipe] = recipes_[name];
      if (texts.empty() || !stand_in(texts, files)) {
        const std::string recipe_name = name.substr(recipes_folder.size());
        recipe = recipe_of(files, recipe_name);
        texts = texts_of_recipe(files, recipe_name);
      }
      constants_.recipes.push_back(recipe);
    }
  }
  return constants_;
}

Constants constants_from(const ConstantFiles& files) { return ConstantsReader().read(files); }

std::vector<std::string> files_of(const ConstantFiles& files, const std::string& gpu, const std::string& recipe) {
  std::vector<std::string> result;
  const auto read = [&](const std::string& name) { return parse_device(files.at(name), name); };
  for (const auto& [name, text] : files) {
    if (!is_device(name)) continue;
    const Constants alone{{read(name)}, {}};
    if (find_device(alone, gpu) == nullptr) continue;
    result.push_back(name);
    if (is_like_another(text)) like_others(files, name, read, result);
  }
  for (const std::string& name : recipe_ancestry(files, recipe))
    result.push_back(fmt::format("{}{}", recipes_folder, name));
  return result;
}

}  // namespace meshloom
