// Device files (`meshloom.device/1`, docs/cluster_format.md): one kind of accelerator with the links it is usually sold
// with. Those in cluster_specs/devices/ are built into the program; a cluster file may name one in place of writing the
// device, its links inside the host and its NICs, and tables of measured runs find them by an alias.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/cluster.hpp"

namespace meshloom {

struct DeviceFile {
  DeviceType device;
  std::vector<std::string> aliases;  // other names, unique among all files
  std::string like;  // the device whose kernels' constants hold where the file states none, by name; "": typical ones
  std::int64_t devices_per_host = 8;
  std::int64_t devices_per_link_domain = 8;  // that reach each other over `intra_host`, across hosts where it is more
  Link intra_host;
  Link nic;
  std::int64_t nics_per_host = 1;
  std::map<std::string, std::string> sources;  // JSON pointer in the file -> where its number comes from
  bool operator==(const DeviceFile&) const = default;
};

const std::vector<DeviceFile>& built_in_devices();  // by file name
std::optional<DeviceFile> device_named(const std::string& name_or_alias);
// Whether two names are spelled alike: case, spaces, hyphens and "NVIDIA" in front do not count, since tables and
// drivers differ in them.
bool spelled_alike(const std::string& one, const std::string& other);
bool goes_by(const DeviceFile& file, const std::string& name);  // spelled as its name or one of its aliases
// The built-in devices whose names begin with these words, if there are several, by file name: then it names a family
// ("A100", to which "A10" is no beginning), not a device, though an alias may say which one tables mean by it. Letter
// by letter as a driver prints it ("NVIDIA H800", an alias that says the maker), it names that device alone.
std::vector<std::string> family_named(const std::string& name);
// The built-in devices with this somewhere in their names, as it is spelled there or nearly: "4090", "mi300". A part
// has a digit: letters alone are in too many.
std::vector<std::string> devices_with(const std::string& part);

// Throws InputError as read_cluster does.
DeviceFile read_device_file(const std::string& path);
DeviceFile parse_device(const std::string& text, const std::string& file);
std::string write_device(const DeviceFile& file);  // parse_device reads it back to the same

// Where `like` finds the device that it names, by name or alias; the other parse_device looks among the built-in ones.
using DeviceLookup = std::function<std::optional<DeviceFile>(const std::string&)>;
DeviceFile parse_device(const std::string& text, const std::string& file, const DeviceLookup& others);
// Whether the file takes constants of another device, or of its links.
bool is_like_another(const std::string& text);

}  // namespace meshloom
