#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "costmodel/embedded_files.hpp"
#include "costmodel/quantity_text.hpp"
#include "costmodel/recipe.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::string_view schema = "meshloom.recipe/1";

constexpr std::string_view first_preset = "neutral";

std::optional<EmbeddedFile> preset_file(std::string_view name) {
  for (const EmbeddedFile& file : embedded_recipes())
    if (file.name == name) return file;
  return std::nullopt;
}

DType read_linear_dtype(const JsonInput& json) {
  constexpr DType allowed[] = {DType::bf16, DType::fp16, DType::fp32, DType::fp8, DType::fp4};
  std::vector<std::string> names;
  for (const DType dtype : allowed) names.emplace_back(name(dtype));
  return allowed[json.one_of(names)];
}

DType read_compute_dtype(const JsonInput& json) {
  constexpr DType allowed[] = {DType::bf16, DType::fp16, DType::fp32};
  std::vector<std::string> names;
  for (const DType dtype : allowed) names.emplace_back(name(dtype));
  return allowed[json.one_of(names)];
}

RecomputeScope read_recompute_scope(const JsonInput& json) {
  const std::vector<std::string> names = {"blocks", "all", "all_but_last"};
  return *recompute_scope_named(names[json.one_of(names)]);
}

SelectiveRecompute read_selective_recompute(const JsonInput& json) {
  const std::vector<std::string> names = {"attention", "elementwise", "alternate_products"};
  return *selective_recompute_named(names[json.one_of(names)]);
}

Recompute read_recompute(const JsonInput& json) {
  const std::vector<std::string> names = {"none", "selective", "full"};
  return *recompute_named(names[json.one_of(names)]);
}

OverlapSends read_overlap_sends(const JsonInput& json) {
  const std::vector<std::string> names = {"none", "by_schedule", "all"};
  return *overlap_sends_named(names[json.one_of(names)]);
}

