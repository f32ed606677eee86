// Reading large JSON files that programs write, plain or gzip: in one pass, without a document in memory; every
// complaint names file and pointer. The reader says what it expects, value by value:
//
//   JsonStream stream("table.json.gz");
//   stream.object({.required = {"layers", "times"}}, [&](std::string_view key) {
//     if (key == "layers") layers = stream.integer(1);
//     if (key == "times") stream.array([&](std::size_t) { times.push_back(stream.number(0)); });
//   });
//   stream.end();
//
// For small files that people write, graphs/json_input.hpp is more comfortable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace meshloom {

class CompressedInput;

struct JsonKeys {
  std::vector<std::string_view> required = {}, optional = {};  // at most 64 in all
};

class JsonStream {
 public:
  explicit JsonStream(const std::string& path);  // "-" is standard input
  JsonStream(const std::string& text, const std::string& file);
  ~JsonStream();
  JsonStream(const JsonStream&) = delete;
  JsonStream& operator=(const JsonStream&) = delete;

  const std::string& file() const;
  std::string place() const;  // "file: /pointer" of the value last begun; at the root "file"
  [[noreturn]] void fail(const std::string& message) const;

  // Calls `visit` with each key, in file order; it must read the value. Fails: no object, a key that is unknown, given
  // twice or missing.
  template <typename Visit>
  void object(const JsonKeys& keys, const Visit& visit) {
    std::uint64_t seen = 0;
    for (bool more = begin('{', '}'); more; more = next('}')) {
      const std::string_view key = member(keys, seen);
      path_.push_back(key);
      visit(key);
      path_.pop_back();
    }
    check_required(keys, seen);
  }

  // Calls `visit` with each position; it must read the element.
  template <typename Visit>
  void array(const Visit& visit) {
    std::size_t position = 0;
    for (bool more = begin('[', ']'); more; more = next(']'), ++position) {
      path_.push_back(position);
      visit(position);
      path_.pop_back();
    }
  }

  // Each of these fails with the place when the value is of another type or out of range. A whole number is written in
  // digits, without fraction or exponent.
  std::int64_t integer(std::int64_t least, std::int64_t most = INT64_MAX);
  std::optional<std::int64_t> integer_or_null(std::int64_t least);
  void integers(std::int64_t least, std::vector<std::int64_t>& out);  // an array of them; `out` is overwritten
  double number(double least);                                        // finite
  std::string string();

  // Fails when anything but space follows.
  void end();

 private:
  static constexpr std::size_t longest_token = 64;

  void ensure_token();
  void skip_space();
  char peek();
  std::string_view token();
  std::string found();
  bool begin(char open, char close);
  bool next(char close);
  std::string_view member(const JsonKeys& keys, std::uint64_t& seen);
  void check_required(const JsonKeys& keys, std::uint64_t seen) const;
  void append_escape(std::string& text);
  std::uint32_t hex_digits();
  char take();
  [[noreturn]] void fail_syntax(const std::string& message) const;
  [[noreturn]] void fail_at_end() const;
  [[noreturn]] void fail_integer(std::int64_t least, std::int64_t most);

  std::unique_ptr<CompressedInput> input_;
  std::vector<char> buffer_;
  const char* at_ = nullptr;   // the next byte
  const char* end_ = nullptr;  // of what is in the buffer
  std::size_t consumed_ = 0;   // bytes before the buffer
  bool is_blank_ = true;       // nothing but space so far
  std::vector<std::variant<std::string_view, std::size_t>> path_;
};

}  // namespace meshloom
