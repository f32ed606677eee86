// Reading JSON that people write: a value together with its place, so that every complaint names file and pointer.
// Include this only in *_json.cpp files: nlohmann/json is a heavy header.
//
//   JsonInput root = read_json_file("cluster.json");
//   root.only_keys({"schema", "name", "hosts"});
//   std::int64_t hosts = root.at("hosts").integer(1);
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graphs/input_error.hpp"

namespace meshloom {

using Json = nlohmann::ordered_json;

class JsonInput {
 public:
  // The document is shared by all values taken from it.
  JsonInput(std::shared_ptr<const Json> document, std::string file);

  const std::string& file() const { return file_; }
  std::string place() const;  // "file: /pointer"; at the root "file"
  [[noreturn]] void fail(const std::string& message) const;

  bool is_string() const { return value_->is_string(); }
  bool is_number() const { return value_->is_number(); }
  bool is_object() const { return value_->is_object(); }
  bool is_array() const { return value_->is_array(); }
  bool is_null() const { return value_->is_null(); }
  const Json& raw() const { return *value_; }

  // Each of these fails with the place when the value is of another type or out of range.
  std::string string() const;
  bool boolean() const;
  std::int64_t integer(std::int64_t least, std::int64_t most = INT64_MAX) const;
  double number(double least, double most = 1e300) const;          // finite
  std::vector<JsonInput> elements() const;                         // of an array
  std::vector<std::pair<std::string, JsonInput>> members() const;  // of an object, in file order
  std::vector<std::string> strings() const;                        // an array of strings

  JsonInput at(const std::string& key) const;                             // fails: missing key "…"
  std::optional<JsonInput> find(const std::string& key) const;            // none also when the value is null
  void only_keys(std::initializer_list<std::string_view> allowed) const;  // fails: unknown key "…"; did you mean …
  // One of `names`, by index; fails with the list and a suggestion.
  std::size_t one_of(const std::vector<std::string>& names) const;

  // Quantities with units in strings: "80 GiB", "312 TFLOP/s", "25 GB/s", "200 Gbit/s", "5 us". The unit must be of
  // the dimension asked for; negative, NaN and infinite values are refused.
  double bytes() const;
  double bytes_per_second() const;
  double flops_per_second() const;
  double seconds() const;

 private:
  double quantity(std::string_view dimension) const;

  std::shared_ptr<const Json> document_;
  const Json* value_;
  std::string file_;
  std::string pointer_;
};

// Reads and parses; `path` may be "-" for standard input. Refuses: a missing file, broken JSON (with line and column),
// a key given twice in one object, an empty file.
JsonInput read_json_file(const std::string& path);
JsonInput parse_json(const std::string& text, const std::string& file);

// Refuses a document whose "schema" is not `expected`, saying which it is.
void expect_schema(const JsonInput& root, std::string_view expected);

}  // namespace meshloom
