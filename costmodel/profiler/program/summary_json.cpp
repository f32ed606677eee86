#include "costmodel/profiler/program/summary_json.hpp"

#include "graphs/json_input.hpp"

namespace meshloom {

std::string summary_json(const std::string& output, const SessionResult& result) {
  Json skipped = Json::array();
  for (const SkippedTask& each : result.skipped) skipped.push_back({{"task", each.task}, {"reason", each.reason}});
  return Json{{"profile", output},
              {"device", result.profile.provenance.device},
              {"measured", result.measured},
              {"resumed", result.resumed},
              {"uncertain", result.uncertain},
              {"left", result.left},
              {"skipped", skipped}}
             .dump(2) +
         "\n";
}

std::string step_json(const std::vector<StepTimes>& times, float loss, const std::vector<KernelTime>& kernels) {
  const StepTimes& median = times[times.size() / 2];
  Json steps = Json::array();
  for (const StepTimes& each : times) steps.push_back(each.total().value());
  Json by_kernel = Json::array();
  for (const KernelTime& each : kernels)
    by_kernel.push_back({{"op", each.op}, {"backward", each.backward}, {"time_s", each.time.value()}});
  return Json{{"step_s", median.total().value()},
              {"forward_s", median.forward.value()},
              {"backward_s", median.backward.value()},
              {"update_s", median.update.value()},
              {"loss", loss},
              {"steps_s", steps},
              {"kernels", by_kernel}}
             .dump(2) +
         "\n";
}

}  // namespace meshloom
