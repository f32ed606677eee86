#include "accuracy/constants.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

KnownRecipe known_recipe(const std::string& name, const std::string& name_or_path) {
  KnownRecipe recipe{name, find_recipe(name_or_path), {}};
  for (const std::string& kernels : kernel_sets(name_or_path))
    recipe.by_kernels[kernels] = find_recipe(name_or_path, kernels);
  return recipe;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::vector<std::filesystem::path> json_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_directory(folder))
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().extension() == ".json") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

Constants built_in_constants() {
  Constants constants{built_in_devices(), {}};
  for (const std::string& name : recipe_presets()) constants.recipes.push_back(known_recipe(name, name));
  return constants;
}

Constants read_constants(const std::string& folder) {
  const std::filesystem::path root(folder);
  const auto devices = json_files(root / "devices"), recipes = json_files(root / "recipes");
  if (devices.empty() && recipes.empty())
    throw InputError("--constants", "the folder \"" + folder +
                                        "\" has no devices/*.json and no recipes/*.json; give one that "
                                        "`meshloom calibrate -o` wrote");
  Constants constants = built_in_constants();
  for (const auto& path : devices) {
    DeviceFile file = read_device_file(path.string());
    std::erase_if(constants.devices, [&](const DeviceFile& known) { return known.device.name == file.device.name; });
    constants.devices.push_back(std::move(file));
  }
  for (const auto& path : recipes) {
    KnownRecipe recipe = known_recipe(path.stem().string(), path.string());
    std::erase_if(constants.recipes, [&](const KnownRecipe& known) { return known.name == recipe.name; });
    constants.recipes.push_back(std::move(recipe));
  }
  return constants;
}

const DeviceFile* find_device(const Constants& constants, const std::string& gpu) {
  for (const DeviceFile& file : constants.devices)
    if (file.device.name == gpu || std::find(file.aliases.begin(), file.aliases.end(), gpu) != file.aliases.end())
      return &file;
  return nullptr;
}

const KnownRecipe& recipe_for(const Constants& constants, const std::string& framework) {
  const KnownRecipe* best = nullptr;
  std::size_t longest = 0;
  for (const KnownRecipe& recipe : constants.recipes) {
    if (recipe.name == "neutral" && best == nullptr) best = &recipe;
    for (const std::string& name : recipe.plain.frameworks) {
      if (!lower(framework).starts_with(lower(name)) || name.size() <= longest) continue;
      best = &recipe;
      longest = name.size();
    }
  }
  return *best;
}

}  // namespace meshloom
