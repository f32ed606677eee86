#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "accuracy/constant_files.hpp"
#include "costmodel/device_files.hpp"
#include "graphs/files.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr const char* first_recipe = "neutral";  // what every recipe starts from

// Keys that a recipe does not pass on.
constexpr const char* own_keys[] = {"extends", "name", "kernel_sets", "kernels", "frameworks", "successor", "sources"};

Json document_of(const ConstantFiles& files, const std::string& name) {
  const auto found = files.find("recipes/" + name);
  if (found == files.end()) throw InputError("recipes/" + name, "is not among the recipes to calibrate");
  return Json::parse(found->second);
}

std::string parent_of(const Json& document) { return document.value("extends", std::string(first_recipe)); }

Json resolved(const ConstantFiles& files, const std::string& name) {
  Json own = document_of(files, name);
  if (name == first_recipe) return own;
  Json result = resolved(files, parent_of(own));
  // An heir takes the values of the kernel set that its parent chooses by itself.
  if (result.contains("kernels") && result.contains("kernel_sets"))
    result.update(result["kernel_sets"].value(result["kernels"].get<std::string>(), Json::object()));
  for (const char* key : own_keys) result.erase(key);
  own.erase("extends");
  result.update(own);
  return result;
}

using Paths = std::map<std::string, std::string>;  // of the files of a folder, by their names in ConstantFiles

Paths paths_in(const std::string& folder) {
  Paths paths;
  for (const char* kind : {"devices", "recipes"}) {
    const std::filesystem::path path = std::filesystem::path(folder) / kind;
    if (!std::filesystem::is_directory(path)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(path))
      if (entry.path().extension() == ".json")
        paths[fmt::format("{}/{}", kind, entry.path().stem().string())] = entry.path().string();
  }
  return paths;
}

// That the recipe is a readable one, and so is all that it extends.
void check_recipe(const ConstantFiles& files, const std::string& name, const std::string& path) {
  const std::string first = fmt::format("recipes/{}", first_recipe);
  std::vector<std::string> lineage;
  for (std::string each = name; true;) {
    const JsonInput json = parse_json(files.at(each), each == name ? path : each);
    if (each == first) break;
    lineage.push_back(each);
    const auto extends = json.find("extends");
    each = extends ? fmt::format("recipes/{}", extends->string()) : first;
    if (!files.contains(each)) extends->fail(fmt::format("there is no recipe \"{}\"", extends->string()));
    if (std::find(lineage.begin(), lineage.end(), each) != lineage.end())
      extends->fail(fmt::format("\"{}\" is, in turn, extended by this recipe; extend another", extends->string()));
  }
  parse_recipe(resolved_recipe(files, name.substr(name.find('/') + 1)), path, "");
}

// Those that are like others after these.
std::map<std::string, DeviceFile> devices_in(const ConstantFiles& files, const Paths& paths) {
  std::map<std::string, DeviceFile> devices;
  const auto add = [&](bool like, const DeviceLookup& others) {
    for (const auto& [name, text] : files)
      if (name.starts_with("devices/") && is_like_another(text) == like)
        devices[name] = parse_device(text, paths.contains(name) ? paths.at(name) : name, others);
  };
  add(false, {});
  add(true, [alone = devices](const std::string& wanted) -> std::optional<DeviceFile> {
    const auto found =
        std::find_if(alone.begin(), alone.end(), [&](const auto& file) { return goes_by(file.second, wanted); });
    return found == alone.end() ? device_named(wanted) : found->second;
  });
  return devices;
}

// Runs name devices, so no two may go by one name.
void check_names(const std::map<std::string, DeviceFile>& devices, const Paths& paths) {
  for (const auto& [name, path] : paths) {
    const auto device = devices.find(name);
    if (device == devices.end()) continue;
    std::vector<std::string> called = device->second.aliases;
    called.push_back(device->second.device.name);
    for (const auto& [other, file] : devices)
      for (const std::string& each : called)
        if (other != name && goes_by(file, each))
          throw InputError(path,
                           fmt::format("\"{}\" is a name of {}, too; give each device names of its own", each, other));
  }
}

}  // namespace

ConstantFiles read_constant_files(const std::string& folder) {
  const Paths paths = paths_in(folder);
  if (paths.empty())
    throw InputError(fmt::format("the folder \"{}\"", folder),
                     "has no devices/*.json and no recipes/*.json; give one that `meshloom calibrate -o` wrote");
  ConstantFiles files = built_in_constant_files();
  for (const auto& [name, path] : paths) files[name] = read_file(path);
  check_names(devices_in(files, paths), paths);
  for (const auto& [name, path] : paths)
    if (name.starts_with("recipes/")) check_recipe(files, name, path);
  return files;
}

std::string resolved_recipe(const ConstantFiles& files, const std::string& name) {
  return resolved(files, name).dump();
}

std::vector<std::string> kernel_sets_in(const ConstantFiles& files, const std::string& name) {
  std::vector<std::string> names;
  const Json sets = document_of(files, name).value("kernel_sets", Json::object());
  for (const auto& [set, values] : sets.items()) names.push_back(set);
  return names;
}

std::vector<std::string> recipe_ancestry(const ConstantFiles& files, const std::string& name) {
  std::vector<std::string> names{name};
  while (names.back() != first_recipe) names.push_back(parent_of(document_of(files, names.back())));
  return names;
}

}  // namespace meshloom
