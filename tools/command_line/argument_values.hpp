// What the words after options mean. Each throws InputError that names the option, the word and what is expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "costmodel/device_mesh.hpp"
#include "graphs/units.hpp"
#include "simulator/noise.hpp"

namespace meshloom {

std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t most);  // from 1
double parse_share(const std::string& option, const std::string& text);                    // "2%", "2 %" or "0.02"
double parse_seconds(const std::string& option, const std::string& text);                  // above 0
double parse_factor(const std::string& option, const std::string& text);                   // above 0, at most 1000
std::vector<std::int64_t> parse_mesh(const std::string& option, const std::string& text);  // "2x4"; axes of 1 are none
std::variant<double, Bytes> parse_memory(const std::string& option, const std::string& text);  // share or "40 GiB"
double parse_share_of_memory(const std::string& option, const std::string& text);          // "90%" or "0.9"; up to 1
std::vector<Submesh> parse_submeshes(const std::string& option, const std::string& text);  // "1x4,2x8"; "all": none
std::vector<std::string> parse_names(const std::string& option, const std::string& text);  // "a,b"; "none": none
Bytes parse_bytes(const std::string& option, const std::string& text);                     // "40 GiB"
Slowdown parse_slowdown(const std::string& option, const std::string& text);               // "rank:2=1.2"
Seconds parse_time(const std::string& option, const std::string& text);                    // "30 days"; above 0
void check_choice(const std::string& place, const std::string& text, const std::vector<std::string>& choices);

// The parts of "auto|1f1b|gpipe"; not those that stand for values, as in "auto|N", nor what follows the choices of
// which several may be given, with commas between.
inline constexpr std::string_view several_choices = "[,...]";
std::vector<std::string> choices_of(std::string type);
// Of --recipe: the recipes that come with the program, or a file.
std::string recipe_choices();
// "help plan" is "plan --help".
std::vector<std::string> with_help_as_option(std::vector<std::string> words);

}  // namespace meshloom
