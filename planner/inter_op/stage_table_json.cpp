#include "planner/inter_op/stage_table_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <tuple>

#include "graphs/input_error.hpp"
#include "graphs/json_stream.hpp"

namespace meshloom {
namespace {

constexpr std::string_view schema = "meshloom.stage_table/1";
// The search keeps something for each layer and device, layer and submesh, device and submesh; beyond these products
// nobody means it.
constexpr std::int64_t most_layers = 1 << 16, most_devices = 1 << 22, most_pairs = 1 << 26,
                       most_microbatches = std::int64_t{1} << 31;

class TableReader {
 public:
  explicit TableReader(JsonStream& stream) : stream_(stream) {}

  ConfiguredProblem read() {
    problem_.placement = Placement::devices_only;
    static const JsonKeys keys{
        .required = {"schema", "layers", "hosts", "devices_per_host", "microbatches", "submeshes", "entries"}};
    stream_.object(keys, [&](std::string_view key) { read_member(key); });
    stream_.end();
    check_sizes();
    for (std::size_t i = 0; i < problem_.options.size(); ++i) check_entry(i);
    check_repeated();
    return std::move(table_);
  }

 private:
  void read_member(std::string_view key) {
    if (key == "schema") read_schema();
    if (key == "layers") problem_.layers = static_cast<std::uint32_t>(stream_.integer(1, most_layers));
    if (key == "hosts") problem_.hosts = stream_.integer(1, most_devices);
    if (key == "devices_per_host") problem_.devices_per_host = stream_.integer(1, most_devices);
    if (key == "microbatches") problem_.microbatches = stream_.integer(1, most_microbatches);
    if (key == "submeshes") stream_.array([&](std::size_t) { read_submesh(); });
    if (key == "entries") stream_.array([&](std::size_t) { read_entry(); });
  }

  void read_schema() {
    if (const std::string found = stream_.string(); found != schema)
      stream_.fail(fmt::format("is \"{}\"; expected \"{}\"", found, schema));
  }

  void read_submesh() {
    std::vector<std::int64_t> sizes;
    stream_.array([&](std::size_t) { sizes.push_back(stream_.integer(1, most_devices)); });
    if (sizes.size() != 2) stream_.fail(fmt::format("has {} numbers; give [hosts, devices per host]", sizes.size()));
    problem_.submeshes.push_back({sizes[0], sizes[1]});
  }

  void read_entry() {
    static const JsonKeys keys{.required = {"first", "last", "submesh", "config", "time_s", "max_following_stages"}};
    StageOption option;
    std::int64_t config = 0;
    stream_.object(keys, [&](std::string_view key) {
      if (key == "first") option.first = position();
      if (key == "last") option.last = position();
      if (key == "submesh") option.submesh = position();
      if (key == "config") config = stream_.integer(0);
      if (key == "time_s") option.forward = Seconds(stream_.number(0));
      if (key == "max_following_stages") option.max_following_stages = stream_.integer(INT64_MIN);
    });
    problem_.options.push_back(option);
    table_.configs.push_back(config);
  }

  std::uint32_t position() { return static_cast<std::uint32_t>(stream_.integer(0, UINT32_MAX)); }

  [[noreturn]] void fail_at(const std::string& pointer, const std::string& message) const {
    throw InputError(fmt::format("{}: {}", stream_.file(), pointer), message);
  }

  void check_sizes() const {
    const std::int64_t layers = problem_.layers, devices = problem_.hosts * problem_.devices_per_host,
                       submeshes = std::ssize(problem_.submeshes);
    if (devices > most_devices)
      fail_at("/hosts", fmt::format("{} x {} devices are too many; at most {}", problem_.hosts,
                                    problem_.devices_per_host, most_devices));
    if (std::max({layers * devices, layers * submeshes, devices * submeshes}) > most_pairs)
      throw InputError(
          stream_.file(),
          fmt::format("{} layers, {} devices and {} submeshes are too many; the product of any two may be {}", layers,
                      devices, submeshes, most_pairs));
  }

  void check_entry(std::size_t i) const {
    const StageOption& entry = problem_.options[i];
    const auto expect_below = [&](std::string_view key, std::uint32_t value, std::size_t count, std::string_view what) {
      if (value >= count)
        fail_at(fmt::format("/entries/{}/{}", i, key),
                fmt::format("unknown {} {}; there are {}, numbered from 0", what, value, count));
    };
    expect_below("first", entry.first, problem_.layers, "layer");
    expect_below("last", entry.last, problem_.layers, "layer");
    expect_below("submesh", entry.submesh, problem_.submeshes.size(), "submesh");
    if (entry.first > entry.last)
      fail_at(fmt::format("/entries/{}", i),
              fmt::format("first is {}, after last, {}; give the first and the last layer", entry.first, entry.last));
  }

  // The same entry twice does no harm, unless the two differ.
  void check_repeated() const {
    const auto key = [&](std::size_t i) {
      const StageOption& entry = problem_.options[i];
      return std::tuple(entry.first, entry.last, entry.submesh, table_.configs[i]);
    };
    std::vector<std::size_t> order(problem_.options.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const StageOption &before = problem_.options[order[i - 1]], &entry = problem_.options[order[i]];
      if (key(order[i - 1]) != key(order[i])) continue;
      if (before.forward != entry.forward || before.max_following_stages != entry.max_following_stages)
        fail_at(fmt::format("/entries/{}", order[i]),
                fmt::format("contradicts /entries/{}, of the same layers, submesh and config; keep one", order[i - 1]));
    }
  }

  JsonStream& stream_;
  ConfiguredProblem table_;
  InterOpProblem& problem_ = table_.problem;
};

}  // namespace

ConfiguredProblem read_stage_table(const std::string& path) {
  JsonStream stream(path);
  return TableReader(stream).read();
}

ConfiguredProblem parse_stage_table(const std::string& text, const std::string& file) {
  JsonStream stream(text, file);
  return TableReader(stream).read();
}

std::string write_stage_table(const ConfiguredProblem& table) {
  const InterOpProblem& problem = table.problem;
  fmt::memory_buffer text;
  auto out = std::back_inserter(text);
  fmt::format_to(out, "{{\"schema\": \"{}\", \"layers\": {}, \"hosts\": {}, \"devices_per_host\": {}, ", schema,
                 problem.layers, problem.hosts, problem.devices_per_host);
  fmt::format_to(out, "\"microbatches\": {},\n \"submeshes\": [", problem.microbatches);
  std::string_view separator;
  for (const Submesh& submesh : problem.submeshes) {
    fmt::format_to(out, "{}[{}, {}]", separator, submesh.hosts, submesh.devices_per_host);
    separator = ", ";
  }
  fmt::format_to(out, "],\n \"entries\": [");
  separator = "\n";
  for (std::size_t i = 0; i < problem.options.size(); ++i) {
    const StageOption& entry = problem.options[i];
    fmt::format_to(out, "{}  {{\"first\": {}, \"last\": {}, \"submesh\": {}, \"config\": {}, ", separator, entry.first,
                   entry.last, entry.submesh, table.configs[i]);
    fmt::format_to(out, "\"time_s\": {}, \"max_following_stages\": {}}}", (entry.forward + entry.backward).value(),
                   entry.max_following_stages);
    separator = ",\n";
  }
  fmt::format_to(out, "]}}\n");
  return fmt::to_string(text);
}

}  // namespace meshloom
