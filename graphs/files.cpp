#include "graphs/files.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "graphs/input_error.hpp"

namespace meshloom {

std::string read_file(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode))
    throw InputError(path, "is a folder; name a file in it");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError(path, fmt::format("cannot be read: {}", std::strerror(errno)));
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_file(const std::string& path, const std::string& content) {
  if (path == "-") {
    if (!std::cout) return;  // an earlier write has said why
    errno = 0;
    std::cout << content << std::flush;
    // A reader that left early (`meshloom … | head`) is no failure.
    if (!std::cout && errno != EPIPE)
      throw InputError("standard output", fmt::format("cannot be written: {}", std::strerror(errno)));
    return;
  }
  const std::string temporary = fmt::format("{}.{}.tmp", path, ::getpid());
  std::ofstream stream(temporary, std::ios::binary);
  stream << content;
  stream.close();
  if (!stream || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    std::remove(temporary.c_str());
    throw InputError(path, fmt::format("cannot be written: {}", reason));
  }
}

std::string digest(const std::string& content) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return fmt::format("fnv1a64:{:016x}", hash);
}

}  // namespace meshloom
