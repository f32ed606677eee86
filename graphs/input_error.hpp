// Bad input: the one exception a user may cause. Its text names the place, the value and the remedy, in that order:
//
//   graphs/zoo/gpt2.json: /ops/17/inputs/1: unknown tensor "h_3_out"; did you mean "h3_out"?
//
// The command line prints it after "error: " and exits 2. Anything else that is thrown is a bug and exits 1.
#pragma once

#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace meshloom {

class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  // `place` is a file and a JSON pointer, or an option's name; it is printed before the message and a colon.
  InputError(const std::string& place, const std::string& message) : std::runtime_error(place + ": " + message) {}
};

// The candidate within a small edit distance of `word` (a third of its length, at least 1), or none. Ties: the first.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

// `; did you mean "…"?` or the empty string.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace meshloom
