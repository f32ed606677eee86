#include "tools/command_line/argument_values.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "costmodel/recipe.hpp"
#include "graphs/input_error.hpp"
#include "graphs/json_input.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

constexpr std::int64_t most_of_submesh = 100'000;  // or devices of one

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

}  // namespace

std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = !text.empty() && end == text.data() + text.size();
  if (whole && (error == std::errc::result_out_of_range || value > most) && text[0] != '-')
    throw InputError(option, fmt::format("expected at most {}, found {}", most, text));
  if (!whole || error != std::errc() || value < 1)
    throw InputError(option, fmt::format("expected a whole number of at least 1, found \"{}\"", text));
  return value;
}

double parse_share(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string rest(end, text.data() + text.size());
  const bool is_percentage = rest == "%" || rest == " %";
  if (error != std::errc() || !std::isfinite(value) || value < 0 || !(rest.empty() || is_percentage))
    throw InputError(option, fmt::format("expected a share such as 2% or 0.02, found \"{}\"", text));
  if (!is_percentage && value >= 1)
    throw InputError(option,
                     fmt::format("\"{0}\" would be {1:g} %; write \"{0}%\" or {2:g}", text, 100 * value, value / 100));
  return is_percentage ? value / 100 : value;
}

double parse_factor(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0) || value > 1000)
    throw InputError(option, fmt::format("expected a number above 0 and at most 1000, found \"{}\"", text));
  return value;
}

double parse_share_of_memory(const std::string& option, const std::string& text) {
  const double share = text == "1" || text == "1.0" ? 1 : parse_share(option, text);
  if (!(share > 0) || share > 1)
    throw InputError(option, fmt::format("expected a share above 0 and at most 100%, found \"{}\"", text));
  return share;
}

std::vector<Submesh> parse_submeshes(const std::string& option, const std::string& text) {
  if (text == "all") return {};
  std::vector<Submesh> submeshes;
  for (const std::string& part : split(text)) {
    Submesh submesh;
    const char *last = part.data() + part.size(), *times = part.data() + std::min(part.find('x'), part.size());
    const auto hosts = std::from_chars(part.data(), times, submesh.hosts);
    const bool begins = hosts.ec == std::errc() && hosts.ptr == times && times != last;
    const auto devices = begins ? std::from_chars(times + 1, last, submesh.devices_per_host) : hosts;
    if (!begins || devices.ec != std::errc() || devices.ptr != last || submesh.hosts < 1 ||
        submesh.devices_per_host < 1 || submesh.hosts > most_of_submesh || submesh.devices_per_host > most_of_submesh)
      throw InputError(option, fmt::format("expected hosts x devices of each, such as 1x4 or 1x4,2x8, or all; found "
                                           "\"{}\"",
                                           part));
    submeshes.push_back(submesh);
  }
  return submeshes;
}

std::vector<std::string> parse_names(const std::string& option, const std::string& text) {
  if (text == "none") return {};
  std::vector<std::string> names = split(text);
  if (std::find(names.begin(), names.end(), "") != names.end())
    throw InputError(option, fmt::format("expected names with commas between them, such as h4,h8, or none; found "
                                         "\"{}\"",
                                         text));
  return names;
}

Bytes parse_bytes(const std::string& option, const std::string& text) {
  const Bytes bytes(JsonInput(std::make_shared<const Json>(text), option).bytes());
  if (!(bytes > Bytes(0))) throw InputError(option, fmt::format("must be above 0, is \"{}\"", text));
  return bytes;
}

Slowdown parse_slowdown(const std::string& option, const std::string& text) {
  const std::size_t colon = text.find(':'), equals = text.find('=');
  const std::string who = text.substr(0, colon);
  Slowdown slowdown;
  bool valid = colon != std::string::npos && equals != std::string::npos && colon < equals;
  if (valid) {
    const char *first = text.data() + colon + 1, *last = text.data() + equals, *end = text.data() + text.size();
    const auto number = std::from_chars(first, last, slowdown.number);
    const auto factor = std::from_chars(last + 1, end, slowdown.factor);
    valid = (who == "rank" || who == "device") && number.ec == std::errc() && number.ptr == last &&
            factor.ec == std::errc() && factor.ptr == end && slowdown.number >= 0 && slowdown.factor >= 1 &&
            slowdown.factor <= 1000;
  }
  if (!valid)
    throw InputError(option, fmt::format("expected who and a factor from 1 to 1000, such as rank:2=1.2 or "
                                         "device:17=1.2, found \"{}\"",
                                         text));
  slowdown.of = who == "rank" ? Slowdown::Of::rank : Slowdown::Of::device;
  return slowdown;
}

Seconds parse_time(const std::string& option, const std::string& text) {
  constexpr std::pair<std::string_view, double> units[] = {
      {"s", 1}, {"min", 60}, {"h", 3600}, {"day", 86400}, {"days", 86400}};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const char* unit = end;
  while (unit != text.data() + text.size() && *unit == ' ') ++unit;
  for (const auto& [name, seconds] : units)
    if (error == std::errc() && name == std::string(unit, text.data() + text.size()) && std::isfinite(value) &&
        value > 0)
      return Seconds(value * seconds);
  throw InputError(
      option, fmt::format("expected a time above 0 in s, min, h or days, such as \"30 days\", found \"{}\"", text));
}

std::vector<std::int64_t> parse_mesh(const std::string& option, const std::string& text) {
  std::vector<std::int64_t> sizes;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find('x', start), text.size());
    std::int64_t size = 0;
    const auto [rest, error] = std::from_chars(text.data() + start, text.data() + end, size);
    if (error != std::errc() || rest != text.data() + end || size < 1)
      throw InputError(option, fmt::format("expected sizes of axes such as 8 or 2x4, found \"{}\"", text));
    if (size > 1) sizes.push_back(size);
    start = end + 1;
  }
  return sizes;
}

std::variant<double, Bytes> parse_memory(const std::string& option, const std::string& text) {
  const bool has_unit_of_bytes = !text.empty() && text.back() == 'B';
  if (has_unit_of_bytes) return Bytes(JsonInput(std::make_shared<const Json>(text), option).bytes());
  try {
    return parse_share(option, text);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}; or give bytes, such as 40GiB", error.what()));
  }
}

void check_choice(const std::string& place, const std::string& text, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), text) != choices.end()) return;
  throw InputError(place, fmt::format("unknown value \"{}\"; expected one of: {}{}", text, joined(choices, ", "),
                                      did_you_mean(text, choices)));
}

double parse_seconds(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value <= 0)
    throw InputError(option,
                     fmt::format("expected a number of seconds above 0, such as 60 or 0.5, found \"{}\"", text));
  return value;
}

std::string recipe_choices() { return fmt::format("{}|FILE", fmt::join(recipe_presets(), "|")); }

std::vector<std::string> choices_of(std::string type) {
  std::vector<std::string> choices;
  if (type.ends_with(several_choices)) type.resize(type.size() - several_choices.size());
  for (std::size_t start = 0; start <= type.size();) {
    const std::size_t end = std::min(type.find('|', start), type.size());
    const std::string choice = type.substr(start, end - start);
    if (choice != "N" && choice != "NAME" && choice != "FILE" && choice != "SHARE" && choice != "BYTES")
      choices.push_back(choice);
    start = end + 1;
  }
  return choices;
}

std::vector<std::string> with_help_as_option(std::vector<std::string> words) {
  if (words.empty() || words[0] != "help") return words;
  words.erase(words.begin());
  words.push_back("--help");
  return words;
}

}  // namespace meshloom
