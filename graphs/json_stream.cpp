#include "graphs/json_stream.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>

#include "graphs/compressed_input.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

constexpr std::size_t buffer_size = 1 << 16;

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
// What numbers and literals are made of, right ones and wrong ones such as NaN.
bool is_token(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' || c == '.';
}

std::string_view without_digits(std::string_view text) {
  const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
  return text.substr(static_cast<std::size_t>(end - text.begin()));
}

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  std::string_view rest = without_digits(text);
  const std::size_t whole = text.size() - rest.size();
  if (whole == 0 || (whole > 1 && text[0] == '0')) return false;
  if (rest.starts_with('.')) {
    const std::string_view fraction = rest.substr(1);
    rest = without_digits(fraction);
    if (rest.size() == fraction.size()) return false;
  }
  if (rest.empty()) return true;
  if (rest[0] != 'e' && rest[0] != 'E') return false;
  rest.remove_prefix(1);
  if (!rest.empty() && (rest[0] == '+' || rest[0] == '-')) rest.remove_prefix(1);
  return !rest.empty() && without_digits(rest).empty();
}

bool is_whole(std::string_view number) { return number.find_first_of(".eE") == std::string_view::npos; }

void append_utf8(std::string& text, std::uint32_t code) {
  const auto byte = [&](std::uint32_t value) { text += static_cast<char>(value); };
  if (code < 0x80) return byte(code);
  if (code < 0x800) return byte(0xC0 | code >> 6), byte(0x80 | (code & 0x3F));
  if (code < 0x10000) return byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F));
  byte(0xF0 | code >> 18), byte(0x80 | (code >> 12 & 0x3F)), byte(0x80 | (code >> 6 & 0x3F)),
      byte(0x80 | (code & 0x3F));
}

std::string shown(char c) {
  return c >= 0x20 && c < 0x7F ? fmt::format("'{}'", c) : fmt::format("byte 0x{:02x}", static_cast<unsigned char>(c));
}

}  // namespace

JsonStream::JsonStream(const std::string& path)
    : input_(std::make_unique<CompressedInput>(path)), buffer_(buffer_size), at_(buffer_.data()), end_(at_) {}

JsonStream::JsonStream(const std::string& text, const std::string& file)
    : input_(std::make_unique<CompressedInput>(text, file)), buffer_(buffer_size), at_(buffer_.data()), end_(at_) {}

JsonStream::~JsonStream() = default;

const std::string& JsonStream::file() const { return input_->file(); }

std::string JsonStream::place() const {
  std::string pointer;
  for (const auto& step : path_) pointer += std::visit([](const auto& part) { return fmt::format("/{}", part); }, step);
  return pointer.empty() ? file() : file() + ": " + pointer;
}

void JsonStream::fail(const std::string& message) const { throw InputError(place(), message); }

void JsonStream::fail_syntax(const std::string& message) const {
  fail(fmt::format("is not valid JSON: {} (byte {})", message,
                   consumed_ + static_cast<std::size_t>(at_ - buffer_.data()) + 1));
}

// So that a number or literal is never split; fewer bytes only at the end of the file.
void JsonStream::ensure_token() {
  if (end_ - at_ > static_cast<std::ptrdiff_t>(longest_token)) return;
  const std::size_t left = static_cast<std::size_t>(end_ - at_);
  consumed_ += static_cast<std::size_t>(at_ - buffer_.data());
  std::memmove(buffer_.data(), at_, left);
  at_ = buffer_.data();
  end_ = at_ + left;
  end_ += input_->read(buffer_.data() + left, buffer_.size() - left);
}

void JsonStream::skip_space() {
  ensure_token();
  while (at_ < end_ && is_space(*at_))
    if (++at_ == end_) ensure_token();
  ensure_token();
}

char JsonStream::peek() {
  skip_space();
  if (at_ == end_ && is_blank_) fail("is empty; expected JSON");
  is_blank_ = false;
  if (at_ == end_) fail_at_end();
  return *at_;
}

void JsonStream::fail_at_end() const { fail("the file ends here, it is cut off; copy or write it again"); }

// The number or literal that comes next; empty when something else does.
std::string_view JsonStream::token() {
  peek();
  const char* most = std::min(end_, at_ + longest_token);
  return {at_, static_cast<std::size_t>(std::find_if_not(at_, most, is_token) - at_)};
}

// The value that comes next, as a message names it.
std::string JsonStream::found() {
  const char first = peek();
  if (first == '{') return "an object";
  if (first == '[') return "an array";
  if (first == '"') {
    const std::string text = string();
    return fmt::format("the string \"{}{}\"", text.substr(0, 40), text.size() > 40 ? "…" : "");
  }
  const std::string_view text = token();
  if (text.empty()) return shown(first);
  return is_number(text) ? fmt::format("the number {}", text) : std::string(text);
}

bool JsonStream::begin(char open, char close) {
  if (peek() != open) fail(fmt::format("expected {}, found {}", open == '[' ? "an array" : "an object", found()));
  ++at_;
  if (peek() != close) return true;
  ++at_;
  return false;
}

