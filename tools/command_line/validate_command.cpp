#include <fmt/format.h>

#include <algorithm>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/json_output.hpp"

namespace meshloom {

ExitCode run(const ValidateCommand& command) {
  if (std::count(command.files.begin(), command.files.end(), "-") > 1)
    throw InputError("FILE", "only one of the files can be standard input");
  std::vector<FileFinding> findings;
  for (const std::string& file : command.files) findings.push_back(check_file(file));
  std::string text;
  for (const FileFinding& finding : findings) {
    if (finding.error)
      fmt::print(stderr, "error: {}\n", *finding.error);
    else
      text += fmt::format("{}: valid {}\n", finding.file, *finding.schema);
  }
  write_file("-", command.json ? findings_json(findings) : text);
  const bool failed = std::any_of(findings.begin(), findings.end(), [](const auto& each) { return each.error; });
  return failed ? ExitCode::bad_input : ExitCode::done;
}

}  // namespace meshloom
