// Profiles at work: what was measured on a device corrects what the model says of it. A cluster carries them
// (Cluster::measured), and op_time and collective_time ask them.
//
// A time is always the model's times a ratio: measured over modelled time of samples of the same key
// (costmodel/ratio_table.hpp). So a profile of the model's own times changes no bit, and what the samples do not hold
// (shares of NICs, fused traffic) stays as modelled. Which samples count, if there are none of the key itself:
//
//   gemm           of another operand order; then never more certain than interpolated
//   other kinds    copy, as a measured memory bandwidth; extrapolated
//   collectives    of all-reduce, reduce-scatter and all-gather another, for the same group; extrapolated. Of another
//                  group none: it has other links
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "costmodel/kernel_shapes.hpp"
#include "costmodel/profile.hpp"
#include "costmodel/ratio_table.hpp"
#include "costmodel/sample_models.hpp"
#include "costmodel/time_source.hpp"

namespace meshloom {

class MeasuredTimes {
 public:
  // The profiles are of this cluster's device. Of one shape in several profiles the geometric mean counts.
  MeasuredTimes(const std::vector<Profile>& profiles, const Cluster& cluster, const Recipe& recipe);

  SourcedTime of(const KernelShape& kernel, Seconds modelled) const;
  // The ratio holds for a group that runs alone; the model says what sharing costs.
  SourcedTime of(Collective collective, Bytes whole, const DeviceGroup& group, Seconds modelled) const;
  // Of one step of the optimizer on so many parameters.
  SourcedTime of_update(DType dtype, double parameters, Seconds modelled) const;
  // No product takes less than so many times what the model says, up to rounding.
  double least_ratio_of_products() const;

 private:
  struct Series {
    SampleModel model;
    RatioTable table;
  };

  const Series* find(const OperatorKey& key) const;
  SourcedTime from(const Series& series, std::vector<std::int64_t> shape, Seconds modelled) const;
  SourcedTime from(const CollectiveKey& key, const RatioTable& table, Bytes whole, Seconds modelled) const;

  std::unique_ptr<Cluster> cluster_;  // without profiles
  std::map<OperatorKey, Series> operators_;
  std::map<CollectiveKey, RatioTable> collectives_;
};

// A profile with the file that it stands in.
struct ProfileFile {
  std::string path, digest;
  Profile profile;
};

// The cluster with the profiles at work on all groups whose device they are of. `stand_ins`: devices whose profiles are
// to be used for all groups where none has them. Throws InputError: a profile of another device that the cluster does
// not have.
Cluster with_profiles(const Cluster& cluster, const Recipe& recipe, const std::vector<ProfileFile>& profiles,
                      const std::vector<std::string>& stand_ins);

// Names of one device: case, spaces, hyphens and the maker's name in front do not count; or both are names of one
// device file, and neither that of a family ("A100": which of them was measured?).
bool same_device(const std::string& one, const std::string& other);

}  // namespace meshloom
