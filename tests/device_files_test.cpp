#include "costmodel/device_files.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "graphs/json_input.hpp"

using namespace meshloom;
using Catch::Contains;

namespace {

const std::string smallest = R"({"schema": "meshloom.device/1", "name": "toy", "memory": "1 GiB",
  "memory_bandwidth": "1 GB/s", "peak": {"bf16": "10 TFLOP/s"}, "devices_per_host": 4,
  "intra_host": {"bandwidth": "50 GB/s"}, "nic": {"bandwidth": "100 Gbit/s"}, "nics_per_host": 2})";

std::string with(const std::string& from, const std::string& to) {
  std::string text = smallest;
  REQUIRE(text.find(from) != std::string::npos);
  return text.replace(text.find(from), from.size(), to);
}

std::string complaint(const std::string& text) {
  try {
    parse_device(text, "d.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no complaint";
}

Cluster cluster_of(const std::string& keys) {
  return parse_cluster(R"({"schema": "meshloom.cluster/1", "name": "c", "devices_per_host": 8, )" + keys + "}",
                       "c.json");
}

}  // namespace

TEST_CASE("every device file survives writing and reading") {
  CHECK(built_in_devices().size() >= 47);
  for (const DeviceFile& file : built_in_devices()) {
    INFO(file.device.name);
    CHECK(parse_device(write_device(file), "written") == file);
  }
  DeviceFile file = parse_device(smallest, "d.json");
  CHECK(parse_device(write_device(file), "written") == file);
  CHECK(file.devices_per_link_domain == 4);  // as many as a host has, unless told
  file.devices_per_link_domain = 72;
  file.device.attention_kernels = {{"triton", 0.3}};
  file.device.gemm.of_peak_by_dtype = {{DType::fp8, 0.5}};
  CHECK(parse_device(write_device(file), "written") == file);
}

TEST_CASE("a device goes by its name and by its aliases, none of which two devices share") {
  std::set<std::string> names;
  for (const DeviceFile& file : built_in_devices()) {
    CHECK(names.insert(file.device.name).second);
    CHECK(device_named(file.device.name) == file);
    for (const std::string& alias : file.aliases) {
      INFO(alias);
      CHECK(names.insert(alias).second);
      CHECK(device_named(alias) == file);
    }
  }
  CHECK(device_named("A100-80GB-SXM")->device.name == "A100-SXM4-80GB");
  CHECK(!device_named("A1000"));
}

TEST_CASE("a device goes by the name that its driver prints") {
  for (const auto& [driver, name] : {std::pair{"Tesla V100-SXM2-16GB", "V100-SXM2-16GB"},
                                     {"Tesla V100-SXM2-32GB", "V100-SXM2-32GB"},
                                     {"NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"},
                                     {"NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"},
                                     {"NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"},
                                     {"NVIDIA H200", "H200-SXM-141GB"},
                                     {"NVIDIA B200", "B200-SXM-180GB"},
                                     {"NVIDIA B300 SXM6 AC", "B300-SXM-288GB"},
                                     {"NVIDIA GB200", "GB200-186GB"},
                                     {"NVIDIA GB300", "GB300-288GB"},
                                     {"Tesla V100-PCIE-16GB", "V100-PCIE-16GB"},
                                     {"Tesla V100-PCIE-32GB", "V100-PCIE-32GB"},
                                     {"Tesla V100-SXM3-32GB", "V100-SXM3-32GB"},
                                     {"Tesla T4", "T4-16GB"},
                                     {"NVIDIA A10", "A10-24GB"},
                                     {"NVIDIA A10G", "A10G-24GB"},
                                     {"NVIDIA A30", "A30-24GB"},
                                     {"NVIDIA A40", "A40-48GB"},
                                     {"NVIDIA A100-PCIE-40GB", "A100-PCIE-40GB"},
                                     {"NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"},
                                     {"NVIDIA A800-SXM4-80GB", "A800-SXM4-80GB"},
                                     {"NVIDIA A800 80GB PCIe", "A800-PCIE-80GB"},
                                     {"NVIDIA H800", "H800-SXM5-80GB"},
                                     {"NVIDIA H800 PCIe", "H800-PCIE-80GB"},
                                     {"NVIDIA H100 PCIe", "H100-PCIE-80GB"},
                                     {"NVIDIA H100 NVL", "H100-NVL-94GB"},
                                     {"NVIDIA H20", "H20-SXM-96GB"},
                                     {"NVIDIA GH200 480GB", "GH200-96GB"},
                                     {"NVIDIA GH200 144G HBM3e", "GH200-144GB"},
                                     {"NVIDIA L4", "L4-24GB"},
                                     {"NVIDIA L40", "L40-48GB"},
                                     {"NVIDIA L40S", "L40S-48GB"},
                                     {"NVIDIA RTX A5000", "RTX-A5000-24GB"},
                                     {"NVIDIA RTX A6000", "RTX-A6000-48GB"},
                                     {"NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada-48GB"},
                                     {"NVIDIA GeForce RTX 3090", "RTX-3090-24GB"},
                                     {"NVIDIA GeForce RTX 4090", "RTX-4090-24GB"},
                                     {"NVIDIA GeForce RTX 5090", "RTX-5090-32GB"},
                                     {"NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000-Blackwell-96GB"},
                                     {"AMD Instinct MI210", "MI210-64GB"},
                                     {"AMD Instinct MI250X", "MI250X-GCD-64GB"},
                                     {"AMD Instinct MI300X", "MI300X-192GB"},
                                     {"AMD Instinct MI325X", "MI325X-256GB"},
                                     {"AMD Instinct MI350X", "MI350X-288GB"},
                                     {"AMD Instinct MI355X", "MI355X-288GB"}}) {
    INFO(driver);
    REQUIRE(device_named(driver));
    CHECK(device_named(driver)->device.name == name);
  }
  for (const char* other :
       {"NVIDIA H200 NVL", "NVIDIA H20-3e", "NVIDIA L20", "NVIDIA A100-SXM-64GB", "NVIDIA RTX A4000",
        "NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 3090 Ti", "Tesla V100S-PCIE-32GB",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "AMD Instinct MI300A"}) {
    INFO(other);
    CHECK(!device_named(other));
  }
}

TEST_CASE("every number of a device file has a source, and every source a number") {
  for (const DeviceFile& device : built_in_devices()) {
    Json json = Json::parse(write_device(device));
    std::vector<std::string> sourced = {"/schema", "/name", "/aliases"};
    for (const auto& [pointer, text] : device.sources) {
      INFO(device.device.name << " " << pointer);
      CHECK(json.contains(Json::json_pointer(pointer)));
      CHECK(text.size() > 10);
      sourced.push_back(pointer);
    }
    json.erase("sources");
    const Json leaves = json.flatten();
    for (const auto& [pointer, value] : leaves.items()) {
      const auto covers = [&, &leaf = pointer](const std::string& source) {
        return leaf.starts_with(source) && (leaf.size() == source.size() || leaf[source.size()] == '/');
      };
      INFO(device.device.name << " " << pointer);
      CHECK(std::any_of(sourced.begin(), sourced.end(), covers));
    }
  }
}

TEST_CASE("a cluster that names a device has its links and NICs, those it states excepted") {
  const DeviceFile file = *device_named("H100-SXM5-80GB");
  const Cluster named = cluster_of(R"("device": "H100-SXM5-80GB", "hosts": 4)");
  CHECK(named.device == file.device);
  CHECK(named.intra_host == file.intra_host);
  CHECK(named.nic == file.nic);
  CHECK(named.nics_per_host == file.nics_per_host);
  CHECK(named.hosts == 4);
  CHECK(named.sources.at("/device/memory") == file.sources.at("/memory"));
  CHECK(named.sources.at("/nic/bandwidth") == file.sources.at("/nic/bandwidth"));
  const Cluster slower =
      cluster_of(R"("device": "H100-SXM5-80GB", "nic": {"bandwidth": "100 Gbit/s"}, "nics_per_host": 1)");
  CHECK(slower.nic == Link{.bandwidth = BytesPerSecond(12.5e9), .efficiency = 0.85, .latency = Seconds(15e-6)});
  CHECK(slower.nics_per_host == 1);
  CHECK(slower.intra_host == file.intra_host);
  // A plan holds the cluster whole.
  CHECK(parse_cluster(write_cluster(named), "written") == named);
}

TEST_CASE("an unknown device is refused with a suggestion") {
  try {
    cluster_of(R"("device": "H100-SXN5-80GB")");
    FAIL("was accepted");
  } catch (const InputError& error) {
    CHECK(std::string(error.what()) ==
          "c.json: /device: no device file is named \"H100-SXN5-80GB\"; write the device as an object or name one that "
          "`meshloom devices` lists; did you mean \"H100-SXM5-80GB\"?");
  }
}

TEST_CASE("a part of a device's name is answered with the devices that have it") {
  const auto complaint_about = [](const std::string& device) -> std::string {
    try {
      cluster_of("\"device\": \"" + device + "\"");
    } catch (const InputError& error) {
      return error.what();
    }
    return "no complaint";
  };
  CHECK(complaint_about("4090") ==
        "c.json: /device: no device file is named \"4090\", but its name is part of RTX-4090-24GB; name one, or write "
        "the device as an object");
  CHECK(complaint_about("mi300").find("part of MI300X-192GB; name one") != std::string::npos);
  CHECK(devices_with("").empty());
  CHECK(devices_with("gb").empty());
  CHECK(devices_with("4").empty());
}

TEST_CASE("a bad device file is refused with place, value and remedy") {
  CHECK(complaint(smallest) == "no complaint");
  CHECK(complaint(with("\"nics_per_host\"", "\"nic_per_host\"")) ==
        "d.json: unknown key \"nic_per_host\"; did you mean \"nics_per_host\"?");
  CHECK(complaint(with("\"1 GB/s\"", "\"0 GB/s\"")) ==
        "d.json: /memory_bandwidth: must be more than zero, is \"0 GB/s\"");
  CHECK(complaint(with("\"devices_per_host\": 4", "\"devices_per_host\": 4, \"devices_per_link_domain\": 2")) ==
        "d.json: /devices_per_link_domain: must be at least 4, is 2");
  CHECK(complaint(with("\"peak\"", "\"attention_kernels\": {\"triton\": 1.5}, \"peak\"")) ==
        "d.json: /attention_kernels/triton: must be at most 1, is 1.5");
  CHECK(complaint(with("\"peak\"", "\"gemm\": {\"of_peak_by_dtype\": {\"fp9\": 0.5}}, \"peak\"")) ==
        "d.json: /gemm/of_peak_by_dtype/fp9: unknown dtype \"fp9\"; expected one of: bf16, fp16, fp32, fp8, fp4; did "
        "you mean \"fp8\"?");
  CHECK_THAT(complaint(with("device/1", "devices/1")), Contains("/schema: is \"meshloom.devices/1\"; expected"));
}
