// What must hold of every device that comes with the program, and of those that differ in one thing.
#include <catch2/catch.hpp>

#include "accuracy/uncertainty.hpp"
#include "costmodel/device_files.hpp"
#include "costmodel/sample_models.hpp"

using namespace meshloom;

namespace {

Cluster cluster_of(const std::string& device, std::int64_t devices = 8) {
  return parse_cluster(R"({"schema": "meshloom.cluster/1", "name": "c", "device": ")" + device +
                           R"(", "devices_per_host": )" + std::to_string(devices) + "}",
                       "c.json");
}

Seconds product(const Cluster& cluster, DType dtype, std::int64_t size) {
  const OperatorKey key{.kind = MeasuredOperator::gemm, .dtype = dtype};
  return SampleModel(cluster, Recipe{}, key).time(std::vector<std::int64_t>{1, size, size, size});
}

Seconds all_reduce(const Cluster& cluster, std::int64_t devices) {
  return modelled_sample(cluster, {.kind = MeasuredCollective::all_reduce, .devices_per_host = devices}, 1 << 28);
}

bool is_measured(const DeviceFile& file) { return rows_of_device(shipped_uncertainty(), file.device.name) > 0; }

}  // namespace

TEST_CASE("no device sustains more than its peak or its links") {
  for (const DeviceFile& file : built_in_devices()) {
    INFO(file.device.name);
    const Cluster cluster = cluster_of(file.device.name);
    for (const auto& [dtype, peak] : file.device.peak) {
      INFO(name(dtype));
      CHECK(2 * 8192.0 * 8192 * 8192 / product(cluster, dtype, 8192).value() <= peak.value());
    }
    // A ring moves 7/4 of the bytes over each link.
    const std::int64_t devices = std::min<std::int64_t>(8, file.devices_per_host);
    if (devices == 8) CHECK(1.75 * (1 << 28) / all_reduce(cluster, 8).value() <= file.intra_host.bandwidth.value());
    CHECK(file.intra_host.efficiency <= 1);
    CHECK(file.nic.efficiency <= 1);
  }
}

TEST_CASE("every device multiplies in 16 bits, at least as fast as in 32 and at most half as fast as in 8") {
  for (const DeviceFile& file : built_in_devices()) {
    INFO(file.device.name);
    const FlopsPerSecond peak = peak_for(file.device, DType::bf16);
    CHECK(peak_for(file.device, DType::fp16) == peak);
    CHECK(file.device.peak.at(DType::fp32) < peak);
    const auto fp8 = file.device.peak.find(DType::fp8);
    if (fp8 != file.device.peak.end()) CHECK(fp8->second.value() == Approx(2 * peak.value()).epsilon(0.03));
  }
}

TEST_CASE("devices that no run was measured on say what they are like, or that they are typical") {
  std::size_t unmeasured = 0;
  for (const DeviceFile& file : built_in_devices()) {
    INFO(file.device.name);
    if (is_measured(file)) {
      CHECK(file.like.empty());
      for (const auto& [pointer, text] : file.sources) CHECK_THAT(text, !Catch::StartsWith("typical of"));
      continue;
    }
    ++unmeasured;
    if (!file.like.empty()) CHECK(is_measured(*device_named(file.like)));
    for (const auto& [pointer, text] : file.sources)
      if (pointer.starts_with("/gemm")) CHECK_THAT(text, !Catch::StartsWith("fitted"));
  }
  CHECK(unmeasured == 36);
}

// A plan may divide eight devices into pairs along three axes: were pairs faster, every collective would be one of
// pairs.
TEST_CASE("no small group of a device without runs is faster than a large one") {
  for (const DeviceFile& file : built_in_devices()) {
    if (is_measured(file)) continue;
    INFO(file.device.name);
    for (std::int64_t size = 2; size < file.devices_per_host; ++size)
      CHECK(file.intra_host.effective(size) <= file.intra_host.effective(size + 1));
  }
}

TEST_CASE("a chip with other links multiplies as fast and communicates slower") {
  for (const auto& [slower, faster] :
       {std::pair{"H800-SXM5-80GB", "H100-SXM5-80GB"}, {"A800-SXM4-80GB", "A100-SXM4-80GB"}}) {
    INFO(slower);
    const Cluster one = cluster_of(slower), other = cluster_of(faster);
    CHECK(one.device.memory == other.device.memory);
    for (const auto& [dtype, peak] : other.device.peak) CHECK(product(one, dtype, 4096) == product(other, dtype, 4096));
    // NVLink of 200 instead of 450 and 300 GB/s.
    const double ratio = other.intra_host.bandwidth / one.intra_host.bandwidth;
    CHECK(all_reduce(one, 8) > all_reduce(other, 8) * (0.9 * ratio));
    CHECK(all_reduce(one, 8) < all_reduce(other, 8) * ratio);
  }
}

TEST_CASE("less of a chip is slower") {
  for (const auto& [slower, faster] : {std::pair{"H20-SXM-96GB", "H100-SXM5-80GB"},
                                       {"H100-PCIE-80GB", "H100-SXM5-80GB"},
                                       {"A100-PCIE-80GB", "A100-SXM4-80GB"},
                                       {"A30-24GB", "A100-SXM4-80GB"},
                                       {"L4-24GB", "L40-48GB"},
                                       {"RTX-3090-24GB", "RTX-4090-24GB"},
                                       {"RTX-4090-24GB", "RTX-5090-32GB"},
                                       {"V100-PCIE-32GB", "V100-SXM2-32GB"},
                                       {"MI250-GCD-64GB", "MI250X-GCD-64GB"},
                                       {"MI300X-192GB", "MI355X-288GB"}}) {
    INFO(slower << " and " << faster);
    CHECK(product(cluster_of(slower), DType::bf16, 8192) > product(cluster_of(faster), DType::bf16, 8192));
  }
}
