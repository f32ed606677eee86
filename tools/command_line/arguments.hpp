// From the words of the command line to a Command. The only place that knows CLI11.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/command_line/commands.hpp"

namespace meshloom {

struct Arguments {
  Command command;
  std::size_t threads = 0;  // 0: all cores
};

// `given` without the program's name. Throws InputError: an unknown command or option (with a suggestion), a missing
// one, a value that is no number, no choice or out of range.
Arguments parse_arguments(const std::vector<std::string>& given);

}  // namespace meshloom
