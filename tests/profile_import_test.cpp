#include "costmodel/profile_import.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>

#include "costmodel/measured_times.hpp"
#include "graphs/files.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;

namespace {

// As a current version prints it: two hosts with two devices each.
const std::string nccl_log = R"(# nccl-tests version 2.13.13 nccl-headers=22203 nccl-library=22203
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 1 minBytes 1024 maxBytes 1048576 step: 1024(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1 graph: 0
#
# Using devices
#  Rank  0 Group  0 Pid   1201 on  node-a device  0 [0x10] NVIDIA A100-SXM4-80GB
#  Rank  1 Group  0 Pid   1202 on  node-a device  1 [0x16] NVIDIA A100-SXM4-80GB
#  Rank  2 Group  0 Pid   2201 on  node-b device  0 [0x10] NVIDIA A100-SXM4-80GB
#  Rank  3 Group  0 Pid   2202 on  node-b device  1 [0x16] NVIDIA A100-SXM4-80GB
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
        1024           256     float     sum      -1    20.48    0.05    0.08      0    25.60    0.04    0.06      0
     1048576        262144     float     sum      -1    52.43   20.00   30.00      0    50.00   20.97   31.46    N/A
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 15.04
#
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string replaced_all(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// The same times of another program on the four ranks: what it moves is 3/4 of the speed, or all of it (sendrecv).
std::string log_of(const std::string& program) {
  std::string text = replaced(nccl_log, "all_reduce_perf", program);
  if (program != "reduce_scatter_perf") text = replaced_all(text, " sum ", "none ");
  const bool all = program == "sendrecv_perf";
  text = replaced(text, "20.48    0.05    0.08", all ? "20.48    0.05    0.05" : "20.48    0.05    0.04");
  text = replaced(text, "25.60    0.04    0.06", all ? "25.60    0.04    0.04" : "25.60    0.04    0.03");
  text = replaced(text, "52.43   20.00   30.00", all ? "52.43   20.00   20.00" : "52.43   20.00   15.00");
  return replaced(text, "50.00   20.97   31.46", all ? "50.00   20.97   20.97" : "50.00   20.97   15.73");
}

Profile nccl(const std::string& text, const ImportOptions& options = {}) {
  return import_nccl_tests(text, "n.log", options).profile;
}

std::string complaint(const std::function<void()>& run) {
  try {
    run();
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}
std::string nccl_complaint(const std::string& text, const ImportOptions& options = {}) {
  return complaint([&] { nccl(text, options); });
}

// Accepted or refused with a place in `file`, whatever is cut off or changed; what is accepted reads back.
void check_damaged(const std::string& text, const std::string& file,
                   const std::function<Profile(const std::string&)>& import) {
  const auto check = [&](const std::string& damaged) {
    try {
      const Profile profile = import(damaged);
      CHECK(parse_profile(write_profile(profile), "p.json") == profile);
    } catch (const InputError& error) {
      CHECK_THAT(error.what(), Catch::StartsWith(file));
    }
  };
  for (std::size_t length = 0; length < text.size(); ++length) check(text.substr(0, length));
  for (std::size_t place = 0; place < text.size(); ++place)
    for (const char byte : {'-', '9', 'x', '\n', '"', '\xff'}) {
      std::string edited = text;
      edited[place] = byte;
      check(edited);
    }
}

}  // namespace

TEST_CASE("output of nccl-tests becomes a collective's samples with the group of its ranks", "[profile]") {
  const Profile profile = nccl(nccl_log);
  REQUIRE(profile.collectives.size() == 1);
  CHECK(profile.collectives[0].key == CollectiveKey{MeasuredCollective::all_reduce, 2, 2});
  REQUIRE(profile.collectives[0].samples.size() == 2);
  CHECK(profile.collectives[0].samples[0].bytes == 1024);
  CHECK(profile.collectives[0].samples[0].timing.median.value() == Approx(20.48e-6));
  CHECK(profile.collectives[0].samples[1].timing.median.value() == Approx(52.43e-6));
  CHECK(profile.collectives[0].samples[1].timing.repetitions == 20);
  CHECK(profile.provenance.device == "NVIDIA A100-SXM4-80GB");
  CHECK(profile.provenance.host == "node-a");
  CHECK(profile.provenance.libraries.at("nccl") == "22203");
}

TEST_CASE("in-place times of nccl-tests are taken when asked for", "[profile]") {
  CHECK(nccl(nccl_log, {.in_place = true}).collectives[0].samples[1].timing.median.value() == Approx(50e-6));
}

TEST_CASE("lines of nccl-tests that a launcher tagged read the same", "[profile]") {
  std::string tagged = "[1,0]<stdout>:" + replaced_all(nccl_log, "\n", "\n[1,0]<stdout>:");
  CHECK(nccl(tagged) == nccl(nccl_log));
  CHECK(nccl("0: " + replaced_all(nccl_log, "\n", "\n0: ")) == nccl(nccl_log));
  CHECK(nccl(replaced_all(nccl_log, "\n", "\r\n")) == nccl(nccl_log));
}

TEST_CASE("the program of nccl-tests names the collective, and the option where no program is named", "[profile]") {
  const auto kind = [](const std::string& program) { return nccl(log_of(program)).collectives[0].key.kind; };
  CHECK(kind("all_gather_perf") == MeasuredCollective::all_gather);
  CHECK(kind("reduce_scatter_perf") == MeasuredCollective::reduce_scatter);
  CHECK(kind("alltoall_perf") == MeasuredCollective::all_to_all);
  CHECK(kind("sendrecv_perf") == MeasuredCollective::send_receive);
  const std::string unnamed = replaced(nccl_log, "# Collective test starting: all_reduce_perf\n", "");
  CHECK(nccl_complaint(unnamed) ==
        "n.log:13: which collective is this? The log names no program; say it with --collective");
  CHECK(nccl(unnamed, {.collective = MeasuredCollective::all_reduce}) == nccl(nccl_log));
}

TEST_CASE("a log of nccl-tests that is of another collective than was said is refused", "[profile]") {
  CHECK(nccl_complaint(nccl_log, {.collective = MeasuredCollective::all_gather}) ==
        "n.log:14: is of all_reduce, --collective says all_gather; leave --collective out, the log names its program");
  const auto unnamed = [](const std::string& program) {
    return replaced(log_of(program), "# Collective test starting: " + program + "\n", "");
  };
  const ImportOptions all_reduce{.collective = MeasuredCollective::all_reduce};
  CHECK(nccl_complaint(unnamed("all_gather_perf"), all_reduce) ==
        "n.log:13: has the reduction \"none\", which all_reduce does not have; is it of another collective?");
  // Both reduce, but four ranks all-reduce with 2·3/4 of the speed on each bus and reduce-scatter with half of that.
  CHECK(nccl_complaint(unnamed("reduce_scatter_perf"), all_reduce) ==
        "n.log:13: busbw 0.04 is not 1.5 of algbw 0.05, as all_reduce 2x2 has it; is it of another collective, or of "
        "other "
        "ranks?");
  CHECK_THAT(nccl_complaint(unnamed("sendrecv_perf"), {.collective = MeasuredCollective::all_to_all}),
             Catch::Contains("busbw 0.05 is not 0.75 of algbw 0.05"));
}

TEST_CASE("older versions of nccl-tests, without root and with errors, read the same times", "[profile]") {
  std::string old = replaced_all(nccl_log, "    root", "");
  old = replaced_all(old, "sum      -1", "sum");
  old = replaced_all(old, "#wrong", " error");
  old = replaced_all(old, "     0   ", "  1e-07 ");
  CHECK(nccl(old).collectives == nccl(nccl_log).collectives);
}

TEST_CASE("time stamps and times of single iterations in a log of nccl-tests do not matter", "[profile]") {
  std::string stamped = replaced(nccl_log, "busbw #wrong\n", "busbw #wrong           timestamp\n");
  stamped = replaced(stamped, "(us)  (GB/s)  (GB/s)\n", "(us)  (GB/s)  (GB/s)         %Y-%m-%d %H:%M:%S\n");
  stamped = replaced(stamped, "0.06      0\n", "0.06      0  2025-10-09 12:00:00\n");
  stamped = replaced(stamped, "31.46    N/A\n", "31.46    N/A  2025-10-09 12:00:01\n");
  CHECK(nccl(stamped) == nccl(nccl_log));
  std::string single = replaced_all(nccl_log, "#wrong", "#wrong   i_min   i_max   i_p99   i_cv%");
  single = replaced_all(single, "(us)  (GB/s)  (GB/s)", "(us)  (GB/s)  (GB/s)  (us)  (us)  (us)  (%)");
  for (const char* end : {"0.08      0", "0.06      0", "30.00      0", "31.46    N/A"})
    single = replaced(single, end, end + std::string("  19.00  24.00  23.90  5.00"));
  CHECK(nccl(single) == nccl(nccl_log));
}

TEST_CASE("several runs in one log of nccl-tests make a series each", "[profile]") {
  const Profile profile = nccl(nccl_log + log_of("all_gather_perf"));
  CHECK(profile.collectives.size() == 2);
  CHECK(nccl_complaint(nccl_log + nccl_log) == "n.log:32: all_reduce 2x2 of 1024 bytes stands above already");
}

TEST_CASE("a log of nccl-tests without ranks needs the group and the device", "[profile]") {
  std::string text;
  for (std::size_t at = 0, end; (end = nccl_log.find('\n', at)) != std::string::npos; at = end + 1)
    if (nccl_log.substr(at, end - at).find("Rank") == std::string::npos) text += nccl_log.substr(at, end - at + 1);
  CHECK(nccl_complaint(text) ==
        "n.log:10: which devices? The log lists no ranks; say their group with --group, as in 2x8");
  CHECK_THAT(nccl_complaint(text, {.group = std::pair{1, 4}}), Catch::Contains("--device"));
  CHECK(nccl(text, {.device = "D", .group = std::pair{1, 4}}).collectives[0].key.devices_per_host == 4);
  CHECK_THAT(nccl_complaint(text, {.device = "D", .group = std::pair{1, 8}}), Catch::Contains("or of other ranks?"));
}

TEST_CASE("what cannot be right in a log of nccl-tests is refused with its line", "[profile]") {
  const auto edited = [](const std::string& from, const std::string& to) {
    return nccl_complaint(replaced(nccl_log, from, to));
  };
  CHECK(edited("20.48    0.05", "-20.48    0.05") == "n.log:14: a time of -20.48 us; a measured time is more than 0");
  CHECK_THAT(edited("(us)  (GB/s)", "(ms)  (GB/s)"), Catch::StartsWith("n.log:13: unit \"(ms)\""));
  // 1 MiB in 0.05243 us would be 20000 GB/s: the time is in milliseconds.
  CHECK_THAT(edited("52.43", "0.05243"), Catch::StartsWith("n.log:15: 1048576 bytes in 0.05243 us are 19999.54 GB/s"));
  CHECK_THAT(edited("31.46    N/A", "31.46"), Catch::StartsWith("n.log:15: has 12 columns, the heading 13"));
  CHECK_THAT(edited("30.00      0", "30.00      7"), Catch::StartsWith("n.log:15: 7 results were wrong"));
  CHECK_THAT(edited("1048576        262144", "1024        262144"), Catch::Contains("n.log:15"));
  CHECK_THAT(edited("52.43", "fifty"), Catch::StartsWith("n.log:15: time \"fifty\" is no number"));
  CHECK_THAT(edited("node-b device  0", "node-a device  0"), Catch::Contains("a group has as many on each host"));
  CHECK_THAT(edited("[0x16] NVIDIA A100-SXM4-80GB", "[0x16] NVIDIA H100"),
             Catch::StartsWith("n.log:7: \"NVIDIA H100\""));
  CHECK_THAT(nccl_complaint("hello\n"), Catch::StartsWith("n.log: has no line of times"));
  CHECK(edited("1048576        262144", "-1048576        262144") ==
        "n.log:15: size \"-1048576\" is no number of bytes");
  CHECK_THAT(edited("Rank  3 Group  0", "Rank  3 Group  1"), Catch::StartsWith("n.log:9: is of group 1"));
  // Without MPI every process is rank 0 of its own.
  CHECK_THAT(edited("Rank  1 Group  0", "Rank  0 Group  0"),
             Catch::StartsWith("n.log:7: rank 0 stands twice: these processes measured each alone"));
}

TEST_CASE("a damaged log of nccl-tests is refused with a place or read", "[profile]") {
  check_damaged(nccl_log, "n.log", [](const std::string& text) { return nccl(text); });
}

namespace {

const std::string table =
    "# my measurements\n"
    "kind,dtype,operands,direction,causal,batch,m,n,k,bytes [MiB],columns,hosts,devices_per_host,median [us],p10 "
    "[us],p90 [us],repetitions\n"
    "gemm,bf16,nt,,,1,64,128,256,,,,,10.5,10,11,50\n"
    "layer_norm,bf16,,backward,,,,,,0.5,1024,,,3,,,\n"
    "all_reduce,,,,,,,,,2,,2,8,100,,,\n";

Profile csv(const std::string& text) { return import_csv(text, "t.csv", {.device = "D"}).profile; }
std::string csv_complaint(const std::string& from, const std::string& to) {
  return complaint([&] { csv(replaced(table, from, to)); });
}

}  // namespace

TEST_CASE("a table of times becomes samples in seconds and bytes", "[profile]") {
  const Profile profile = csv(table);
  const OperatorKey gemm{.kind = MeasuredOperator::gemm, .operands = OperandOrder::nt};
  const OperatorKey norm{.kind = MeasuredOperator::layer_norm, .direction = Direction::backward};
  CHECK(has_sample(profile, gemm, {1, 64, 128, 256}));
  CHECK(has_sample(profile, norm, {1 << 19, 1024}));
  CHECK(has_sample(profile, CollectiveKey{MeasuredCollective::all_reduce, 2, 8}, 2 << 20));
  CHECK(profile.operators[0].samples[0].timing.median.value() == Approx(10.5e-6));
  CHECK(profile.operators[0].samples[0].timing.spread->p90.value() == Approx(11e-6));
  CHECK(profile.operators[0].samples[0].timing.repetitions == 50);
}

TEST_CASE("what cannot be right in a table of times is refused with its line", "[profile]") {
  CHECK(csv_complaint("p90 [us]", "p90 [ms]") == "t.csv:2: times are in [us] and in [ms]; give all in one unit");
  CHECK(csv_complaint("median [us]", "median") == "t.csv:2: column \"median\" needs its unit, as in \"median [us]\"");
  CHECK(csv_complaint("bytes [MiB]", "bytes [miles]") == "t.csv:2: column \"bytes\": unknown unit \"miles\"");
  CHECK_THAT(csv_complaint("repetitions", "repetition"), Catch::Contains("did you mean \"repetitions\"?"));
  CHECK(csv_complaint("10.5,10,11", "-10.5,10,11") == "t.csv:3: median is -10.5; a measured time is more than 0");
  CHECK(csv_complaint("10.5,10,11", "nan,10,11") == "t.csv:3: median \"nan\" is no number");
  // 10⁸ s and 10⁻¹⁴ s.
  CHECK(csv_complaint("10.5,10,11", "1e14,10,11") ==
        "t.csv:3: median 1e14 is 100000000 s; expected 1e-12 s to 1000000 s");
  CHECK_THAT(csv_complaint("10.5,10,11", "1e-8,10,11"), Catch::StartsWith("t.csv:3: median 1e-8 is "));
  CHECK(csv_complaint("10.5,10,11", "9,10,11") == "t.csv:3: the median is not between p10 and p90");
  CHECK(csv_complaint(",50\n", "\n") == "t.csv:3: has 16 cells, the heading 17; the line is cut off or damaged");
  CHECK_THAT(csv_complaint("layer_norm,", "layernorm,"), Catch::StartsWith("t.csv:4: unknown kind \"layernorm\""));
  CHECK(csv_complaint("backward,,,,,,0.5", "backward,,,7,,,0.5") ==
        "t.csv:4: layer_norm has no \"m\"; leave the cell empty");
  CHECK(csv_complaint("0.5,1024", "0.5,") == "t.csv:4: layer_norm needs \"columns\"");
  const std::string row = "all_reduce,,,,,,,,,2,,2,8,100,,,\n";
  CHECK(csv_complaint(row, row + row) == "t.csv:6: all_reduce 2x8 of this size stands above already");
  CHECK_THAT(complaint([&] { import_csv(table, "t.csv", {}); }), Catch::Contains("say it with --device"));
}

TEST_CASE("a table of times that a spreadsheet wrote, with a byte order mark and CRLF, reads the same", "[profile]") {
  CHECK(csv("\xef\xbb\xbf" + replaced_all(table, "\n", "\r\n")) == csv(table));
}

TEST_CASE("a damaged table of times is refused with a place or read", "[profile]") {
  check_damaged(table, "t.csv", csv);
}

namespace {

// Two calls of a product (its kernels took 10 and 12 us), one that only calls others, attention, and what has no kind.
const std::string trace = R"({"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "NVIDIA A100-SXM4-80GB"}],
 "traceEvents": [
 {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 1, "dur": 90, "args": {"External id": 1, "Input Dims": [[64, 256], [256, 128]], "Input type": ["c10::BFloat16", "c10::BFloat16"]}},
 {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 2, "dur": 91, "args": {"External id": 2, "Input Dims": [[64, 256], [256, 128]], "Input type": ["c10::BFloat16", "c10::BFloat16"]}},
 {"ph": "X", "cat": "cpu_op", "name": "aten::linear", "ts": 3, "dur": 92, "args": {"External id": 3, "Input Dims": [[64, 256], [128, 256]], "Input type": ["c10::BFloat16", "c10::BFloat16"]}},
 {"ph": "X", "cat": "cpu_op", "name": "aten::_scaled_dot_product_flash_attention", "ts": 4, "dur": 93, "args": {"External id": 4, "Input Dims": [[2, 8, 512, 64], [2, 2, 512, 64], [2, 2, 512, 64], [], [], []], "Input type": ["c10::Half", "c10::Half", "c10::Half", "Scalar", "Scalar", "Scalar"], "Concrete Inputs": ["", "", "", "0.", "True", "False"]}},
 {"ph": "X", "cat": "cpu_op", "name": "aten::cumsum", "ts": 5, "dur": 94, "args": {"External id": 5, "Input Dims": [[64, 256], []], "Input type": ["float", "Scalar"]}},
 {"ph": "X", "cat": "kernel", "name": "ampere_gemm", "ts": 11, "dur": 10, "args": {"External id": 1, "stream": 7}},
 {"ph": "X", "cat": "kernel", "name": "ampere_gemm", "ts": 12, "dur": 7, "args": {"External id": 2, "stream": 7}},
 {"ph": "X", "cat": "kernel", "name": "split_k_reduce", "ts": 13, "dur": 5, "args": {"External id": 2, "stream": 7}},
 {"ph": "X", "cat": "kernel", "name": "flash_fwd", "ts": 14, "dur": 30, "args": {"External id": 4, "stream": 7}},
 {"ph": "X", "cat": "kernel", "name": "cumsum", "ts": 15, "dur": 3, "args": {"External id": 5, "stream": 7}},
 {"ph": "M", "name": "process_name", "args": {"name": "python"}}]}
)";

