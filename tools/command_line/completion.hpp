// Completion scripts for shells, made from the names of the commands and their options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace meshloom {

struct OptionValues {
  std::string option;               // "--schedule"; "" for the command's argument
  std::vector<std::string> values;  // "auto", "1f1b", …
  bool takes_several = false;       // with commas between
};

struct CommandNames {
  std::string command;               // "plan", "graph gpt"
  std::vector<std::string> options;  // "--global-batch", …
  std::vector<OptionValues> values;  // of the options that have a fixed set of them
};

// `shell` is "bash", "zsh" or "fish".
std::string completion_script(std::string_view shell, const std::vector<CommandNames>& commands);

}  // namespace meshloom
