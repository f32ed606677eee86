#include <fmt/format.h>

#include <filesystem>

#include "accuracy/calibrated_files.hpp"
#include "accuracy/uncertainty.hpp"
#include "graphs/files.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::string_view schema = "meshloom.uncertainty/1";

// Six digits: quantiles of errors are known to two.
double rounded(double value) { return std::stod(fmt::format("{:.6g}", value)); }

Json to_json(const ErrorQuantiles& quantiles) {
  return {{"rows", quantiles.rows}, {"low", rounded(quantiles.low)}, {"high", rounded(quantiles.high)}};
}

ErrorQuantiles read_quantiles(const JsonInput& json) {
  ErrorQuantiles quantiles;
  quantiles.rows = static_cast<std::size_t>(json.at("rows").integer(0));
  quantiles.low = json.at("low").number(-10, 10);
  quantiles.high = json.at("high").number(-10, 10);
  if (quantiles.low > quantiles.high) json.at("low").fail("is above /high; give the lower quantile first");
  return quantiles;
}

// Absent or null: none.
std::optional<ErrorQuantiles> read_unknown(const JsonInput& root, const char* key) {
  const auto json = root.find(key);
  if (!json || json->is_null()) return std::nullopt;
  json->only_keys({"rows", "low", "high"});
  return read_quantiles(*json);
}

void read_part(const JsonInput& json, Uncertainty& part) {
  json.at("all").only_keys({"rows", "low", "high"});
  part.all = read_quantiles(json.at("all"));
  part.elsewhere = read_unknown(json, "elsewhere");
  part.unknown_recipe = read_unknown(json, "unknown_recipe");
  part.unknown_device = read_unknown(json, "unknown_device");
  for (const JsonInput& group : json.at("groups").elements()) {
    group.only_keys({"device", "recipe", "rows", "low", "high"});
    part.groups.push_back({group.at("device").string(), group.at("recipe").string(), read_quantiles(group)});
  }
}

void add_part(Json& json, const Uncertainty& part) {
  json["all"] = to_json(part.all);
  if (part.elsewhere) json["elsewhere"] = to_json(*part.elsewhere);
  if (part.unknown_recipe) json["unknown_recipe"] = to_json(*part.unknown_recipe);
  if (part.unknown_device) json["unknown_device"] = to_json(*part.unknown_device);
  json["groups"] = Json::array();
  for (const GroupQuantiles& group : part.groups) {
    Json entry{{"device", group.device}, {"recipe", group.recipe}};
    entry.update(to_json(group.quantiles));
    json["groups"].push_back(std::move(entry));
  }
}

}  // namespace

Uncertainty parse_uncertainty(const std::string& text, const std::string& file) {
  const JsonInput root = parse_json(text, file);
  expect_schema(root, schema);
  root.only_keys(
      {"schema", "level", "all", "elsewhere", "unknown_recipe", "unknown_device", "groups", "mixtures_of_experts"});
  Uncertainty result;
  result.level = root.at("level").number(0, 1);
  read_part(root, result);
  if (const auto experts = root.find("mixtures_of_experts")) {
    experts->only_keys({"all", "elsewhere", "unknown_recipe", "unknown_device", "groups"});
    result.of_experts.emplace_back().level = result.level;
    read_part(*experts, result.of_experts.front());
  }
  return result;
}

std::string write_uncertainty(const Uncertainty& uncertainty) {
  Json root{{"schema", schema}, {"level", uncertainty.level}};
  add_part(root, uncertainty);
  for (const Uncertainty& experts : uncertainty.of_experts) add_part(root["mixtures_of_experts"], experts);
  return root.dump(2) + "\n";
}

std::optional<Uncertainty> read_uncertainty(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / "uncertainty.json").string();
  if (!std::filesystem::exists(path)) return std::nullopt;
  return parse_uncertainty(read_file(path), path);
}

const Uncertainty& shipped_uncertainty() {
  static const Uncertainty uncertainty =
      parse_uncertainty(std::string(embedded_uncertainty()), "training_recipes/uncertainty.json");
  return uncertainty;
}

}  // namespace meshloom