Profile kineto(const std::string& text, const ImportOptions& options = {}) {
  return import_kineto(text, "k.txt", options).profile;
}

// As print(prof.key_averages(group_by_input_shape=True).table()) does.
std::string averages_table() {
  const std::string dash(12, '-');
  const auto line = [](const std::string& name, const std::string& cpu, const std::string& own, const std::string& all,
                       const std::string& calls, const std::string& shapes) {
    return fmt::format("{:>24}  {:>12}  {:>12}  {:>12}  {:>12}  {:>32}\n", name, cpu, own, all, calls, shapes);
  };
  const std::string rule = line(std::string(24, '-'), dash, dash, dash, dash, std::string(32, '-'));
  return rule + line("Name", "Self CPU", "Self CUDA", "CUDA total", "# of Calls", "Input Shapes") + rule +
         line("aten::linear", "10.000us", "0.000us", "1.200ms", "3", "[[64, 256], [128, 256], []]") +
         line("aten::mm", "10.000us", "1.200ms", "1.200ms", "3", "[[64, 256], [256, 128]]") +
         line("aten::gelu", "10.000us", "30.000us", "30.000us", "3", "[[64, 256], []]") +
         line("aten::cumsum", "10.000us", "30.000us", "30.000us", "3", "[[64, 256], []]") + rule +
         "Self CPU time total: 1.200ms\nSelf CUDA time total: 1.260ms\n";
}
const std::string averages = averages_table();

}  // namespace

