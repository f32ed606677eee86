// What the words after options mean. Each throws InputError that names the option, the word and what is expected.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace meshloom {

std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t most);  // from 1
double parse_share(const std::string& option, const std::string& text);    // "2%", "2 %" or "0.02"
double parse_seconds(const std::string& option, const std::string& text);  // above 0
void check_choice(const std::string& place, const std::string& text, const std::vector<std::string>& choices);

}  // namespace meshloom
