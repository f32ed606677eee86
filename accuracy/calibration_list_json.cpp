#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "accuracy/calibration_list.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::string_view schema = "meshloom.calibration/1";

std::vector<std::string> names_of(const ConstantFiles& files) {
  std::vector<std::string> names;
  for (const auto& [name, text] : files) names.push_back(name);
  return names;
}

std::string remedy_for(const std::string& name, const std::vector<std::string>& known) {
  const std::string guess = did_you_mean(name, known);
  return guess.empty() ? fmt::format("; they are named as \"{}\" is", known.front()) : guess;
}

std::vector<std::string> read_files(const JsonInput& json, const ConstantFiles& known) {
  std::vector<std::string> files;
  for (const JsonInput& element : json.elements()) {
    files.push_back(element.string());
    if (!known.contains(files.back()))
      element.fail(
          fmt::format("no device file or recipe \"{}\"{}", files.back(), remedy_for(files.back(), names_of(known))));
  }
  if (files.empty()) json.fail("names no file");
  return files;
}

UnknownConstant read_unknown(const JsonInput& json) {
  UnknownConstant unknown;
  if (const auto scale = json.find("scale"))
    unknown.scale = scale->one_of({"log", "linear"}) == 0 ? ConstantScale::logarithmic : ConstantScale::linear;
  const double least = unknown.scale == ConstantScale::logarithmic ? 1e-300 : -1e300;
  unknown.low = json.at("low").number(least);
  unknown.high = json.at("high").number(unknown.low);
  if (json.find("prior").has_value() == json.find("typical").has_value())
    json.fail("needs either \"prior\" or \"typical\"");
  // Of a typical value, the prior is known when all constants are.
  if (const auto prior = json.find("prior")) unknown.prior = prior->number(unknown.low, unknown.high);
  unknown.spread = json.at("spread").number(1e-9);
  return unknown;
}

// The parent of what the pointer names must be there; the number itself may be new, for a recipe that inherits it.
void check_pointer(const JsonInput& json, const std::string& pointer, const std::string& file,
                   const ConstantFiles& files) {
  const Json document = Json::parse(files.at(file));
  try {
    const Json::json_pointer place(pointer);
    if (place.empty()) json.fail("names the whole file; name a number in it");
    const Json& parent = document.at(place.parent_pointer());
    if (!parent.is_object())
      json.fail(fmt::format("\"{}\" has no object at \"{}\"", file, place.parent_pointer().to_string()));
    if (parent.contains(place.back()) && parent.at(place.back()).is_structured())
      json.fail(fmt::format("is no number in \"{}\"", file));
  } catch (const Json::exception&) {
    json.fail(fmt::format("\"{}\" has nothing at \"{}\"", file, pointer));
  }
}

void read_constant(const JsonInput& json, const ConstantFiles& files, std::vector<CalibratedConstant>& constants) {
  json.only_keys({"files", "each_of", "pointer", "unit", "fitted_to", "prior", "typical", "spread", "low", "high",
                  "scale", "source"});
  CalibratedConstant constant;
  constant.pointer = json.at("pointer").string();
  if (const auto unit = json.find("unit")) constant.unit = unit->string();
  if (const auto fitted = json.find("fitted_to"))
    constant.fitted_to = fitted->one_of({"time", "memory"}) == 0 ? FittedTo::time : FittedTo::memory;
  constant.unknown = read_unknown(json);
  constant.source = json.at("source").string();
  const auto each = json.find("each_of");
  if (each.has_value() == json.find("files").has_value()) json.fail("needs either \"files\" or \"each_of\"");
  const std::vector<std::string> named = read_files(each ? *each : json.at("files"), files);
  for (const std::string& file : named) check_pointer(json.at("pointer"), constant.pointer, file, files);
  if (!each) {
    constant.files = named;
    constants.push_back(std::move(constant));
    return;
  }
  for (const std::string& file : named) {
    constant.files = {file};
    constants.push_back(constant);
  }
}

// What a kernel set has is typical of the recipe.
std::string typical_pointer(const std::string& pointer) {
  return pointer.starts_with("/kernel_sets/") ? pointer.substr(pointer.rfind('/')) : pointer;
}

// Sets what the constant, which says that it is like those of a file, is around.
void find_typical(const JsonInput& typical, CalibratedConstant& constant,
                  const std::vector<CalibratedConstant>& constants, const std::set<std::size_t>& like_others) {
  const std::string file = typical.string(), pointer = typical_pointer(constant.pointer);
  const auto found = std::find_if(constants.begin(), constants.end(), [&](const CalibratedConstant& each) {
    return each.pointer == pointer && std::find(each.files.begin(), each.files.end(), file) != each.files.end();
  });
  const auto position = static_cast<std::size_t>(found - constants.begin());
  if (found == constants.end() || like_others.contains(position))
    typical.fail(fmt::format("needs a constant \"{}\" of \"{}\" in the list, with a prior of its own", pointer, file));
  if (found->unit != constant.unit || found->fitted_to != constant.fitted_to ||
      found->unknown.scale != constant.unknown.scale)
    typical.fail(
        fmt::format("\"{}\" of \"{}\" has another unit, another scale or is fitted to something else; give "
                    "both the same",
                    pointer, file));
  constant.unknown.prior = std::clamp(found->unknown.prior, constant.unknown.low, constant.unknown.high);
  constant.unknown.around = position;
}

}  // namespace