TEST_CASE("a trace of PyTorch's profiler becomes samples of its kernels' times", "[profile]") {
  const ImportedProfile imported = import_kineto(trace, "k.txt", {});
  const Profile& profile = imported.profile;
  REQUIRE(profile.operators.size() == 2);
  CHECK(profile.provenance.device == "NVIDIA A100-SXM4-80GB");
  CHECK(describe(profile.operators[0].key) == "gemm bf16 nn");
  CHECK(profile.operators[0].samples[0].shape == std::vector<std::int64_t>{1, 64, 128, 256});
  // The second product has two kernels, 7 + 5 us; the median of 10 and 12 us.
  CHECK(profile.operators[0].samples[0].timing.median.value() == Approx(11e-6));
  CHECK(profile.operators[0].samples[0].timing.repetitions == 2);
  CHECK(describe(profile.operators[1].key) == "attention fp16 causal forward");
  CHECK(profile.operators[1].samples[0].shape == std::vector<std::int64_t>{2, 8, 2, 512, 512, 64});
  CHECK(imported.skipped == std::map<std::string, std::int64_t>{{"aten::cumsum", 1}});
}

TEST_CASE("what cannot be right in a trace is refused with its place", "[profile]") {
  CHECK_THAT(complaint([&] { kineto(replaced(trace, "\"dur\": 10", "\"dur\": -10")); }),
             Catch::StartsWith("k.txt: /traceEvents/5/dur"));
  CHECK_THAT(complaint([&] { kineto(replaced(trace, "\"External id\": 2", "\"External id\": 1")); }),
             Catch::StartsWith("k.txt: /traceEvents/1: a second operator with the external id 1"));
  CHECK_THAT(complaint([&] { kineto("{\"traceEvents\": []}"); }), Catch::Contains("record_shapes=True"));
}

