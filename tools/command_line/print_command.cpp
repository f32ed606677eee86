#include "graphs/files.hpp"
#include "tools/command_line/commands.hpp"

namespace meshloom {

ExitCode run(const PrintCommand& command) {
  write_file("-", command.text);
  return ExitCode::done;
}

}  // namespace meshloom