bool JsonStream::next(char close) {
  const char c = peek();
  if (c != ',' && c != close) fail_syntax(fmt::format("expected ',' or '{}', found {}", close, found()));
  ++at_;
  return c == ',';
}

std::string_view JsonStream::member(const JsonKeys& keys, std::uint64_t& seen) {
  if (peek() != '"') fail_syntax(fmt::format("expected a key in quotes, found {}", found()));
  const std::string name = string();
  const std::size_t required = keys.required.size(), count = required + keys.optional.size();
  assert(count <= 64);
  const auto key = [&](std::size_t i) { return i < required ? keys.required[i] : keys.optional[i - required]; };
  std::size_t found_at = 0;
  while (found_at < count && key(found_at) != name) ++found_at;
  if (found_at == count) {
    std::vector<std::string> known;
    for (std::size_t i = 0; i < count; ++i) known.emplace_back(key(i));
    const std::string guess = did_you_mean(name, known);
    fail(fmt::format("unknown key \"{}\"{}", name,
                     guess.empty() ? fmt::format("; allowed here: {}", fmt::join(known, ", ")) : guess));
  }
  if (seen >> found_at & 1) fail(fmt::format("the key \"{}\" stands twice in one object; keep one", name));
  seen |= std::uint64_t{1} << found_at;
  if (peek() != ':') fail_syntax(fmt::format("expected ':' after \"{}\", found {}", name, found()));
  ++at_;
  return key(found_at);
}

void JsonStream::check_required(const JsonKeys& keys, std::uint64_t seen) const {
  for (std::size_t i = 0; i < keys.required.size(); ++i)
    if (!(seen >> i & 1)) fail(fmt::format("missing key \"{}\"", keys.required[i]));
}

void JsonStream::fail_integer(std::int64_t least, std::int64_t most) {
  const std::string_view text = token();
  if (is_number(text) && is_whole(text))
    fail(fmt::format("the number {} is too {}; numbers here go from {} to {}", text,
                     text.starts_with('-') ? "small" : "large", least, most));
  fail(fmt::format("expected a whole number, found {}{}", found(),
                   is_number(text) ? "; write it in digits, without fraction or exponent" : ""));
}

std::int64_t JsonStream::integer(std::int64_t least, std::int64_t most) {
  peek();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(at_, end_, value);
  const bool has_leading_zero = end - at_ > 1 && *at_ == '0';
  const bool is_more = end < end_ && is_token(*end);
  if (error != std::errc() || has_leading_zero || is_more || (value <= 0 && !is_number({at_, end})))
    fail_integer(least, most);
  if (value < least) fail(fmt::format("must be at least {}, is {}", least, value));
  if (value > most) fail(fmt::format("must be at most {}, is {}", most, value));
  at_ = end;
  return value;
}

std::optional<std::int64_t> JsonStream::integer_or_null(std::int64_t least) {
  if (token() != "null") return integer(least);
  at_ += 4;
  return std::nullopt;
}

void JsonStream::integers(std::int64_t least, std::vector<std::int64_t>& out) {
  out.clear();
  array([&](std::size_t) { out.push_back(integer(least)); });
}

double JsonStream::number(double least) {
  const std::string_view text = token();
  if (!is_number(text)) fail(fmt::format("expected a number, found {}", found()));
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) fail(fmt::format("the number {} is out of range", text));
  if (value < least) fail(fmt::format("must be at least {}, is {}", least, text));
  at_ = end;
  return value;
}

char JsonStream::take() {
  ensure_token();
  if (at_ == end_) fail_at_end();
  return *at_++;
}

std::string JsonStream::string() {
  if (peek() != '"') fail(fmt::format("expected a string, found {}", found()));
  ++at_;
  std::string text;
  for (char c = take(); c != '"'; c = take()) {
    if (static_cast<unsigned char>(c) < 0x20) fail_syntax("a string holds a control character; escape it");
    if (c == '\\')
      append_escape(text);
    else
      text += c;
  }
  return text;
}

std::uint32_t JsonStream::hex_digits() {
  std::uint32_t code = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = take();
    const char digit[] = {c};
    std::uint32_t value = 0;
    if (std::from_chars(digit, digit + 1, value, 16).ec != std::errc()) fail_syntax("\\u needs four hex digits");
    code = code << 4 | value;
  }
  return code;
}

void JsonStream::append_escape(std::string& text) {
  constexpr std::string_view escapes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  const char c = take();
  if (const std::size_t i = escapes.find(c); i != std::string_view::npos) {
    text += meanings[i];
    return;
  }
  if (c != 'u') fail_syntax(fmt::format("unknown escape \\ before {}", shown(c)));
  std::uint32_t code = hex_digits();
  const bool is_high = code >= 0xD800 && code < 0xDC00;
  if (is_high && take() == '\\' && take() == 'u') {
    const std::uint32_t low = hex_digits();
    if (low >= 0xDC00 && low < 0xE000) return append_utf8(text, 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00));
  }
  if (code >= 0xD800 && code < 0xE000) fail_syntax("half of a surrogate pair stands alone");
  append_utf8(text, code);
}

void JsonStream::end() {
  skip_space();
  if (at_ < end_) fail(fmt::format("something follows the JSON value: {}; remove it", found()));
}

}  // namespace meshloom
