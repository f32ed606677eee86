#include "graphs/files.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

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

WriteTarget write_target(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) return {path, true};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) return {path, false};
  const std::unique_ptr<char, void (*)(void*)> target(::realpath(path.c_str(), nullptr), &std::free);
  // A link to nothing, or to an open file without a name: opening it is the one way to write there.
  return target ? WriteTarget{target.get(), false} : WriteTarget{path, true};
}

bool same_file(const std::string& one, const std::string& other) {
  struct stat first {
  }, second{};
  const bool first_exists = ::stat(one.c_str(), &first) == 0, second_exists = ::stat(other.c_str(), &second) == 0;
  if (first_exists != second_exists) return false;
  if (first_exists) return S_ISREG(first.st_mode) && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
  std::error_code error;
  const auto canonical = std::filesystem::weakly_canonical(std::filesystem::absolute(one), error);
  return !error && canonical == std::filesystem::weakly_canonical(std::filesystem::absolute(other), error);
}

namespace {

void write_to_standard_output(const std::string& content) {
  if (!std::cout) return;  // an earlier write has said why
  errno = 0;
  std::cout << content << std::flush;
  // A reader that left early (`meshloom … | head`) is no failure.
  if (!std::cout && errno != EPIPE)
    throw InputError("standard output", fmt::format("cannot be written: {}", std::strerror(errno)));
}

}  // namespace

void write_file(const std::string& path, const std::string& content) {
  if (path == "-") return write_to_standard_output(content);
  const WriteTarget target = write_target(path);
  const std::string written = target.direct ? target.path : fmt::format("{}.{}.tmp", target.path, ::getpid());
  errno = 0;
  std::ofstream stream(written, std::ios::binary);
  stream << content;
  stream.close();
  if (target.direct) {
    if (stream || errno == EPIPE) return;
    throw InputError(path, fmt::format("cannot be written: {}", std::strerror(errno)));
  }
  if (!stream || std::rename(written.c_str(), target.path.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    std::remove(written.c_str());
    throw InputError(path, fmt::format("cannot be written: {}", reason));
  }
}

std::string digest(const std::string& content) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return fmt::format("fnv1a64:{:016x}", hash);
}

}  // namespace meshloom
