#include "costmodel/recipe.hpp"

#include <catch2/catch.hpp>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"

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
  CHECK(recipe_presets() == std::vector<std::string>{"neutral", "megatron", "alpa"});
  for (const std::string& preset : recipe_presets()) {
    const Recipe recipe = find_recipe(preset);
    CHECK(recipe.name == preset);
    CHECK(parse_recipe(write_recipe(recipe), "written") == recipe);
  }
}

TEST_CASE("every preset says where each of its numbers comes from") {
  for (const std::string& preset : recipe_presets()) {
    std::vector<std::string> keys;
    for (const auto& [key, text] : find_recipe(preset).sources) keys.push_back(key);
    CHECK(keys == std::vector<std::string>{"compute_dtype", "parameter_bytes", "gradient_bytes", "bucket_bytes",
                                           "optimizer_bytes", "optimizer_traffic", "parameter_states",
                                           "regather_saved_activations", "recompute_scope", "elementwise_traffic",
                                           "schedules", "overlap_sends", "overlap_synchronization", "context_memory",
                                           "memory_fragmentation"});
  }
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
  CHECK_THROWS_WITH(
      find_recipe("megatorn"),
      "--recipe: unknown recipe \"megatorn\"; give the path of a file or one of: neutral, megatron, alpa; "
      "did you mean \"megatron\"?");
  CHECK_THROWS_WITH(find_recipe("missing/recipe.json"), Contains("missing/recipe.json: cannot be read"));
  CHECK(complaint(R"(, "extends": "alpha")") ==
        "r.json: /extends: unknown value \"alpha\"; expected one of: neutral, megatron, alpa; did you mean \"alpa\"?");
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
