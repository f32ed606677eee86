// Files, whole: read one, write one so that a reader never sees half of it, and name its content by a digest.
#pragma once

#include <string>

namespace meshloom {

// "-" reads standard input. Throws InputError naming the path and the system's reason.
std::string read_file(const std::string& path);

// Writes to a temporary file beside `path` and renames it; "-" writes standard output. Throws InputError.
void write_file(const std::string& path, const std::string& content);

// "fnv1a64:" and 16 hex digits: identifies an input file in a plan. Not a protection against forgery.
std::string digest(const std::string& content);

}  // namespace meshloom
