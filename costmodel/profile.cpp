#include "costmodel/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace meshloom {
namespace {

struct OperatorRow {
  MeasuredOperator kind;
  std::string_view name;
};

constexpr std::array operator_rows{
    OperatorRow{MeasuredOperator::gemm, "gemm"},
    OperatorRow{MeasuredOperator::attention, "attention"},
    OperatorRow{MeasuredOperator::copy, "copy"},
    OperatorRow{MeasuredOperator::optimizer, "optimizer"},
    OperatorRow{MeasuredOperator::add, "add"},
    OperatorRow{MeasuredOperator::scale, "scale"},
    OperatorRow{MeasuredOperator::multiply, "multiply"},
    OperatorRow{MeasuredOperator::gelu, "gelu"},
    OperatorRow{MeasuredOperator::relu, "relu"},
    OperatorRow{MeasuredOperator::silu, "silu"},
    OperatorRow{MeasuredOperator::softmax, "softmax"},
    OperatorRow{MeasuredOperator::layer_norm, "layer_norm"},
    OperatorRow{MeasuredOperator::rms_norm, "rms_norm"},
    OperatorRow{MeasuredOperator::batch_norm, "batch_norm"},
    OperatorRow{MeasuredOperator::rotary, "rotary"},
    OperatorRow{MeasuredOperator::dropout, "dropout"},
    OperatorRow{MeasuredOperator::max_pool, "max_pool"},
    OperatorRow{MeasuredOperator::cross_entropy, "cross_entropy"},
    OperatorRow{MeasuredOperator::sum, "sum"},
    OperatorRow{MeasuredOperator::gather, "gather"},
    OperatorRow{MeasuredOperator::transpose, "transpose"},
};

constexpr std::array collective_kinds{MeasuredCollective::all_gather, MeasuredCollective::reduce_scatter,
                                      MeasuredCollective::all_reduce, MeasuredCollective::all_to_all,
                                      MeasuredCollective::send_receive};

template <typename Series, typename Key>
auto place_of(Series& series, const Key& key) {
  return std::lower_bound(series.begin(), series.end(), key,
                          [](const auto& one, const Key& wanted) { return one.key < wanted; });
}

const std::vector<std::int64_t>& position(const OperatorSample& sample) { return sample.shape; }
std::int64_t position(const CollectiveSample& sample) { return sample.bytes; }

template <typename Samples, typename Position>
auto sample_at(Samples& samples, const Position& wanted) {
  return std::lower_bound(samples.begin(), samples.end(), wanted,
                          [](const auto& sample, const Position& other) { return position(sample) < other; });
}

template <typename SeriesList, typename Key, typename Sample>
bool insert(SeriesList& list, const Key& key, const Sample& sample) {
  auto series = place_of(list, key);
  if (series == list.end() || series->key != key) series = list.insert(series, {key, {}});
  const auto place = sample_at(series->samples, position(sample));
  if (place != series->samples.end() && position(*place) == position(sample)) return false;
  series->samples.insert(place, sample);
  return true;
}

template <typename SeriesList, typename Key, typename Position>
bool holds(const SeriesList& list, const Key& key, const Position& wanted) {
  const auto series = place_of(list, key);
  if (series == list.end() || series->key != key) return false;
  const auto place = sample_at(series->samples, wanted);
  return place != series->samples.end() && position(*place) == wanted;
}

}  // namespace

std::string_view name(MeasuredOperator kind) {
  const auto row = std::find_if(operator_rows.begin(), operator_rows.end(),
                                [&](const OperatorRow& candidate) { return candidate.kind == kind; });
  return row->name;
}

std::optional<MeasuredOperator> measured_operator_named(std::string_view wanted) {
  for (const OperatorRow& row : operator_rows)
    if (row.name == wanted) return row.kind;
  return std::nullopt;
}

std::vector<MeasuredOperator> measured_operators() {
  std::vector<MeasuredOperator> kinds;
  for (const OperatorRow& row : operator_rows) kinds.push_back(row.kind);
  return kinds;
}

