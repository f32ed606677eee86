#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "costmodel/quantity_text.hpp"
#include "costmodel/recipe.hpp"
#include "costmodel/recipe_presets.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::string_view schema = "meshloom.recipe/1";

Recipe preset(std::size_t position) { return built_in_recipes()[position]; }

DType read_compute_dtype(const JsonInput& json) {
  constexpr DType allowed[] = {DType::bf16, DType::fp16, DType::fp32};
  std::vector<std::string> names;
  for (const DType dtype : allowed) names.emplace_back(name(dtype));
  return allowed[json.one_of(names)];
}

RecomputeScope read_recompute_scope(const JsonInput& json) {
  const std::vector<std::string> names = {"blocks", "all"};
  return *recompute_scope_named(names[json.one_of(names)]);
}

OverlapSends read_overlap_sends(const JsonInput& json) {
  const std::vector<std::string> names = {"none", "by_schedule", "all"};
  return *overlap_sends_named(names[json.one_of(names)]);
}

OverlapSynchronization read_overlap_synchronization(const JsonInput& json) {
  const std::vector<std::string> names = {"none", "last_backward"};
  return *overlap_synchronization_named(names[json.one_of(names)]);
}

std::vector<ParameterState> read_parameter_states(const JsonInput& json) {
  std::vector<ParameterState> states;
  const std::vector<std::string> names = {"replicated", "zero1", "zero2", "zero3"};
  for (const JsonInput& element : json.elements()) {
    const ParameterState state = *parameter_state_named(names[element.one_of(names)]);
    if (std::find(states.begin(), states.end(), state) != states.end())
      element.fail(fmt::format("\"{}\" stands twice; list each state once", name(state)));
    states.push_back(state);
  }
  if (states.empty()) json.fail(fmt::format("allows no state; list at least one of: {}", fmt::join(names, ", ")));
  return states;
}

std::vector<std::string> read_schedules(const JsonInput& json) {
  static const std::vector<std::string> names = {"1f1b",  "gpipe", "interleaved-1f1b", "zb-h1", "zb-h2",
                                                 "zb-1p", "zb-2p"};
  std::vector<std::string> schedules;
  for (const JsonInput& element : json.elements()) {
    const std::string& schedule = names[element.one_of(names)];
    if (std::find(schedules.begin(), schedules.end(), schedule) != schedules.end())
      element.fail(fmt::format("\"{}\" stands twice; list each schedule once", schedule));
    schedules.push_back(schedule);
  }
  if (schedules.empty()) json.fail(fmt::format("allows no schedule; list at least one of: {}", fmt::join(names, ", ")));
  return schedules;
}

// The sources of keys that the file sets itself are the file's, or none; those of inherited keys are the preset's.
void read_sources(const JsonInput& root, Recipe& recipe) {
  std::erase_if(recipe.sources, [&](const auto& source) { return root.raw().contains(source.first); });
  const auto json = root.find("sources");
  if (!json) return;
  for (const auto& [key, value] : json->members()) {
    std::erase_if(recipe.sources, [&, &replaced = key](const auto& source) { return source.first == replaced; });
    recipe.sources.emplace_back(key, value.string());
  }
}

