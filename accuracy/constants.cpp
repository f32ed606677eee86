#include "accuracy/constants.hpp"

#include <algorithm>

#include "accuracy/host_files.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

Cluster host_of(const char* file) {
  for (const HostFile& each : host_files())
    if (each.name == file) return parse_cluster(std::string(each.text), std::string(each.name));
  throw InputError(file, "is not among the built-in cluster files");
}

// The same device with another memory.
Cluster with_memory(Cluster host, const char* name, Bytes memory) {
  host.device.name = name;
  host.device.memory = memory;
  return host;
}

constexpr Bytes gibibyte{1073741824};

}  // namespace

Constants built_in_constants() {
  const Cluster v100 = host_of("aws_p3_16xlarge.json");
  const Recipe megatron = find_recipe("megatron"), neutral = find_recipe("neutral");
  return {
      {{{"V100-16GB-SXM2", "V100"}, v100},
       {{"V100-32GB-SXM2"}, with_memory(v100, "V100-SXM2-32GB", 32 * gibibyte)},
       {{"A100-40GB-SXM"}, host_of("aws_p4d_24xlarge.json")},
       {{"A100-80GB-SXM", "A100"}, host_of("dgx_a100.json")},
       {{"H100-80GB-SXM", "H100"}, host_of("dgx_h100.json")},
       {{"B200-SXM", "B200"}, host_of("dgx_b200.json")}},
      {{"Megatron-Bridge", megatron, true, false},
       {"Megatron-LM", megatron, false, true},
       {"Megatron-DeepSpeed", megatron, false, true},
       {"DeepSpeed", neutral, false, true},
       {"NeMo AutoModel", neutral, true, false},
       {"NeMo", megatron, true, false},
       {"Aleph Alpha", megatron, true, false},
       {"", neutral, true, false}},
  };
}

const NamedHost* find_host(const Constants& constants, const std::string& gpu) {
  for (const NamedHost& host : constants.hosts)
    if (std::find(host.gpus.begin(), host.gpus.end(), gpu) != host.gpus.end()) return &host;
  return nullptr;
}

const FrameworkHabits& habits_of(const Constants& constants, const std::string& framework) {
  return *std::find_if(constants.frameworks.begin(), constants.frameworks.end(),
                       [&](const FrameworkHabits& habits) { return framework.starts_with(habits.beginning); });
}

}  // namespace meshloom
