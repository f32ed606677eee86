// The command line of meshloom: parse the words, run the command, and turn what is thrown into an exit code.
#include <fmt/format.h>
#include <tbb/global_control.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>

#include "graphs/input_error.hpp"
#include "tools/command_line/arguments.hpp"

namespace meshloom {
namespace {

ExitCode run_words(const std::vector<std::string>& words) {
  const Arguments arguments = parse_arguments(words);
  std::optional<tbb::global_control> bound;
  if (arguments.threads > 0) bound.emplace(tbb::global_control::max_allowed_parallelism, arguments.threads);
  return std::visit([](const auto& command) { return run(command); }, arguments.command);
}

ExitCode run_guarded(const std::vector<std::string>& words) {
  try {
    return run_words(words);
  } catch (const InputError& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return ExitCode::bad_input;
  } catch (const std::exception& error) {
    fmt::print(stderr, "internal error: {}; please report\n", error.what());
    return ExitCode::internal_error;
  }
}

}  // namespace
}  // namespace meshloom

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return static_cast<int>(meshloom::run_guarded({argv + 1, argv + argc}));
}