OverlapSynchronization read_overlap_synchronization(const JsonInput& json) {
  const std::vector<std::string> names = {"none", "last_backward", "beside_computing"};
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

// Keys of numbers that may be read and written one like the other.
struct NumberKey {
  const char* key;
  double Recipe::*member;
  double least, most;
};
constexpr NumberKey number_keys[] = {
    {"cast_bytes", &Recipe::cast_bytes, 0, 100},
    {"elementwise_traffic", &Recipe::elementwise_traffic, 0, 100},
    {"norm_traffic", &Recipe::norm_traffic, 0, 100},
    {"softmax_traffic", &Recipe::softmax_traffic, 0, 100},
    {"dispatch_traffic", &Recipe::dispatch_traffic, 0, 100},
    {"exposed_all_to_all", &Recipe::exposed_all_to_all, 0, 100},
    {"loss_traffic", &Recipe::loss_traffic, 0, 100},
    {"small_head_cost", &Recipe::small_head_cost, 0.1, 10},
    {"backward_launch", &Recipe::backward_launch, 0, 10},
    {"exposed_activations", &Recipe::exposed_activations, 0, 100},
    {"exposed_parameters", &Recipe::exposed_parameters, 0, 100},
    {"exposed_synchronization", &Recipe::exposed_synchronization, 0, 100},
    {"parameter_slowdown", &Recipe::parameter_slowdown, 0, 100},
    {"gather_traffic", &Recipe::gather_traffic, 0, 100},
    {"reduction_traffic", &Recipe::reduction_traffic, 0, 100},
    {"expert_imbalance", &Recipe::expert_imbalance, 1, 100},
    {"expert_streams", &Recipe::expert_streams, 0, 1000},
    {"memory_fragmentation", &Recipe::memory_fragmentation, 0, 10},
    {"norm_bytes", &Recipe::norm_bytes, 0, 1000},
    {"logits_bytes", &Recipe::logits_bytes, 0, 1000},
    {"gathered_logits_bytes", &Recipe::gathered_logits_bytes, 0, 1000},
};

constexpr std::string_view own_keys[] = {"schema",  "name",       "extends",   "kernel_sets",
                                         "kernels", "frameworks", "successor", "sources"};
constexpr std::string_view other_keys[] = {"compute_dtype",
                                           "linear_dtype",
                                           "parameter_bytes",
                                           "gradient_bytes",
                                           "reduction_bytes",
                                           "zero1_all_reduces",
                                           "live_parameters",
                                           "recompute_by_default",
                                           "bucket_bytes",
                                           "bucket_bytes_per_device",
                                           "optimizer_bytes",
                                           "optimizer_traffic",
                                           "gradient_traffic",
                                           "fp16_gradient_bytes",
                                           "fp16_gradient_traffic",
                                           "parameter_states",
                                           "fused_attention",
                                           "attention_kernel",
                                           "launch",
                                           "collective_overhead",
                                           "fused_gates",
                                           "overlap_parameters",
                                           "regather_saved_activations",
                                           "recompute_scope",
                                           "selective_recompute",
                                           "interleaves_by_default",
                                           "schedules",
                                           "overlap_sends",
                                           "context_memory",
                                           "overlap_synchronization",
                                           "divides_experts"};

std::vector<std::string> keys_of_values() {
  std::vector<std::string> keys(std::begin(other_keys), std::end(other_keys));
  for (const NumberKey& number : number_keys) keys.emplace_back(number.key);
  return keys;
}

void only_known_keys(const JsonInput& json, std::vector<std::string> known) {
  for (const auto& [key, value] : json.members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      json.fail(fmt::format("unknown key \"{}\"{}", key, did_you_mean(key, known)));
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

void read_values(const JsonInput& json, Recipe& recipe) {
  if (const auto value = json.find("compute_dtype")) recipe.compute_dtype = read_compute_dtype(*value);
  if (const auto value = json.find("linear_dtype")) recipe.linear_dtype = read_linear_dtype(*value);
  if (const auto value = json.find("parameter_bytes")) recipe.parameter_bytes = Bytes(value->bytes());
  if (const auto value = json.find("gradient_bytes")) recipe.gradient_bytes = Bytes(value->bytes());
  if (const auto value = json.find("zero1_all_reduces")) recipe.zero1_all_reduces = value->boolean();
  if (const auto value = json.find("reduction_bytes")) recipe.reduction_bytes = Bytes(value->bytes());
  if (const auto value = json.find("live_parameters")) recipe.live_parameters = value->number(0, 1e15);
  if (const auto value = json.find("recompute_by_default")) recipe.recompute_by_default = read_recompute(*value);
  if (const auto value = json.find("bucket_bytes")) {
    recipe.bucket_bytes = Bytes(value->bytes());
    if (!(recipe.bucket_bytes > Bytes(0))) value->fail("must be more than 0; write \"1 B\" for no buckets");
  }
  if (const auto value = json.find("bucket_bytes_per_device")) recipe.bucket_bytes_per_device = Bytes(value->bytes());
  if (const auto value = json.find("optimizer_bytes")) recipe.optimizer_bytes = Bytes(value->bytes());
  if (const auto value = json.find("optimizer_traffic")) recipe.optimizer_traffic = value->bytes();
  if (const auto value = json.find("gradient_traffic")) recipe.gradient_traffic = value->bytes();
  if (const auto value = json.find("fp16_gradient_bytes")) recipe.fp16_gradient_bytes = Bytes(value->bytes());
  if (const auto value = json.find("fp16_gradient_traffic")) recipe.fp16_gradient_traffic = value->bytes();
  if (const auto value = json.find("parameter_states")) recipe.parameter_states = read_parameter_states(*value);
  if (const auto value = json.find("fused_attention")) recipe.fused_attention = value->boolean();
  if (const auto value = json.find("attention_kernel")) recipe.attention_kernel = value->string();
  if (const auto value = json.find("launch")) recipe.launch = Seconds(value->seconds());
  if (const auto value = json.find("collective_overhead")) recipe.collective_overhead = Seconds(value->seconds());
  if (const auto value = json.find("fused_gates")) recipe.fused_gates = value->boolean();
  if (const auto value = json.find("overlap_parameters")) recipe.overlap_parameters = value->boolean();
  if (const auto value = json.find("regather_saved_activations")) recipe.regather_saved_activations = value->boolean();
  if (const auto value = json.find("recompute_scope")) recipe.recompute_scope = read_recompute_scope(*value);
  if (const auto value = json.find("selective_recompute"))
    recipe.selective_recompute = read_selective_recompute(*value);
  if (const auto value = json.find("interleaves_by_default")) recipe.interleaves_by_default = value->boolean();
  if (const auto value = json.find("divides_experts")) recipe.divides_experts = value->boolean();
  if (const auto value = json.find("schedules")) recipe.schedules = read_schedules(*value);
  if (const auto value = json.find("overlap_sends")) recipe.overlap_sends = read_overlap_sends(*value);
  if (const auto value = json.find("overlap_synchronization"))
    recipe.overlap_synchronization = read_overlap_synchronization(*value);
  if (const auto value = json.find("context_memory")) recipe.context_memory = Bytes(value->bytes());
  for (const NumberKey& number : number_keys)
    if (const auto value = json.find(number.key)) recipe.*number.member = value->number(number.least, number.most);
}

// All sets are checked, whichever is chosen.
void read_kernel_sets(const JsonInput& root, const std::string& chosen, Recipe& recipe) {
  const Recipe plain = recipe;
  const auto sets = root.find("kernel_sets");
  std::vector<std::string> names;
  if (sets)
    for (const auto& [set, values] : sets->members()) {
      only_known_keys(values, keys_of_values());
      Recipe with = plain;
      read_values(values, with);
      names.push_back(set);
      if (set == chosen) recipe = with;
    }
  if (chosen.empty()) return;
  if (sets && std::find(names.begin(), names.end(), chosen) == names.end())
    root.fail(fmt::format("has no kernel set \"{}\"; it has: {}{}", chosen, fmt::join(names, ", "),
                          did_you_mean(chosen, names)));
  recipe.kernels = chosen;
}

Recipe recipe_from(const JsonInput& root, const std::string& kernels);

JsonInput preset_json(std::string_view name) {
  const EmbeddedFile file = *preset_file(name);
  return parse_json(std::string(file.text), fmt::format("training_recipes/{}.json", file.name));
}

Recipe preset(std::string_view name, const std::string& kernels = "") {
  return recipe_from(preset_json(name), kernels);
}

// A preset that extends nothing starts from the plain values of Recipe, "neutral", which states all.
Recipe base_of(const JsonInput& root, const std::string& kernels) {
  if (const auto extends = root.find("extends"))
    return preset(recipe_presets()[extends->one_of(recipe_presets())], kernels);
  return root.raw().value("name", "") == first_preset ? Recipe{} : preset(first_preset);
}

Recipe recipe_from(const JsonInput& root, const std::string& kernels) {
  expect_schema(root, schema);
  std::vector<std::string> known = keys_of_values();
  known.insert(known.end(), std::begin(own_keys), std::end(own_keys));
  only_known_keys(root, known);
  const auto stated = root.find("kernels");
  const std::string chosen = kernels.empty() && stated ? stated->string() : kernels;
  const bool has_sets = root.find("kernel_sets").has_value(), extends = root.find("extends").has_value();
  if (!kernels.empty() && !has_sets && !extends)
    root.fail(fmt::format("has no kernel sets, so \"{}\" names none; leave --kernels out", kernels));
  Recipe recipe = base_of(root, has_sets ? "" : chosen);  // sets are its own or those of what it extends
  recipe.name = root.at("name").string();
  recipe.frameworks.clear();
  if (const auto value = root.find("frameworks")) recipe.frameworks = value->strings();
  recipe.successor = root.find("successor") ? root.at("successor").string() : "";
  read_values(root, recipe);
  read_kernel_sets(root, chosen, recipe);
  read_sources(root, recipe);
  return recipe;
}

bool names_a_file(const std::string& text) {
  return text == "-" || text.find('/') != std::string::npos || text.ends_with(".json") ||
         std::filesystem::is_regular_file(text);
}

}  // namespace

std::vector<std::string> recipe_presets() {
  std::vector<std::string> names{std::string(first_preset)};
  for (const EmbeddedFile& file : embedded_recipes())
    if (file.name != first_preset) names.emplace_back(file.name);
  return names;
}

std::optional<std::string> recipe_of_framework(const std::string& framework) {
  for (const std::string& name : recipe_presets()) {
    const std::vector<std::string> frameworks = preset(name).frameworks;
    if (std::find(frameworks.begin(), frameworks.end(), framework) != frameworks.end()) return name;
  }
  return std::nullopt;
}

namespace {

JsonInput recipe_json(const std::string& name_or_path) {
  const std::vector<std::string> names = recipe_presets();
  if (std::find(names.begin(), names.end(), name_or_path) != names.end()) return preset_json(name_or_path);
  if (names_a_file(name_or_path)) return read_json_file(name_or_path);
  throw InputError("--recipe", fmt::format("unknown recipe \"{}\"; give the path of a file or one of: {}{}",
                                           name_or_path, fmt::join(names, ", "), did_you_mean(name_or_path, names)));
}

}  // namespace

Recipe find_recipe(const std::string& name_or_path, const std::string& kernels) {
  return recipe_from(recipe_json(name_or_path), kernels);
}

std::vector<std::string> kernel_sets(const std::string& name_or_path) {
  std::vector<std::string> names;
  if (const auto sets = recipe_json(name_or_path).find("kernel_sets"))
    for (const auto& [set, values] : sets->members()) names.push_back(set);
  return names;
}

Recipe parse_recipe(const std::string& text, const std::string& file, const std::string& kernels) {
  return recipe_from(parse_json(text, file), kernels);
}

std::string write_recipe(const Recipe& recipe) {
  Json states = Json::array();
  for (const ParameterState state : recipe.parameter_states) states.push_back(name(state));
  Json json = {{"schema", schema},
               {"name", recipe.name},
               {"compute_dtype", name(recipe.compute_dtype)},
               {"parameter_bytes", text_of(recipe.parameter_bytes)},
               {"gradient_bytes", text_of(recipe.gradient_bytes)},
               {"zero1_all_reduces", recipe.zero1_all_reduces},
               {"bucket_bytes", text_of(recipe.bucket_bytes)},
               {"bucket_bytes_per_device", text_of(recipe.bucket_bytes_per_device)},
               {"optimizer_bytes", text_of(recipe.optimizer_bytes)},
               {"optimizer_traffic", text_of(Bytes(recipe.optimizer_traffic))},
               {"gradient_traffic", text_of(Bytes(recipe.gradient_traffic))},
               {"parameter_states", states},
               {"regather_saved_activations", recipe.regather_saved_activations},
               {"recompute_scope", name(recipe.recompute_scope)},
               {"selective_recompute", name(recipe.selective_recompute)},
               {"interleaves_by_default", recipe.interleaves_by_default},
               {"divides_experts", recipe.divides_experts},
               {"recompute_by_default", name(recipe.recompute_by_default)},
               {"fused_attention", recipe.fused_attention},
               {"attention_kernel", recipe.attention_kernel},
               {"launch", text_of(recipe.launch)},
               {"collective_overhead", text_of(recipe.collective_overhead)},
               {"fused_gates", recipe.fused_gates},
               {"overlap_parameters", recipe.overlap_parameters},
               {"schedules", recipe.schedules},
               {"overlap_sends", name(recipe.overlap_sends)},
               {"overlap_synchronization", name(recipe.overlap_synchronization)},
               {"context_memory", text_of(recipe.context_memory)}};
  if (recipe.fp16_gradient_bytes) json["fp16_gradient_bytes"] = text_of(*recipe.fp16_gradient_bytes);
  if (recipe.fp16_gradient_traffic) json["fp16_gradient_traffic"] = text_of(Bytes(*recipe.fp16_gradient_traffic));
  if (recipe.linear_dtype) json["linear_dtype"] = name(*recipe.linear_dtype);
  if (recipe.reduction_bytes) json["reduction_bytes"] = text_of(*recipe.reduction_bytes);
  if (recipe.live_parameters) json["live_parameters"] = *recipe.live_parameters;
  for (const NumberKey& number : number_keys) json[number.key] = recipe.*number.member;
  if (!recipe.kernels.empty()) json["kernels"] = recipe.kernels;
  if (!recipe.frameworks.empty()) json["frameworks"] = recipe.frameworks;
  if (!recipe.successor.empty()) json["successor"] = recipe.successor;
  if (!recipe.sources.empty()) json["sources"] = Json::object();
  for (const auto& [key, text] : recipe.sources) json["sources"][key] = text;
  return json.dump(2) + "\n";
}

}  // namespace meshloom