std::span<const std::string_view> shape_names(MeasuredOperator kind) {
  static constexpr std::array<std::string_view, 4> gemm{"batch", "m", "n", "k"};
  static constexpr std::array<std::string_view, 6> attention{"batch",   "heads", "kv_heads",
                                                             "queries", "keys",  "head_dim"};
  static constexpr std::array<std::string_view, 1> optimizer{"parameters"};
  static constexpr std::array<std::string_view, 2> rows{"bytes", "columns"};
  static constexpr std::array<std::string_view, 1> bytes{"bytes"};
  switch (kind) {
    case MeasuredOperator::gemm:
      return gemm;
    case MeasuredOperator::attention:
      return attention;
    case MeasuredOperator::optimizer:
      return optimizer;
    case MeasuredOperator::softmax:
    case MeasuredOperator::layer_norm:
    case MeasuredOperator::rms_norm:
    case MeasuredOperator::cross_entropy:
      return rows;
    case MeasuredOperator::copy:
    case MeasuredOperator::add:
    case MeasuredOperator::scale:
    case MeasuredOperator::multiply:
    case MeasuredOperator::gelu:
    case MeasuredOperator::relu:
    case MeasuredOperator::silu:
    case MeasuredOperator::batch_norm:
    case MeasuredOperator::rotary:
    case MeasuredOperator::dropout:
    case MeasuredOperator::max_pool:
    case MeasuredOperator::sum:
    case MeasuredOperator::gather:
    case MeasuredOperator::transpose:
      return bytes;
  }
  return bytes;
}

bool has_direction(MeasuredOperator kind) {
  return kind != MeasuredOperator::gemm && kind != MeasuredOperator::copy && kind != MeasuredOperator::optimizer;
}

std::string_view name(Direction direction) { return direction == Direction::forward ? "forward" : "backward"; }

std::string_view name(OperandOrder order) {
  switch (order) {
    case OperandOrder::nn:
      return "nn";
    case OperandOrder::nt:
      return "nt";
    case OperandOrder::tn:
      return "tn";
    case OperandOrder::tt:
      return "tt";
  }
  return "";
}

std::string_view name(MeasuredCollective kind) {
  switch (kind) {
    case MeasuredCollective::all_gather:
      return "all_gather";
    case MeasuredCollective::reduce_scatter:
      return "reduce_scatter";
    case MeasuredCollective::all_reduce:
      return "all_reduce";
    case MeasuredCollective::all_to_all:
      return "all_to_all";
    case MeasuredCollective::send_receive:
      return "send_receive";
  }
  return "";
}

std::optional<MeasuredCollective> measured_collective_named(std::string_view wanted) {
  for (const MeasuredCollective kind : collective_kinds)
    if (name(kind) == wanted) return kind;
  return std::nullopt;
}

bool add_sample(Profile& profile, const OperatorKey& key, const OperatorSample& sample) {
  return insert(profile.operators, key, sample);
}

bool add_sample(Profile& profile, const CollectiveKey& key, const CollectiveSample& sample) {
  return insert(profile.collectives, key, sample);
}

bool has_sample(const Profile& profile, const OperatorKey& key, const std::vector<std::int64_t>& shape) {
  return holds(profile.operators, key, shape);
}

bool has_sample(const Profile& profile, const CollectiveKey& key, std::int64_t bytes) {
  return holds(profile.collectives, key, bytes);
}

std::string describe(const OperatorKey& key) {
  std::string text = fmt::format("{} {}", name(key.kind), name(key.dtype));
  if (key.kind == MeasuredOperator::gemm) text += fmt::format(" {}", name(key.operands));
  if (key.kind == MeasuredOperator::attention && key.causal) text += " causal";
  if (has_direction(key.kind)) text += fmt::format(" {}", name(key.direction));
  return text;
}

std::string describe(const CollectiveKey& key) {
  return fmt::format("{} {}x{}", name(key.kind), key.hosts, key.devices_per_host);
}

}  // namespace meshloom