std::string CalibratedConstant::name() const {
  return files.size() == 1 ? fmt::format("{} {}", files.front(), pointer)
                           : fmt::format("{} and {} more {}", files.front(), files.size() - 1, pointer);
}

double rounded_constant(double value) { return std::stod(fmt::format("{:.6g}", value)); }

std::vector<CalibratedConstant> parse_calibration_list(const std::string& text, const std::string& file,
                                                       const ConstantFiles& files) {
  const JsonInput root = parse_json(text, file);
  expect_schema(root, schema);
  root.only_keys({"schema", "constants"});
  std::vector<CalibratedConstant> constants;
  std::set<std::pair<std::string, std::string>> given;
  std::vector<std::pair<std::size_t, JsonInput>> like_others;
  for (const JsonInput& json : root.at("constants").elements()) {
    const std::size_t before = constants.size();
    read_constant(json, files, constants);
    for (std::size_t c = before; c < constants.size(); ++c)
      if (const auto typical = json.find("typical")) like_others.emplace_back(c, *typical);
    for (std::size_t c = before; c < constants.size(); ++c)
      for (const std::string& named : constants[c].files)
        if (!given.emplace(named, constants[c].pointer).second)
          json.fail(fmt::format("\"{}\" of \"{}\" is fitted twice; name it once", constants[c].pointer, named));
  }
  std::set<std::size_t> positions;
  for (const auto& [position, typical] : like_others) positions.insert(position);
  for (const auto& [position, typical] : like_others) find_typical(typical, constants[position], constants, positions);
  if (constants.empty()) root.at("constants").fail("names no constant to fit");
  return constants;
}

struct ConstantWriter::Documents {
  std::map<std::string, Json> by_file;
  std::vector<double> values;  // that stand in them; empty: none yet
};

ConstantWriter::ConstantWriter(const ConstantFiles& files, const std::vector<CalibratedConstant>& constants)
    : files_(files), constants_(constants), documents_(std::make_unique<Documents>()) {
  for (const CalibratedConstant& constant : constants)
    for (const std::string& file : constant.files)
      if (const auto [document, is_new] = documents_->by_file.try_emplace(file); is_new)
        document->second = Json::parse(files.at(file));
}

ConstantWriter::~ConstantWriter() = default;

const ConstantFiles& ConstantWriter::with(const std::vector<double>& values) {
  std::set<std::string> changed;
  for (std::size_t c = 0; c < constants_.size(); ++c) {
    if (!documents_->values.empty() && documents_->values[c] == values[c]) continue;
    for (const std::string& file : constants_[c].files) {
      changed.insert(file);
      Json& number = documents_->by_file.at(file)[Json::json_pointer(constants_[c].pointer)];
      if (constants_[c].unit.empty())
        number = values[c];
      else
        number = fmt::format("{} {}", values[c], constants_[c].unit);
    }
  }
  documents_->values = values;
  for (const std::string& file : changed) files_[file] = documents_->by_file.at(file).dump(2) + "\n";
  return files_;
}

ConstantFiles with_values(const ConstantFiles& files, const std::vector<CalibratedConstant>& constants,
                          const std::vector<double>& values) {
  return ConstantWriter(files, constants).with(values);
}

namespace {

// Devices name what a source is of by its pointer, recipes by its key.
std::string source_key(const std::string& file, const std::string& pointer) {
  return file.starts_with("devices/") ? pointer : pointer.substr(1);
}

}  // namespace

ConstantFiles with_sources(const ConstantFiles& files, const std::vector<CalibratedConstant>& constants) {
  ConstantFiles result = files;
  for (const CalibratedConstant& constant : constants) {
    if (constant.pointer.starts_with("/kernel_sets")) continue;
    for (const std::string& file : constant.files) {
      Json document = Json::parse(result.at(file));
      Json sources = document.value("sources", Json::object());
      document.erase("sources");
      sources[source_key(file, constant.pointer)] = fmt::format(
          "fitted by `meshloom calibrate` to published, measured runs (docs/accuracy.md); believed before: {}",
          constant.source);
      document["sources"] = std::move(sources);
      result[file] = document.dump(2) + "\n";
    }
  }
  return result;
}

}  // namespace meshloom