Recipe recipe_from(const JsonInput& root) {
  expect_schema(root, schema);
  root.only_keys({"schema", "name", "extends", "compute_dtype", "parameter_bytes", "gradient_bytes", "bucket_bytes",
                  "optimizer_bytes", "optimizer_traffic", "parameter_states", "regather_saved_activations",
                  "recompute_scope", "elementwise_traffic", "schedules", "overlap_sends", "overlap_synchronization",
                  "context_memory", "memory_fragmentation", "sources"});
  const auto extends = root.find("extends");
  Recipe recipe = preset(extends ? extends->one_of(recipe_presets()) : 0);
  recipe.name = root.at("name").string();
  if (const auto value = root.find("compute_dtype")) recipe.compute_dtype = read_compute_dtype(*value);
  if (const auto value = root.find("parameter_bytes")) recipe.parameter_bytes = Bytes(value->bytes());
  if (const auto value = root.find("gradient_bytes")) recipe.gradient_bytes = Bytes(value->bytes());
  if (const auto value = root.find("bucket_bytes")) {
    recipe.bucket_bytes = Bytes(value->bytes());
    if (!(recipe.bucket_bytes > Bytes(0))) value->fail("must be more than 0; write \"1 B\" for no buckets");
  }
  if (const auto value = root.find("optimizer_bytes")) recipe.optimizer_bytes = Bytes(value->bytes());
  if (const auto value = root.find("optimizer_traffic")) recipe.optimizer_traffic = value->bytes();
  if (const auto value = root.find("parameter_states")) recipe.parameter_states = read_parameter_states(*value);
  if (const auto value = root.find("regather_saved_activations")) recipe.regather_saved_activations = value->boolean();
  if (const auto value = root.find("recompute_scope")) recipe.recompute_scope = read_recompute_scope(*value);
  if (const auto value = root.find("elementwise_traffic")) recipe.elementwise_traffic = value->number(0, 100);
  if (const auto value = root.find("schedules")) recipe.schedules = read_schedules(*value);
  if (const auto value = root.find("overlap_sends")) recipe.overlap_sends = read_overlap_sends(*value);
  if (const auto value = root.find("overlap_synchronization"))
    recipe.overlap_synchronization = read_overlap_synchronization(*value);
  if (const auto value = root.find("context_memory")) recipe.context_memory = Bytes(value->bytes());
  if (const auto value = root.find("memory_fragmentation")) recipe.memory_fragmentation = value->number(0, 10);
  read_sources(root, recipe);
  return recipe;
}

bool names_a_file(const std::string& text) {
  return text == "-" || text.find('/') != std::string::npos || text.ends_with(".json") ||
         std::filesystem::is_regular_file(text);
}

}  // namespace

std::vector<std::string> recipe_presets() {
  std::vector<std::string> names;
  for (const Recipe& recipe : built_in_recipes()) names.push_back(recipe.name);
  return names;
}

Recipe find_recipe(const std::string& name_or_path) {
  const std::vector<std::string> names = recipe_presets();
  const auto found = std::find(names.begin(), names.end(), name_or_path);
  if (found != names.end()) return preset(static_cast<std::size_t>(found - names.begin()));
  if (names_a_file(name_or_path)) return recipe_from(read_json_file(name_or_path));
  throw InputError("--recipe", fmt::format("unknown recipe \"{}\"; give the path of a file or one of: {}{}",
                                           name_or_path, fmt::join(names, ", "), did_you_mean(name_or_path, names)));
}

Recipe parse_recipe(const std::string& text, const std::string& file) { return recipe_from(parse_json(text, file)); }

std::string write_recipe(const Recipe& recipe) {
  Json states = Json::array();
  for (const ParameterState state : recipe.parameter_states) states.push_back(name(state));
  Json json = {{"schema", schema},
               {"name", recipe.name},
               {"compute_dtype", name(recipe.compute_dtype)},
               {"parameter_bytes", text_of(recipe.parameter_bytes)},
               {"gradient_bytes", text_of(recipe.gradient_bytes)},
               {"bucket_bytes", text_of(recipe.bucket_bytes)},
               {"optimizer_bytes", text_of(recipe.optimizer_bytes)},
               {"optimizer_traffic", text_of(Bytes(recipe.optimizer_traffic))},
               {"parameter_states", states},
               {"regather_saved_activations", recipe.regather_saved_activations},
               {"recompute_scope", name(recipe.recompute_scope)},
               {"elementwise_traffic", recipe.elementwise_traffic},
               {"schedules", recipe.schedules},
               {"overlap_sends", name(recipe.overlap_sends)},
               {"overlap_synchronization", name(recipe.overlap_synchronization)},
               {"context_memory", text_of(recipe.context_memory)},
               {"memory_fragmentation", recipe.memory_fragmentation}};
  if (!recipe.sources.empty()) json["sources"] = Json::object();
  for (const auto& [key, text] : recipe.sources) json["sources"][key] = text;
  return json.dump(2) + "\n";
}

}  // namespace meshloom
