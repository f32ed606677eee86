// Completion scripts for shells, made from the names of the commands and their options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace meshloom {

struct CommandNames {
  std::string command;               // "plan", "graph gpt"
  std::vector<std::string> options;  // "--global-batch", …
};

// `shell` is "bash", "zsh" or "fish".
std::string completion_script(std::string_view shell, const std::vector<CommandNames>& commands);

}  // namespace meshloom
