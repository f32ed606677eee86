// Devices and links as JSON, in cluster files and in device files.
#pragma once

#include "costmodel/cluster.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {

// Shares, penalties, launches and latencies that a file leaves out are those of the device that the object is "like",
// one that comes with the program; without one they are typical of the GPUs that were measured: docs/cluster_format.md.
DeviceType read_device(const JsonInput& json);
Link read_intra_host(const JsonInput& json);
Link read_nic(const JsonInput& json);
Link read_link(const JsonInput& json);  // without checking its keys; what is left out is all of the bandwidth, at once
Json device_json(const DeviceType& device);
Json link_json(const Link& link);

}  // namespace meshloom
