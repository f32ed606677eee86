// What meshloom-profile was asked to do, as a value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/profiler/cpu_backend.hpp"
#include "costmodel/profiler/cuda_backend.hpp"
#include "costmodel/profiler/session.hpp"
#include "costmodel/profiler/work_list.hpp"

namespace meshloom {

enum class BackendChoice { automatic, cpu, cuda };

struct ProfileArguments {
  std::optional<std::string> graph, cluster;  // files
  std::string recipe = "neutral";
  std::vector<std::int64_t> microbatch_sizes;  // empty: the cluster's devices
  std::optional<Sweep> sweep;
  std::optional<Sweep> collectives;  // none: when there are several devices, quick with --sweep quick, else standard
  bool without_collectives = false;
  BackendChoice backend = BackendChoice::automatic;
  CpuOptions cpu;
  CudaOptions cuda;
  std::optional<std::string> device;
  std::string output;
  MeasuringOptions measuring;
  std::optional<Seconds> limit;
  bool restart = false;  // forget the journal
  bool list = false;     // print the work list and measure nothing
  bool json = false;
  std::optional<std::int64_t> run_step;  // steps of the graph to run instead of measuring
};

// Throws InputError. `given` without the program's name; --help, --version and --completion print and exit.
ProfileArguments parse_profile_arguments(const std::vector<std::string>& given);

}  // namespace meshloom
