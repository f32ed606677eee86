// Lines of a text that other programs wrote, and complaints that name file and line. Private to import_*.cpp.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graphs/input_error.hpp"

namespace meshloom {

struct TextLine {
  std::string_view text;  // without its end
  std::size_t number = 1;
};

inline std::vector<TextLine> lines_of(std::string_view text) {
  std::vector<TextLine> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.push_back({line, number});
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

[[noreturn]] inline void fail_at(const std::string& file, std::size_t line, const std::string& message) {
  throw InputError(fmt::format("{}:{}", file, line), message);
}

// Names out of the text end up in JSON, which is UTF-8.
inline void check_utf8(std::string_view text, const std::string& file, std::size_t line) {
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const std::size_t more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >> 4 == 0xe ? 2 : 3;
    bool valid = first < 0x80 || (first >= 0xc2 && first < 0xf0 && more < 3);  // beyond U+FFFF no log has a name
    for (std::size_t i = 1; i <= more && valid; ++i)
      valid = at + i < text.size() && (static_cast<unsigned char>(text[at + i]) & 0xc0) == 0x80;
    if (valid && more == 2) {  // neither overlong nor half of a pair
      const auto second = static_cast<unsigned char>(text[at + 1]);
      valid = (first != 0xe0 || second >= 0xa0) && (first != 0xed || second < 0xa0);
    }
    if (!valid) fail_at(file, line, fmt::format("byte {} of the line is no UTF-8 text; the file is damaged", at + 1));
    at += more + 1;
  }
}

inline std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t at = text.find_first_not_of(" \t"); at != std::string_view::npos;) {
    const std::size_t end = text.find_first_of(" \t", at);
    words.push_back(text.substr(at, end == std::string_view::npos ? end : end - at));
    at = end == std::string_view::npos ? end : text.find_first_not_of(" \t", end);
  }
  return words;
}

inline std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// The whole of `text`, and nothing else.
template <typename Number>
std::optional<Number> number_in(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

}  // namespace meshloom
