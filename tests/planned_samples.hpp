// A small planned model for tests that need a real plan.
#pragma once

#include "graphs/builders.hpp"
#include "tools/join/make_plan.hpp"

namespace meshloom {

inline PlanningInput small_gpt_on_v100s() {
  GptOptions options;
  options.layers = 4, options.hidden = 2048, options.heads = 16, options.seq_len = 512, options.vocab = 8192;
  return {build_gpt(options),
          read_cluster(MESHLOOM_SOURCE_DIR "/cluster_specs/aws_p3_16xlarge.json"),
          find_recipe("neutral"),
          {},
          {}};
}

inline MakePlanOptions batch_of(std::int64_t global_batch) {
  MakePlanOptions options;
  options.search.global_batch = global_batch;
  return options;
}

}  // namespace meshloom
