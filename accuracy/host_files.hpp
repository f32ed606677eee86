// The cluster files of cluster_specs/ as part of the program: made from host_files.cpp.in when the build is configured.
#pragma once

#include <string_view>
#include <vector>

namespace meshloom {

struct HostFile {
  std::string_view name, text;
};
const std::vector<HostFile>& host_files();

}  // namespace meshloom
