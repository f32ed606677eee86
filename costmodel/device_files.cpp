#include "costmodel/device_files.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "costmodel/embedded_files.hpp"

namespace meshloom {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool separates(char c) { return c == ' ' || c == '-' || c == '_'; }

std::string normalized(const std::string& name) {
  std::string result;
  for (const char c : name)
    if (!separates(c)) result += lower(c);
  return result.starts_with("nvidia") ? result.substr(6) : result;
}

// Whether a name begins with these words: "A100-SXM4-80GB" with "A100", "A100-SXM" and "a100sxm4", not with "A10", as
// "L40S" does not with "L40". `words` is normalized.
bool begins_with(const std::string& name, const std::string& words) {
  std::size_t at = 0;
  for (const char c : words) {
    while (at < name.size() && separates(name[at])) ++at;
    if (at == name.size() || lower(name[at]) != c) return false;
    ++at;
  }
  return !words.empty() &&
         (at == name.size() || separates(name[at]) || (!is_digit(words.back()) && is_digit(name[at])));
}

// As an alias with the maker's name says it.
bool is_printed_by_a_driver(const std::string& name) {
  if (!name.starts_with("NVIDIA ") && !name.starts_with("AMD ")) return false;
  return std::any_of(built_in_devices().begin(), built_in_devices().end(), [&](const DeviceFile& file) {
    return std::find(file.aliases.begin(), file.aliases.end(), name) != file.aliases.end();
  });
}

std::optional<DeviceFile> found_in(const std::vector<DeviceFile>& files, const std::string& name) {
  const auto found =
      std::find_if(files.begin(), files.end(), [&](const DeviceFile& file) { return goes_by(file, name); });
  return found == files.end() ? std::nullopt : std::optional(*found);
}

// Those that are like others are read after these.
std::vector<DeviceFile> read_embedded() {
  const auto parsed = [](const EmbeddedFile& file, const DeviceLookup& others) {
    return parse_device(std::string(file.text), fmt::format("cluster_specs/devices/{}.json", file.name), others);
  };
  std::vector<DeviceFile> alone, files;
  for (const EmbeddedFile& file : embedded_devices())
    if (!is_like_another(std::string(file.text))) alone.push_back(parsed(file, {}));
  auto next = alone.begin();
  const auto others = [&](const std::string& name) { return found_in(alone, name); };
  for (const EmbeddedFile& file : embedded_devices())
    files.push_back(is_like_another(std::string(file.text)) ? parsed(file, others) : *next++);
  return files;
}

}  // namespace

const std::vector<DeviceFile>& built_in_devices() {
  static const std::vector<DeviceFile> files = read_embedded();
  return files;
}

std::optional<DeviceFile> device_named(const std::string& name_or_alias) {
  return found_in(built_in_devices(), name_or_alias);
}

bool spelled_alike(const std::string& one, const std::string& other) { return normalized(one) == normalized(other); }

bool goes_by(const DeviceFile& file, const std::string& name) {
  return spelled_alike(file.device.name, name) ||
         std::any_of(file.aliases.begin(), file.aliases.end(),
                     [&](const std::string& alias) { return spelled_alike(alias, name); });
}

std::vector<std::string> family_named(const std::string& name) {
  if (is_printed_by_a_driver(name)) return {};
  std::vector<std::string> members;
  for (const DeviceFile& file : built_in_devices())
    if (begins_with(file.device.name, normalized(name))) members.push_back(file.device.name);
  return members.size() > 1 ? members : std::vector<std::string>{};
}

std::vector<std::string> devices_with(const std::string& part) {
  std::vector<std::string> names;
  if (std::none_of(part.begin(), part.end(), is_digit) || normalized(part).size() < 2) return names;
  for (const DeviceFile& file : built_in_devices())
    if (normalized(file.device.name).find(normalized(part)) != std::string::npos) names.push_back(file.device.name);
  return names;
}

}  // namespace meshloom
