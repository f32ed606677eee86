// Files, whole: read one, write one so that a reader never sees half of it, and name its content by a digest.
#pragma once

#include <string>

namespace meshloom {

// "-" reads standard input. Throws InputError naming the path and the system's reason.
std::string read_file(const std::string& path);

// Writes to a temporary file beside the target of `path` and renames it; writes devices, pipes and the like as they
// are; "-" writes standard output. Throws InputError.
void write_file(const std::string& path, const std::string& content);

// Where write_file writes: symbolic links are followed, so that the link stays.
struct WriteTarget {
  std::string path;
  bool direct = false;  // opened as it is: a device, a pipe, a link to nothing
};
WriteTarget write_target(const std::string& path);

// Whether writing one changes the other: the same regular file, or the same name where there is none yet.
bool same_file(const std::string& one, const std::string& other);

// "fnv1a64:" and 16 hex digits: identifies an input file in a plan. Not a protection against forgery.
std::string digest(const std::string& content);

}  // namespace meshloom
