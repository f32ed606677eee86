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

}  // namespace

Uncertainty parse_uncertainty(const std::string& text, const std::string& file) {
  const JsonInput root = parse_json(text, file);
  expect_schema(root, schema);
  root.only_keys({"schema", "level", "all", "elsewhere", "unknown_recipe", "unknown_device", "groups"});
  Uncertainty result;
  result.level = root.at("level").number(0, 1);
  root.at("all").only_keys({"rows", "low", "high"});
  result.all = read_quantiles(root.at("all"));
  result.elsewhere = read_unknown(root, "elsewhere");
  result.unknown_recipe = read_unknown(root, "unknown_recipe");
  result.unknown_device = read_unknown(root, "unknown_device");
  for (const JsonInput& group : root.at("groups").elements()) {
    group.only_keys({"device", "recipe", "rows", "low", "high"});
    result.groups.push_back({group.at("device").string(), group.at("recipe").string(), read_quantiles(group)});
  }
  return result;
}

std::string write_uncertainty(const Uncertainty& uncertainty) {
  Json groups = Json::array();
  for (const GroupQuantiles& group : uncertainty.groups) {
    Json json{{"device", group.device}, {"recipe", group.recipe}};
    json.update(to_json(group.quantiles));
    groups.push_back(std::move(json));
  }
  Json root{{"schema", schema}, {"level", uncertainty.level}, {"all", to_json(uncertainty.all)}};
  if (uncertainty.elsewhere) root["elsewhere"] = to_json(*uncertainty.elsewhere);
  if (uncertainty.unknown_recipe) root["unknown_recipe"] = to_json(*uncertainty.unknown_recipe);
  if (uncertainty.unknown_device) root["unknown_device"] = to_json(*uncertainty.unknown_device);
  root["groups"] = groups;
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
