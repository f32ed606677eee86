#include "graphs/input_error.hpp"
#include "tools/command_line/arguments_parts.hpp"

namespace meshloom {
namespace {

CLI::App& add_format(CLI::App& group, Parsed& parsed, const std::string& name, ImportFormat format,
                     const std::string& help, const std::string& example) {
  ImportCommand& import = parsed.import;
  CLI::App& app = add_command(group, name, help, example, parsed, [&import, format] {
    import.format = format;
    return import;
  });
  ImportOptions& options = import.options;
  app.add_option("FILE", import.file, "The file, plain or gzip; - for standard input")->required();
  add_path(app, "-o,--output", import.output, "Write the profile (meshloom.profile/1)");
  add_path(app, "--device", options.device, "The device that was measured, instead of what the file says")
      ->type_name("NAME");
  add_path(app, "--measured", options.measured, "When it was measured, as text")->type_name("DATE");
  add_path(app, "--host", options.host, "The machine")->type_name("NAME");
  CLI::Option* cluster =
      add_path(app, "--cluster", import.cluster, "Cluster file: report what the model says of each sample");
  app.add_option("--recipe", import.recipe, "With --cluster: the recipe of the model; neutral unless told")
      ->type_name("neutral|megatron|alpa|FILE")
      ->needs(cluster);
  app.add_option("--profile-device-is", import.stand_ins,
                 "With --cluster: compare times of this device though the cluster has another")
      ->type_name("NAME")
      ->needs(cluster);
  add_json(app, import.json, "the profile's keys and the report");
  return app;
}

// "2x8": hosts, devices of each.
std::pair<std::int64_t, std::int64_t> parse_group(const std::string& option, const std::string& text) {
  const std::size_t cross = text.find('x');
  if (cross == std::string::npos)
    throw InputError(option, fmt::format("\"{}\" is no group; write hosts x devices of each, as in 2x8", text));
  return {parse_integer(option, text.substr(0, cross), most_hosts),
          parse_integer(option, text.substr(cross + 1), most_hosts)};
}

}  // namespace

void add_import(CLI::App& root, Parsed& parsed) {
  CLI::App* group = root.add_subcommand("import", "Make a profile of what other programs measured");
  group->require_subcommand(1);
  group->footer("Example:\n  meshloom import nccl-tests all_reduce.log -o profile.json");
  ImportOptions& options = parsed.import.options;

  CLI::App& nccl = add_format(*group, parsed, "nccl-tests", ImportFormat::nccl_tests, "Output of nccl-tests",
                              "meshloom import nccl-tests all_reduce.log -o profile.json --cluster "
                              "cluster_specs/dgx_h100.json");
  add_choice(nccl, "--collective", {"all_gather", "reduce_scatter", "all_reduce", "all_to_all", "send_receive"},
             "What was measured, where the output does not name the program",
             [&options](const std::string& text) { options.collective = measured_collective_named(text); });
  add_text(nccl, "--group", "HxD", "Hosts and devices of each, where the output lists no ranks",
           [&options](const std::string& text) { options.group = parse_group("--group", text); });
  nccl.add_flag("--in-place", options.in_place, "Take the in-place columns");

  CLI::App& kineto = add_format(*group, parsed, "kineto", ImportFormat::kineto,
                                "PyTorch profiler: Chrome trace, or table of key_averages by input shape",
                                "meshloom import kineto trace.json -o profile.json");
  add_choice(kineto, "--dtype", {"bf16", "fp16", "fp32"}, "What was computed in, where the file does not say it",
             [&options](const std::string& text) { options.dtype = dtype_named(text); });

  add_format(*group, parsed, "csv", ImportFormat::csv, "Table of times, units in its heading",
             "meshloom import csv times.csv --device A100-SXM4-80GB -o profile.json");
}

}  // namespace meshloom
