#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "costmodel/import_lines.hpp"
#include "costmodel/profile_import.hpp"

namespace meshloom {
namespace {

struct Program {
  std::string_view name;
  MeasuredCollective collective;
};
constexpr std::array programs{Program{"all_reduce_perf", MeasuredCollective::all_reduce},
                              Program{"all_gather_perf", MeasuredCollective::all_gather},
                              Program{"reduce_scatter_perf", MeasuredCollective::reduce_scatter},
                              Program{"alltoall_perf", MeasuredCollective::all_to_all},
                              Program{"sendrecv_perf", MeasuredCollective::send_receive}};

bool digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "[1,0]<stdout>:", as Open MPI tags lines, and "0: ", as srun --label does.
std::string_view without_launcher(std::string_view line) {
  if (line.starts_with('[')) {
    for (const std::string_view tag : {"<stdout>:", "<stderr>:"})
      if (const std::size_t at = line.find(tag); at != std::string_view::npos && at < 24)
        return line.substr(at + tag.size());
  }
  const std::size_t colon = line.find(':');
  if (colon != std::string_view::npos && digits(trimmed(line.substr(0, colon)))) return line.substr(colon + 1);
  return line;
}

// Where the columns of one table stand, by its heading.
struct Columns {
  std::size_t count = 0;                               // of words in a row
  std::vector<std::size_t> times, bandwidths, wrongs;  // out of place, in place
  std::vector<std::size_t> bus_bandwidths;             // the same
  std::optional<std::size_t> reduction;                // "sum", or "none" of collectives that only move
  std::size_t in_microseconds = 0;                     // times, and those of single iterations
};

class NcclLog {
 public:
  NcclLog(const std::string& file, const ImportOptions& options) : file_(file), options_(options) {}

  ImportedProfile read(const std::string& text) {
    for (const TextLine& line : lines_of(text)) {
      line_ = line.number;
      check_utf8(line.text, file_, line.number);
      read_line(trimmed(without_launcher(line.text)));
    }
    if (profile_.collectives.empty())
      throw InputError(file_, "has no line of times; expected the output of a program of nccl-tests");
    profile_.provenance.device = options_.device.value_or(device_);
    if (profile_.provenance.device.empty())
      throw InputError(file_, "does not name the device (nccl-tests lists the ranks and theirs); say it with --device");
    profile_.provenance.measured = options_.measured.value_or("");
    profile_.provenance.host = options_.host.value_or(hosts_.empty() ? "" : hosts_.front().first);
    profile_.provenance.method =
        fmt::format("nccl-tests, {}, mean of the iterations", options_.in_place ? "in place" : "out of place");
    return {profile_, {}};
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { fail_at(file_, line_, message); }

  void read_line(std::string_view line) {
    find_program(line);
    if (line.starts_with('#')) return read_comment(words_of(line.substr(1)));
    const std::vector<std::string_view> words = words_of(line);
    // Other output of the job stands between the lines.
    const bool number = !words.empty() && digits(words[0].substr(words[0].starts_with('-') ? 1 : 0));
    if (number && (columns_.count > 0 || words.size() >= 8)) read_row(words);
  }

  void find_program(std::string_view line) {
    for (const Program& each : programs) {
      if (line.find(each.name) == std::string_view::npos) continue;
      program_ = each.collective;
      if (line.find("starting") != std::string_view::npos) columns_ = {};
    }
  }

  void read_comment(const std::vector<std::string_view>& words) {
    if (words.empty()) return;
    if (words[0] == "Rank") return read_rank(words);
    if (words[0] == "size") return read_heading(words);
    if (words[0] == "(B)") return check_units(words);
    if (words[0] == "nThread") return read_parameters(words);
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] == "version" && i > 0 && words[i - 1] == "nccl-tests" && i + 1 < words.size())
        profile_.provenance.libraries["nccl-tests"] = words[i + 1];
      if (words[i].starts_with("nccl-library=")) profile_.provenance.libraries["nccl"] = words[i].substr(13);
    }
  }