TEST_CASE("a table of PyTorch's profiler becomes mean times of its operators", "[profile]") {
  const ImportedProfile imported = import_kineto(averages, "k.txt", {.device = "D", .dtype = DType::fp16});
  REQUIRE(imported.profile.operators.size() == 2);
  CHECK(describe(imported.profile.operators[0].key) == "gemm fp16 nn");
  CHECK(imported.profile.operators[0].samples[0].timing.median.value() == Approx(400e-6));  // 1.2 ms of 3 calls
  // 64·256 elements of 2 bytes, read and written; 30 us of 3 calls.
  CHECK(imported.profile.operators[1].samples[0].shape == std::vector<std::int64_t>{65536});
  CHECK(imported.profile.operators[1].samples[0].timing.median.value() == Approx(10e-6));
  CHECK(imported.skipped == std::map<std::string, std::int64_t>{{"aten::cumsum", 1}});
}

TEST_CASE("a heading wider than its column shifts those after it, and the table reads all the same", "[profile]") {
  // "CUDA time avg" has 13 letters in a column of 12, so "# of Calls" and "Input Shapes" end a letter to the right of
  // their cells, as in every table of a GPU.
  const std::vector<std::string> names{"Name",          "Self CUDA",  "CUDA total",
                                       "CUDA time avg", "# of Calls", "Input Shapes"};
  const std::vector<std::string> cells{"aten::mm", "1.200ms", "1.200ms", "400.000us", "3", "[[64, 256], [256, 128]]"};
  const auto line = [](const std::vector<std::string>& columns) {
    std::string text;
    for (std::size_t i = 0; i < columns.size(); ++i)
      text += fmt::format("{:>{}}  ", columns[i], i == 0 ? 16 : i + 1 == columns.size() ? 32 : 12);
    return text + "\n";
  };
  const std::string dash(12, '-');
  const std::string rule = line({std::string(16, '-'), dash, dash, dash, dash, std::string(32, '-')});
  const Profile profile = kineto(rule + line(names) + rule + line(cells) + rule, {.device = "D", .dtype = DType::bf16});
  REQUIRE(profile.operators.size() == 1);
  CHECK(profile.operators[0].samples[0].shape == std::vector<std::int64_t>{1, 64, 128, 256});
  CHECK(profile.operators[0].samples[0].timing.median.value() == Approx(400e-6));  // 1.2 ms of 3 calls
  CHECK(profile.operators[0].samples[0].timing.repetitions == 3);
  const std::vector<std::string> fewer(names.begin(), names.end() - 1);
  CHECK_THAT(complaint([&] { kineto(rule + line(fewer) + rule, {.device = "D", .dtype = DType::bf16}); }),
             Catch::StartsWith("k.txt:2: the heading has 5 names for 6 columns"));
}

