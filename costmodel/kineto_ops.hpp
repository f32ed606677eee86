// PyTorch's operators as samples of a profile. Private to import_kineto*.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/profile.hpp"

namespace meshloom {

// One call, as the profiler records it: sizes of each argument, empty for scalars and lists.
struct TorchCall {
  std::string name;  // "aten::mm"
  std::vector<std::vector<std::int64_t>> sizes;
  DType dtype = DType::bf16;
  bool causal = false;  // attention
};

struct TorchSample {
  OperatorKey key;
  std::vector<std::int64_t> shape;
};

// None: no profile has a kind for it, or its arguments are not those of one.
std::optional<TorchSample> sample_of(const TorchCall& call);

}  // namespace meshloom