  // nThread 1 nGpus 8 … warmup iters: 5 iters: 20 …: a new run begins.
  void read_parameters(const std::vector<std::string_view>& words) {
    hosts_.clear();
    ranks_.clear();
    columns_ = {};
    iterations_ = 1;
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
      if (words[i] != "iters:" || words[i - 1] == "warmup" || words[i - 1] == "agg") continue;
      const auto count = number_in<std::int64_t>(words[i + 1]);
      if (!count || *count < 1) fail(fmt::format("\"iters: {}\" is no number of iterations", words[i + 1]));
      iterations_ = *count;
    }
  }

  // Rank  0 Group  0 Pid  814 on  node1 device  0 [0x10] NVIDIA A100-SXM4-80GB. Older versions have no group.
  void read_rank(const std::vector<std::string_view>& words) {
    if (words.size() > 3 && words[2] == "Group" && words[3] != "0")
      fail(
          fmt::format("is of group {}: groups that run at once share links, and a profile's group runs alone; run "
                      "without NCCL_TESTS_SPLIT",
                      words[3]));
    const auto on = std::find(words.begin(), words.end(), "on");
    const auto bus = std::find_if(words.begin(), words.end(), [](auto word) { return word.starts_with("["); });
    if (on == words.end() || on + 1 == words.end() || bus == words.end() || bus + 1 == words.end())
      fail("is cut off: expected \"Rank N … on HOST device D [BUS] DEVICE\"");
    if (!ranks_.emplace(words[1]).second)
      fail(fmt::format("rank {} stands twice: these processes measured each alone; build nccl-tests with MPI=1",
                       words[1]));
    const std::string host(*(on + 1));
    const auto known = std::find_if(hosts_.begin(), hosts_.end(), [&](const auto& each) { return each.first == host; });
    if (known == hosts_.end())
      hosts_.emplace_back(host, 1);
    else
      ++known->second;
    std::string device;
    for (auto word = bus + 1; word != words.end(); ++word)
      device += fmt::format("{}{}", device.empty() ? "" : " ", *word);
    if (!device_.empty() && device != device_)
      fail(fmt::format("\"{}\", but other ranks have \"{}\"; a profile is of one device", device, device_));
    device_ = device;
  }

  void read_heading(const std::vector<std::string_view>& words) {
    columns_ = {words.size(), {}, {}, {}, {}, {}, 0};
    if (words.back() == "timestamp") ++columns_.count;  // a day and a time
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] == "time") columns_.times.push_back(i);
      if (words[i] == "time" || words[i] == "i_min" || words[i] == "i_max" || words[i] == "i_p99")
        ++columns_.in_microseconds;
      if (words[i] == "algbw") columns_.bandwidths.push_back(i);
      if (words[i] == "busbw") columns_.bus_bandwidths.push_back(i);
      if (words[i] == "redop") columns_.reduction = i;
      if (words[i] == "#wrong" || words[i] == "error") columns_.wrongs.push_back(i);
    }
    if (columns_.times.empty() || columns_.times.size() != columns_.bandwidths.size())
      fail("is no heading of nccl-tests: expected \"size count type … time algbw busbw …\"");
    if (options_.in_place && columns_.times.size() < 2) fail("has no in-place columns; leave --in-place out");
  }

  void check_units(const std::vector<std::string_view>& words) const {
    std::size_t times = 0;
    for (const std::string_view word : words) {
      if (word.starts_with('%')) break;  // the format of the time stamps
      if (word == "(us)") ++times;
      if (word != "(B)" && word != "(elements)" && word != "(us)" && word != "(GB/s)" && word != "(%)")
        fail(fmt::format("unit \"{}\"; nccl-tests prints (B), (elements), (us) and (GB/s)", word));
    }
    if (times != columns_.in_microseconds)
      fail(fmt::format("{} times are in (us), of {}", times, columns_.in_microseconds));
  }

  double number(std::string_view word, const char* what) const {
    const auto value = number_in<double>(word);
    if (!value || !std::isfinite(*value)) fail(fmt::format("{} \"{}\" is no number", what, word));
    return *value;
  }

  CollectiveKey key() const {
    const auto kind = options_.collective ? options_.collective : program_;
    if (!kind) fail("which collective is this? The log names no program; say it with --collective");
    if (program_ && *program_ != *kind)
      fail(fmt::format("is of {}, --collective says {}; leave --collective out, the log names its program",
                       name(*program_), name(*kind)));
    CollectiveKey key{*kind, 1, 1};
    if (options_.group) {
      std::tie(key.hosts, key.devices_per_host) = *options_.group;
    } else {
      if (hosts_.empty()) fail("which devices? The log lists no ranks; say their group with --group, as in 2x8");
      for (const auto& [host, ranks] : hosts_)
        if (ranks != hosts_.front().second)
          fail(fmt::format("{} has {} ranks, {} has {}; a group has as many on each host", host, ranks,
                           hosts_.front().first, hosts_.front().second));
      key.hosts = static_cast<std::int64_t>(hosts_.size());
      key.devices_per_host = hosts_.front().second;
    }
    if (key.hosts * key.devices_per_host < 2) fail("a group of one device has no collective");
    return key;
  }

  void read_row(const std::vector<std::string_view>& words) {
    if (columns_.count == 0) fail("stands before the heading \"# size count type …\"; the log is cut off");
    if (words.size() != columns_.count)
      fail(fmt::format("has {} columns, the heading {}; the line is cut off or damaged", words.size(), columns_.count));
    const auto bytes = number_in<std::int64_t>(words[0]);
    if (!bytes || *bytes < 0) fail(fmt::format("size \"{}\" is no number of bytes", words[0]));
    const std::size_t set = options_.in_place ? 1 : 0;
    const double time = number(words[columns_.times[set]], "time");
    if (!(time > 0)) fail(fmt::format("a time of {} us; a measured time is more than 0", time));
    if (Seconds(time * 1e-6) < shortest_measured || Seconds(time * 1e-6) > longest_measured)
      fail(fmt::format("a time of {} us; expected {} s to {} s", time, shortest_measured.value(),
                       longest_measured.value()));
    check_bandwidth(static_cast<double>(*bytes), time, number(words[columns_.bandwidths[set]], "algbw"));
    if (set < columns_.wrongs.size()) check_results(words[columns_.wrongs[set]]);
    if (*bytes == 0) return;
    const CollectiveKey of = key();
    check_collective(of, words, set);
    if (!add_sample(profile_, of, {*bytes, {Seconds(time * 1e-6), std::nullopt, iterations_}}))
      fail(fmt::format("{} of {} bytes stands above already", describe(of), *bytes));
  }

  // The printed speed must be that of the printed time, up to the digits shown.
  void check_bandwidth(double bytes, double time, double shown) const {
    const double expected = bytes / time * 1e-3;
    if (std::abs(shown - expected) > 0.0051 + 0.01 * expected)
      fail(fmt::format("{} bytes in {} us are {:.2f} GB/s, the line says {}; is the time in another unit?", bytes, time,
                       expected, shown));
  }

  // What the collective's own bus bandwidth is of the speed, and whether it reduces, must be as printed: else the log
  // is of another collective than was said.
  void check_collective(const CollectiveKey& of, const std::vector<std::string_view>& words, std::size_t set) const {
    const bool reduces = of.kind == MeasuredCollective::all_reduce || of.kind == MeasuredCollective::reduce_scatter;
    if (columns_.reduction && reduces == (words[*columns_.reduction] == "none"))
      fail(fmt::format("has the reduction \"{}\", which {} does not have; is it of another collective?",
                       words[*columns_.reduction], name(of.kind)));
    if (set >= columns_.bus_bandwidths.size()) return;
    const double speed = number(words[columns_.bandwidths[set]], "algbw"),
                 bus = number(words[columns_.bus_bandwidths[set]], "busbw"), share = bus_share(of);
    if (std::abs(bus - share * speed) > 0.0051 * (1 + share) + 0.01 * bus)
      fail(
          fmt::format("busbw {} is not {:.3g} of algbw {}, as {} has it; is it of another collective, or of other "
                      "ranks?",
                      bus, share, speed, describe(of)));
  }

  // nccl-tests, PERFORMANCE.md.
  static double bus_share(const CollectiveKey& of) {
    const auto ranks = static_cast<double>(of.hosts * of.devices_per_host);
    switch (of.kind) {
      case MeasuredCollective::all_reduce:
        return 2 * (ranks - 1) / ranks;
      case MeasuredCollective::all_gather:
      case MeasuredCollective::reduce_scatter:
      case MeasuredCollective::all_to_all:
        return (ranks - 1) / ranks;
      case MeasuredCollective::send_receive:
        break;
    }
    return 1;
  }

  // N/A and -1: not checked. Older versions print the largest rounding error.
  void check_results(std::string_view word) const {
    if (word == "N/A" || word == "-1") return;
    const double wrong = number(word, "#wrong");
    if (wrong >= 1) fail(fmt::format("{} results were wrong; times of a faulty run say nothing", word));
  }

  const std::string& file_;
  const ImportOptions& options_;
  std::size_t line_ = 1;
  Profile profile_;
  std::optional<MeasuredCollective> program_;
  std::vector<std::pair<std::string, std::int64_t>> hosts_;  // ranks of each, in order
  std::set<std::string> ranks_;
  std::string device_;
  std::int64_t iterations_ = 1;
  Columns columns_;
};

}  // namespace

ImportedProfile import_nccl_tests(const std::string& text, const std::string& file, const ImportOptions& options) {
  return NcclLog(file, options).read(text);
}

}  // namespace meshloom
