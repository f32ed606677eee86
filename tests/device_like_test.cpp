// Devices that take what they leave out from another (docs/cluster_format.md#keys).
#include <catch2/catch.hpp>

#include "costmodel/device_files.hpp"
#include "graphs/input_error.hpp"

using namespace meshloom;
using Catch::Contains;

namespace {

const std::string host = R"("devices_per_host": 8, "intra_host": {"bandwidth": "50 GB/s"},
  "nic": {"bandwidth": "100 Gbit/s"}, "nics_per_host": 2)";

std::string device_text(const std::string& rest, const std::string& links = host) {
  return R"({"schema": "meshloom.device/1", "name": "toy", "memory": "1 GiB", "memory_bandwidth": "1 GB/s",
    "peak": {"bf16": "10 TFLOP/s", "fp8": "20 TFLOP/s"}, )" +
         rest + links + "}";
}

DeviceFile device(const std::string& rest, const std::string& links = host) {
  return parse_device(device_text(rest, links), "d.json");
}

std::string complaint(const std::string& rest, const std::string& links = host) {
  try {
    device(rest, links);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no complaint";
}

const DeviceFile h100 = *device_named("H100-SXM5-80GB");

}  // namespace

TEST_CASE("a device has the kernels of the one that it is like, and its own memory, peak and links") {
  const DeviceFile toy = device(R"("like": "H100", )");
  CHECK(toy.like == "H100-SXM5-80GB");
  CHECK(toy.device.name == "toy");
  CHECK(toy.device.memory == Bytes(1024.0 * 1024 * 1024));
  CHECK(toy.device.memory_bandwidth == BytesPerSecond(1e9));
  CHECK(toy.device.peak ==
        std::map<DType, FlopsPerSecond>{{DType::bf16, FlopsPerSecond(10e12)}, {DType::fp8, FlopsPerSecond(20e12)}});
  CHECK(toy.device.memory_efficiency == h100.device.memory_efficiency);
  CHECK(toy.device.gemm == h100.device.gemm);
  CHECK(toy.device.attention_of_peak == h100.device.attention_of_peak);
  CHECK(toy.device.attention_kernels == h100.device.attention_kernels);
  CHECK(toy.device.launch == h100.device.launch);
  CHECK(toy.intra_host == Link{.bandwidth = BytesPerSecond(50e9), .efficiency = 0.8, .latency = Seconds(5e-6)});
  CHECK(parse_device(write_device(toy), "written") == toy);
}

TEST_CASE("what a device states goes before what it is like; a share of the peak holds for all dtypes") {
  const DeviceFile toy = device(R"("like": "H100", "memory_efficiency": 0.5, "gemm": {"of_peak": 0.6},
    "attention_kernels": {"triton": 0.9}, )");
  CHECK(toy.device.memory_efficiency == 0.5);
  CHECK(toy.device.gemm.of_peak == 0.6);
  CHECK(h100.device.gemm.of_peak_by_dtype.contains(DType::fp8));
  CHECK(toy.device.gemm.share_of_peak(DType::fp8) == 0.6);
  CHECK(toy.device.gemm.wave_penalty == h100.device.gemm.wave_penalty);
  CHECK(toy.device.attention_kernels.at("triton") == 0.9);
  CHECK(toy.device.attention_kernels.at("transformer-engine") ==
        h100.device.attention_kernels.at("transformer-engine"));
  CHECK(device(R"("like": "H100", "gemm": {"depth_penalty": 7}, )").device.gemm.share_of_peak(DType::fp8) ==
        h100.device.gemm.share_of_peak(DType::fp8));
}

TEST_CASE("a link may be like another device's, with a bandwidth of its own") {
  const DeviceFile a100 = *device_named("A100-SXM4-80GB");
  REQUIRE(a100.intra_host.efficiency_of_group.size() > 1);
  const auto links = [](const std::string& more) {
    return R"("devices_per_host": 8, "intra_host": {"bandwidth": "200 GB/s", "like": "A100")" + more +
           R"(}, "nic": {"bandwidth": "100 Gbit/s", "like": "A100", "latency": "9 us"}, "nics_per_host": 2)";
  };
  const DeviceFile toy = device("", links(""));
  Link expected = a100.intra_host;
  expected.bandwidth = BytesPerSecond(200e9);
  CHECK(toy.intra_host == expected);
  CHECK(toy.nic ==
        Link{.bandwidth = BytesPerSecond(12.5e9), .efficiency = a100.nic.efficiency, .latency = Seconds(9e-6)});
  CHECK(toy.like.empty());
  CHECK(toy.device.gemm.of_peak == 0.73);  // the device itself is typical
  CHECK(parse_device(write_device(toy), "written") == toy);
  // A stated efficiency is of every group.
  CHECK(device("", links(R"(, "efficiency": 0.5)")).intra_host.effective(2) == BytesPerSecond(100e9));
}

TEST_CASE("numbers that a file leaves out say where they come from") {
  const DeviceFile toy = device(R"("like": "H100", "gemm": {"of_peak": 0.6}, )");
  CHECK_THAT(toy.sources.at("/gemm/wave_penalty"), Catch::StartsWith("as H100-SXM5-80GB: fitted"));
  CHECK_THAT(toy.sources.at("/memory_efficiency"), Catch::StartsWith("as H100-SXM5-80GB: "));
  CHECK(!toy.sources.contains("/gemm/of_peak"));  // stated: the file says so or nobody
  CHECK(!toy.sources.contains("/gemm/of_peak_by_dtype/fp8"));
  CHECK_THAT(toy.sources.at("/intra_host/latency"), Catch::StartsWith("typical of the GPUs that were measured"));
  CHECK_THAT(device("").sources.at("/launch"), Catch::StartsWith("typical of the GPUs that were measured"));
  CHECK(device(R"("sources": {"/launch": "a guess"}, )").sources.at("/launch") == "a guess");
}

TEST_CASE("a device in a cluster file may be like one that comes with the program") {
  const Cluster cluster = parse_cluster(
      R"({"schema": "meshloom.cluster/1", "name": "c", "device": {"name": "toy", "like": "H100", "memory": "64 GiB",
          "memory_bandwidth": "3350 GB/s", "peak": {"bf16": "989 TFLOP/s"}}, "devices_per_host": 8,
          "intra_host": {"bandwidth": "100 GB/s", "like": "H100"}, "nic": {"bandwidth": "100 Gbit/s"}})",
      "c.json");
  CHECK(cluster.device.gemm == h100.device.gemm);
  CHECK(cluster.intra_host.latency == h100.intra_host.latency);
  CHECK(parse_cluster(write_cluster(cluster), "written") == cluster);
}

TEST_CASE("a device that is like none or like one that is like another is refused") {
  CHECK(complaint(R"("like": "H1000", )") ==
        "d.json: /like: no device is named \"H1000\"; name one that `meshloom devices` lists");
  CHECK(complaint(R"("like": "A800", )") == "d.json: /like: \"A800\" is itself like \"A100-SXM4-80GB\"; name that one");
  CHECK_THAT(complaint("", R"("devices_per_host": 8, "intra_host": {"bandwidth": "50 GB/s", "like": "me"},
               "nic": {"bandwidth": "100 Gbit/s"}, "nics_per_host": 2)"),
             Contains("/intra_host/like: no device is named \"me\""));
}
