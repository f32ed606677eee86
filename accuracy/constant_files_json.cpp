#include <fmt/format.h>

#include "accuracy/constant_files.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr const char* first_recipe = "neutral";  // what every recipe starts from

// Keys that a recipe does not pass on.
constexpr const char* own_keys[] = {"extends", "name", "kernel_sets", "kernels", "frameworks", "sources"};

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

}  // namespace

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