TEST_CASE("what cannot be right in a table of PyTorch's profiler is refused with its line", "[profile]") {
  const auto edited = [](const std::string& from, const std::string& to) {
    return complaint([&] { kineto(replaced(averages, from, to), {.device = "D", .dtype = DType::fp16}); });
  };
  CHECK_THAT(edited("10.000us       1.200ms", "10.000us      -1.200ms"),
             Catch::StartsWith("k.txt:5: Self CUDA \"-1.200ms\""));
  CHECK_THAT(edited("10.000us       1.200ms", "10.000us       1.200km"), Catch::StartsWith("k.txt:5: Self CUDA"));
  CHECK_THAT(edited("Input Shapes", "Something   "), Catch::Contains("group_by_input_shape"));
  CHECK_THAT(edited("[[64, 256], [256, 128]]", "[[64, 256], [256, 12..."), Catch::Contains("are cut off"));
  CHECK_THAT(complaint([&] { kineto(averages, {.device = "D"}); }), Catch::Contains("say it with --dtype"));
  CHECK_THAT(complaint([&] {
               kineto(averages.substr(0, averages.rfind('\n', averages.find("aten::cumsum")) + 1),
                      {.device = "D", .dtype = DType::fp16});
             }),
             Catch::Contains("the table is cut off"));
}

