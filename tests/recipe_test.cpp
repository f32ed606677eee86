#include "costmodel/recipe.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "costmodel/op_costs.hpp"
#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "graphs/json_input.hpp"

using namespace meshloom;
using Catch::Contains;

namespace {

std::string recipe_text(const std::string& keys) {
  return R"({"schema": "meshloom.recipe/1", "name": "mine")" + keys + "}";
}

std::string complaint(const std::string& keys) {
  try {
    parse_recipe(recipe_text(keys), "r.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no complaint";
}

}  // namespace

TEST_CASE("every preset survives writing and reading") {
  CHECK(recipe_presets().front() == "neutral");
  CHECK(recipe_presets().size() >= 10);
  for (const std::string& preset : recipe_presets()) {
    const Recipe recipe = find_recipe(preset);
    CHECK(recipe.name == preset);
    CHECK(parse_recipe(write_recipe(recipe), "written") == recipe);
  }
}

namespace {

// The keys that a file or one of its kernel sets has, but those that only name it.
std::set<std::string> keys_with_values(const Json& file) {
  std::set<std::string> keys;
  for (const auto& [key, value] : file.items())
    if (key == "kernel_sets")
      for (const auto& [set, values] : value.items())
        for (const auto& [replaced, by] : values.items()) keys.insert(replaced);
    else if (key != "schema" && key != "name" && key != "extends" && key != "frameworks" && key != "kernels" &&
             key != "successor" && key != "sources")
      keys.insert(key);
  return keys;
}

Json preset_file(const std::string& name) {
  return Json::parse(read_file(fmt::format("{}/training_recipes/{}.json", MESHLOOM_SOURCE_DIR, name)));
}

}  // namespace

TEST_CASE("every preset says where each key that it sets comes from, and nothing of keys that it does not") {
  for (const std::string& preset : recipe_presets()) {
    const Json file = preset_file(preset);
    std::set<std::string> sourced;
    for (const auto& [key, text] : file.at("sources").items()) {
      INFO(preset << " " << key);
      CHECK(text.get<std::string>().size() > 10);
      sourced.insert(key);
    }
    INFO(preset);
    CHECK(sourced == keys_with_values(file));
  }
}

TEST_CASE("neutral sets every key that a recipe has, so that no preset falls back to a number without a source") {
  // linear_dtype has no value that stands for none; a kernel set is a choice.
  std::set<std::string> all = keys_with_values(Json::parse(write_recipe(find_recipe("neutral"))));
  CHECK(keys_with_values(preset_file("neutral")) == all);
}

TEST_CASE("a recipe has the kernel sets of what it extends, below its own values, and no others", "[recipe]") {
  const auto heir = [](const std::string& keys, const std::string& kernels) {
    return parse_recipe(R"({"schema": "meshloom.recipe/1", "name": "r", "extends": "megatron")" + keys + "}", "r.json",
                        kernels);
  };
  CHECK(heir("", "").fp16_gradient_bytes == Bytes(2));
  CHECK(heir("", "2022").fp16_gradient_bytes == Bytes(4));
  CHECK(heir(R"(, "kernels": "2022")", "").fp16_gradient_bytes == Bytes(4));
  CHECK(heir(R"(, "kernels": "2022", "fp16_gradient_bytes": "3 B")", "").fp16_gradient_bytes == Bytes(3));
  CHECK(heir("", "2022").kernels == "2022");
  CHECK_THROWS_WITH(heir(R"(, "kernels": "foo")", ""), Catch::Contains("has no kernel set \"foo\"; it has: 2022"));
  CHECK_THROWS_WITH(heir("", "foo"), Catch::Contains("has no kernel set \"foo\""));
}

TEST_CASE("a framework of measured runs belongs to one recipe") {
  std::map<std::string, std::string> owner;
  for (const std::string& preset : recipe_presets())
    for (const std::string& framework : find_recipe(preset).frameworks) {
      INFO(framework);
      CHECK(owner.emplace(framework, preset).second);
      CHECK(recipe_of_framework(framework) == preset);
    }
  CHECK(recipe_of_framework("NeMo") == "nemo");
  CHECK(recipe_of_framework("Megatron-LM") == "megatron");
  CHECK(!recipe_of_framework("nobody's"));
}

TEST_CASE("a recipe may say what gradients are in fp16, and what describes the framework's later releases") {
  const Recipe recipe = parse_recipe(recipe_text(R"(, "gradient_bytes": "4 B", "gradient_traffic": "8 B",
      "fp16_gradient_bytes": "2 B", "fp16_gradient_traffic": "6 B", "reduction_bytes": "3 B", "successor": "nemo")"),
                                     "r.json");
  DeviceType device;
  device.peak = {{DType::fp16, FlopsPerSecond(1)}};
  CHECK(gradient_bytes(device, recipe) == Bytes(2));  // bf16 falls to fp16 on a device without it
  CHECK(gradient_traffic(device, recipe) == 6);
  device.peak[DType::bf16] = FlopsPerSecond(1);
  CHECK(gradient_bytes(device, recipe) == Bytes(4));
  CHECK(gradient_traffic(device, recipe) == 8);
  CHECK(recipe.reduction_bytes == Bytes(3));
  CHECK(recipe.successor == "nemo");
  CHECK(parse_recipe(write_recipe(recipe), "r.json") == recipe);
  const std::string heir = R"({"schema": "meshloom.recipe/1", "name": "heir", "extends": "megatron"})";
  CHECK(parse_recipe(heir, "h.json").successor.empty());  // of the recipe's own frameworks
}

TEST_CASE("a kernel set replaces some of a recipe's keys, by the recipe's own choice or another's") {
  const std::string sets = R"(, "elementwise_traffic": 0.9, "norm_traffic": 3, "kernels": "fused", "kernel_sets":
      {"fused": {"elementwise_traffic": 0.5, "fused_gates": true}, "plain": {"fused_attention": false}})";
  const Recipe own = parse_recipe(recipe_text(sets), "r.json");
  CHECK(own.kernels == "fused");
  CHECK(own.elementwise_traffic == 0.5);
  CHECK(own.fused_gates);
  CHECK(own.norm_traffic == 3);
  const Recipe plain = parse_recipe(recipe_text(sets), "r.json", "plain");
  CHECK(plain.kernels == "plain");
  CHECK(plain.elementwise_traffic == 0.9);
  CHECK_FALSE(plain.fused_gates);
  CHECK_FALSE(plain.fused_attention);
  CHECK(parse_recipe(write_recipe(plain), "written") == plain);  // what a plan records
  CHECK_THROWS_WITH(parse_recipe(recipe_text(sets), "r.json", "fusd"),
                    "r.json: has no kernel set \"fusd\"; it has: fused, plain; did you mean \"fused\"?");
  CHECK_THROWS_WITH(parse_recipe(recipe_text(""), "r.json", "fused"),
                    "r.json: has no kernel sets, so \"fused\" names none; leave --kernels out");
  CHECK(complaint(R"(, "kernel_sets": {"fast": {"launhc": "1 us"}})") ==
        "r.json: /kernel_sets/fast: unknown key \"launhc\"; did you mean \"launch\"?");
}

TEST_CASE("mixed precision takes 16 bytes per parameter, 18 in Megatron with its fp32 gradients") {
  const auto state = [](const Recipe& r) { return r.parameter_bytes + r.gradient_bytes + r.optimizer_bytes; };
  CHECK(state(find_recipe("neutral")) == Bytes(16));
  CHECK(state(find_recipe("megatron")) == Bytes(18));
  CHECK(state(find_recipe("alpa")) == Bytes(16));
}

TEST_CASE("a recipe that extends a preset changes only the keys it has") {
  Recipe expected = find_recipe("megatron");
  expected.name = "mine";
  expected.frameworks.clear();  // those of the preset
  expected.successor.clear();
  expected.context_memory = Bytes(3e9);
  expected.parameter_states = {ParameterState::zero3};
  std::erase_if(expected.sources,
                [](const auto& s) { return s.first == "context_memory" || s.first == "parameter_states"; });
  expected.sources.emplace_back("context_memory", "measured");
  CHECK(parse_recipe(recipe_text(R"(, "extends": "megatron", "context_memory": "3 GB", "parameter_states": ["zero3"],
                                    "sources": {"context_memory": "measured"})"),
                     "r.json") == expected);
}

TEST_CASE("a recipe without extends starts from neutral") {
  Recipe expected = find_recipe("neutral");
  expected.name = "mine";
  CHECK(parse_recipe(recipe_text(""), "r.json") == expected);
}

TEST_CASE("states of parameters and recomputation are named both ways") {
  for (const auto state :
       {ParameterState::replicated, ParameterState::zero1, ParameterState::zero2, ParameterState::zero3})
    CHECK(parameter_state_named(name(state)) == state);
  CHECK(!parameter_state_named("zero4"));
  CHECK(name(ParameterState::zero2) == "zero2");
  CHECK(recompute_named("full") == Recompute::full);
  CHECK(recompute_named(name(Recompute::none)) == Recompute::none);
  CHECK(recompute_named("selective") == Recompute::selective);
  CHECK(!recompute_named("partial"));
}

TEST_CASE("a bad recipe is refused with place, value and remedy") {
  const std::string known = fmt::format("{}", fmt::join(recipe_presets(), ", "));
  CHECK_THROWS_WITH(find_recipe("megatorn"),
                    "--recipe: unknown recipe \"megatorn\"; give the path of a file or one of: " + known +
                        "; did you mean \"megatron\"?");
  CHECK_THROWS_WITH(find_recipe("missing/recipe.json"), Contains("missing/recipe.json: cannot be read"));
  CHECK(complaint(R"(, "extends": "alpha")") ==
        "r.json: /extends: unknown value \"alpha\"; expected one of: " + known + "; did you mean \"alpa\"?");
  CHECK(complaint(R"(, "gradient_byte": "2 B")") ==
        "r.json: unknown key \"gradient_byte\"; did you mean \"gradient_bytes\"?");
  CHECK_THAT(complaint(R"(, "gradient_bytes": 2)"), Contains("/gradient_bytes: expected bytes, found the number 2"));
  CHECK(complaint(R"(, "parameter_states": [])") ==
        "r.json: /parameter_states: allows no state; list at least one of: replicated, zero1, zero2, zero3");
  CHECK(complaint(R"(, "parameter_states": ["zero1", "zero1"])") ==
        "r.json: /parameter_states/1: \"zero1\" stands twice; list each state once");
  CHECK_THAT(complaint(R"(, "compute_dtype": "int8")"), Contains("/compute_dtype: unknown value \"int8\""));
  CHECK(complaint(R"(, "elementwise_traffic": -1)") == "r.json: /elementwise_traffic: must be at least 0, is -1");
}

TEST_CASE("the worked recipe of the documentation reads as its page says") {
  const std::string page = read_file(MESHLOOM_SOURCE_DIR "/docs/recipe_format.md");
  const std::size_t start = page.find("```json\n") + 8;
  const Recipe recipe = parse_recipe(page.substr(start, page.find("```", start) - start), "worked");
  CHECK(recipe.parameter_bytes + recipe.gradient_bytes + recipe.optimizer_bytes == Bytes(16));
  CHECK(recipe.context_memory == Bytes(3.1e9));
  CHECK(recipe.regather_saved_activations);
}
