#include "graphs/extents.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

Extent parse_factor(const std::string& word, const DimensionNames& names, const std::string& place) {
  if (const std::optional<Extent> named = names.find(word)) return *named;
  std::int64_t size = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), size);
  if (error == std::errc() && end == word.data() + word.size()) {
    if (size < 1) throw InputError(place, fmt::format("a size must be at least 1, is {}", size));
    return {size, false};
  }
  std::vector<std::string> known{names.batch_dim};
  for (const auto& [name, unused] : names.dims) known.push_back(name);
  const std::string guess = did_you_mean(word, known);
  throw InputError(place, fmt::format("unknown dimension \"{}\"{}", word,
                                      guess.empty() ? "; add it to \"dims\" or write a number" : guess));
}

}  // namespace

std::optional<Extent> DimensionNames::find(const std::string& name) const {
  if (name == batch_dim) return Extent{1, true};
  const auto found = std::find_if(dims.begin(), dims.end(), [&](const auto& dim) { return dim.first == name; });
  if (found == dims.end()) return std::nullopt;
  return Extent{found->second, false};
}

Extent parse_extent(const std::string& text, const DimensionNames& names, const std::string& place) {
  Extent result;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('*', begin), text.size());
    const Extent factor = parse_factor(trimmed(text.substr(begin, end - begin)), names, place);
    const std::optional<Extent> larger = product(result, factor);
    if (!larger)
      throw InputError(place, result.scales_with_batch && factor.scales_with_batch
                                  ? fmt::format("the batch dimension \"{}\" stands twice", names.batch_dim)
                                  : fmt::format("\"{}\" is larger than 2^63", text));
    result = *larger;
    begin = end + 1;
  }
  return result;
}

std::string print_extent(Extent extent, const std::string& batch_dim) {
  if (!extent.scales_with_batch) return std::to_string(extent.size);
  return extent.size == 1 ? batch_dim : fmt::format("{}*{}", extent.size, batch_dim);
}

std::optional<Extent> product(Extent a, Extent b) {
  Extent result{0, a.scales_with_batch || b.scales_with_batch};
  if (a.scales_with_batch && b.scales_with_batch) return std::nullopt;
  if (__builtin_mul_overflow(a.size, b.size, &result.size)) return std::nullopt;
  return result;
}

std::optional<Extent> quotient(Extent whole, Extent part) {
  if (part.scales_with_batch && !whole.scales_with_batch) return std::nullopt;
  if (whole.size % part.size != 0) return std::nullopt;
  return Extent{whole.size / part.size, whole.scales_with_batch && !part.scales_with_batch};
}

}  // namespace meshloom
