#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "accuracy/coverage.hpp"
#include "accuracy/report.hpp"
#include "accuracy/scatter.hpp"
#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "tools/command_line/accuracy_text.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/input_files.hpp"
#include "tools/command_line/output.hpp"

namespace meshloom {
namespace {

void check_outputs(const AccuracyCommand& command) {
  check_output("--csv", command.csv);
  check_output("--svg", command.svg);
  check_one_standard_output({{"--csv -", is_standard_output(command.csv)},
                             {"--svg -", is_standard_output(command.svg)},
                             {"--json", command.json}});
  std::vector<NamedPath> read{{"RUNS", command.runs}};
  for (const std::string& profile : command.profiles) read.push_back({"--profile", profile});
  check_distinct(read, {{"--csv", command.csv}, {"--svg", command.svg}});
}

// Whether `text` contains `part`, whichever case its letters have; none: yes.
bool contains(const std::string& text, const std::optional<std::string>& part) {
  const auto same = [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); };
  return !part || std::search(text.begin(), text.end(), part->begin(), part->end(), same) != text.end();
}

std::vector<MeasuredRun> selected(const AccuracyCommand& command) {
  std::vector<MeasuredRun> runs = read_measured_runs(command.runs);
  const std::size_t all = runs.size();
  std::erase_if(runs, [&](const MeasuredRun& run) {
    return !contains(run.source, command.source) || !contains(run.gpu, command.gpu) ||
           !contains(run.framework, command.framework);
  });
  if (runs.empty())
    throw InputError(command.runs, fmt::format("none of its {} has this source, GPU and framework; see --source, "
                                               "--gpu and --framework",
                                               counted(static_cast<std::int64_t>(all), "run")));
  return runs;
}

// Each profile must be of a device that some run is on.
std::vector<ProfileFile> profiles_for(const std::vector<MeasuredRun>& runs, const Constants& constants,
                                      const std::vector<std::string>& paths) {
  std::vector<ProfileFile> profiles = read_profiles(paths);
  std::set<std::string> devices;
  for (const MeasuredRun& run : runs)
    if (const DeviceFile* file = find_device(constants, run.gpu)) devices.insert(file->device.name);
  for (const ProfileFile& profile : profiles) {
    const std::string& measured = profile.profile.provenance.device;
    if (std::any_of(devices.begin(), devices.end(), [&](const auto& each) { return same_device(measured, each); }))
      continue;
    throw InputError(
        profile.path,
        fmt::format("/device: was measured on \"{}\", and no run is on that device; the runs' are {}. Give "
                    "a profile of one of them, or name the device as its device file does",
                    measured, fmt::join(devices, ", ")));
  }
  return profiles;
}

// That of a calibration's folder, whether it is there or not.
std::string uncertainty_file(const std::string& folder) {
  return (std::filesystem::path(folder) / "uncertainty.json").string();
}

// With constants that were calibrated, by the errors of that calibration, where they stand beside them.
void add_known_intervals(AccuracyReport& report, const Constants& constants, const std::optional<std::string>& folder) {
  if (const auto own = folder ? read_uncertainty(*folder) : std::nullopt)
    return add_intervals(report, constants, *own, uncertainty_file(*folder));
  add_intervals(report, constants, shipped_uncertainty(), "training_recipes/uncertainty.json");
}

std::string coverage_text(const IntervalCoverage& coverage, const std::optional<std::string>& folder) {
  if (coverage.all.runs == 0) return "";
  const bool lacks_own = folder && coverage.file != uncertainty_file(*folder);
  return fmt::format("\nintervals of {:.0f} % hold {:.1f} % of the measured times, suspect runs apart{}\n",
                     100 * coverage.level, 100 * *coverage.all.share(),
                     !folder     ? std::string()
                     : lacks_own ? fmt::format("; they are the program's own, {} has no uncertainty.json", *folder)
                                 : fmt::format("; by {}", coverage.file));
}

}  // namespace

ExitCode run(const AccuracyCommand& command) {
  check_outputs(command);
  const std::vector<MeasuredRun> runs = selected(command);
  const Constants constants = command.constants ? read_constants(*command.constants) : built_in_constants();
  const std::vector<ProfileFile> profiles = profiles_for(runs, constants, command.profiles);
  std::vector<Outcome> outcomes;
  {
    Progress progress;
    outcomes = predict_all(
        runs, constants,
        [&](std::size_t done) { progress.show(fmt::format("{} of {} runs priced", done, runs.size())); }, profiles);
  }
  AccuracyReport report = make_report(runs, outcomes);
  add_known_intervals(report, constants, command.constants);
  if (command.csv) write_file(*command.csv, report_csv(report));
  if (command.svg) write_file(*command.svg, scatter_svg(report));
  if (command.json)
    write_file("-", report_json(report));
  else if (!is_standard_output(command.csv) && !is_standard_output(command.svg))
    write_file("-", accuracy_text(report, static_cast<std::size_t>(command.worst)) +
                        coverage_text(*report.coverage, command.constants));
  return ExitCode::done;
}

}  // namespace meshloom