TEST_CASE("damaged files of PyTorch's profiler are refused with a place or read", "[profile]") {
  check_damaged(trace, "k.txt", [](const std::string& text) { return kineto(text); });
  check_damaged(averages, "k.txt",
                [](const std::string& text) { return kineto(text, {.device = "D", .dtype = DType::fp16}); });
}

TEST_CASE("every other size of published all-reduces predicts the sizes between better than the model", "[profile]") {
  const std::string folder = MESHLOOM_SOURCE_DIR "/tests/data/microbenchmarks/";
  for (const auto& [table, file] : {std::pair{"a100_all_reduce.csv", "dgx_a100"},
                                    {"v100_all_reduce.csv", "aws_p3_16xlarge"},
                                    {"h200_all_reduce.csv", "dgx_h100"},
                                    {"b200_all_reduce.csv", "dgx_b200"}}) {
    Cluster cluster = read_cluster(fmt::format("{}/cluster_specs/{}.json", MESHLOOM_SOURCE_DIR, file));
    cluster.hosts = 4;
    const Profile all = import_csv(read_file(folder + table), table, {.device = cluster.device.name}).profile;
    Profile half{.provenance = all.provenance};
    for (const CollectiveSeries& series : all.collectives)
      for (std::size_t i = 0; i < series.samples.size(); i += 2) add_sample(half, series.key, series.samples[i]);
    const Cluster measured = with_profiles(cluster, Recipe{}, {{table, "", half}}, {});
    double of_model = 0, of_half = 0;
    for (const CollectiveSeries& series : all.collectives)
      for (std::size_t i = 1; i + 1 < series.samples.size(); i += 2) {
        const CollectiveSample& sample = series.samples[i];
        const Bytes whole(static_cast<double>(sample.bytes));
        const SourcedTime time = sourced_collective_time(measured, Collective::all_reduce, whole, group_of(series.key));
        CHECK(time.source == TimeSource::interpolated);
        of_half += std::abs(time.time / sample.timing.median - 1);
        of_model += std::abs(modelled_sample(cluster, series.key, sample.bytes) / sample.timing.median - 1);
      }
    CHECK(of_half < of_model);
  }
}
