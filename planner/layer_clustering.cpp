#include "planner/layer_clustering.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <compare>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t products_of_layer = 3;
constexpr std::size_t different_ranges = 300, different_ranges_per_layer = 4;

// What clustering sees of an op.
struct Item {
  struct Read {
    double bytes;
    std::size_t before;  // the last op before this one that makes or reads the tensor
  };
  double flops = 0;         // forward, one sample
  std::vector<Read> reads;  // activations, each once
};

std::vector<Item> items_of(const Graph& graph, const TrainingGraph& training) {
  std::vector<Item> items(graph.ops.size());
  for (std::size_t o = 0; o < items.size(); ++o) items[o].flops = forward_flops(graph.ops[o], 1).value();
  for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
    const std::optional<OpId> producer = training.relations.producer[t];
    if (!producer) continue;  // parameters and inputs are not received
    const double bytes = size_of(graph.tensors[t].dtype).value() * elements(graph.tensors[t], 1);
    std::size_t before = index(*producer);
    for (const OpId reader : training.relations.consumers[t]) {
      items[index(reader)].reads.push_back({bytes, before});
      before = index(reader);
    }
  }
  return items;
}

// A candidate for a layer: the units [begin, end).
struct Range {
  std::size_t begin = 0, end = 0;
  double flops = 0, received = 0;
  std::size_t products = 0;      // ops with FLOPs
  std::size_t loaded_units = 0;  // units with FLOPs
  double load() const { return loaded_units > 1 ? flops : 0; }
};

// Both sums of a clustering that rules 2 and 3 compare: the variance follows from the squares, as the mean is given.
struct Sums {
  double squares = infinity, received = 0;
  auto operator<=>(const Sums&) const = default;
};

class Clustering {
 public:
  // `starts`: the first ops of the units.
  Clustering(const std::vector<Item>& items, std::vector<std::size_t> starts, double imbalance)
      : items_(items), starts_(std::move(starts)), imbalance_(imbalance) {
    starts_.push_back(items.size());
    for (const Item& item : items_) total_flops_ += item.flops;
  }

  std::size_t units() const { return starts_.size() - 1; }

  // Within (1 + δ) times the average, else within the least bound that is possible.
  std::vector<std::size_t> best(std::size_t layers) {
    use(layers);
    double received = least_largest([](const Range& range) { return range.received; });
    if (received == infinity) {
      bound_ = infinity;
      bound_ = least_largest([](const Range& range) { return range.load(); });
      received = least_largest([](const Range& range) { return range.received; });
    }
    return most_even(received);
  }

  // Within (1 + δ) times the average and with enough products in each layer; none: there is no such clustering.
  std::optional<std::vector<std::size_t>> best_with_products(std::size_t layers) {
    use(layers);
    enough_products_ = true;
    const double received = least_largest([](const Range& range) { return range.received; });
    if (received == infinity) return std::nullopt;
    return most_even(received);
  }

 private:
  void use(std::size_t layers) {
    layers_ = layers;
    average_ = total_flops_ / static_cast<double>(layers);
    bound_ = (1 + imbalance_) * average_;
    enough_products_ = false;
  }

  bool admissible(const Range& range) const {
    if (range.load() > bound_) return false;
    if (!enough_products_ || range.products >= products_of_layer) return true;
    return range.products == 1 && range.flops >= average_ / 2;
  }

  // Calls visit(range) for every admissible range that begins at a unit.
  template <typename Visit>
  void for_each_range(std::size_t begin, const Visit& visit) const {
    Range range{begin, begin};
    while (range.end < units()) {
      double flops = 0;
      for (std::size_t o = starts_[range.end]; o < starts_[range.end + 1]; ++o) {
        flops += items_[o].flops;
        range.products += items_[o].flops > 0 ? 1 : 0;
        for (const Item::Read& read : items_[o].reads)
          if (read.before < starts_[begin]) range.received += read.bytes;
      }
      range.flops += flops;
      range.loaded_units += flops > 0 ? 1 : 0;
      ++range.end;
      if (range.load() > bound_) return;  // a longer range has no less
      if (admissible(range)) visit(range);
    }
  }

  // values(l, u): of the units from u on, in l layers.
  template <typename Value>
  class Table {
   public:
    Table(std::size_t layers, std::size_t units, Value value)
        : width_(units + 1), values_((layers + 1) * width_, value) {}
    Value& operator()(std::size_t layers, std::size_t unit) { return values_[layers * width_ + unit]; }

   private:
    std::size_t width_;
    std::vector<Value> values_;
  };

  // The least, over all clusterings, of the largest weight of a layer.
  template <typename Weight>
  double least_largest(const Weight& weight) const {
    Table<double> least(layers_, units(), infinity);
    least(0, units()) = 0;
    for (std::size_t begin = units(); begin-- > 0;)
      for_each_range(begin, [&](const Range& range) {
        for (std::size_t l = 1; l <= layers_; ++l)
          least(l, begin) = std::min(least(l, begin), std::max(weight(range), least(l - 1, range.end)));
      });
    return least(layers_, 0);
  }

  // The first units of the layers by rules 2 to 4.
  std::vector<std::size_t> most_even(double most_received) const {
    Table<Sums> least(layers_, units(), Sums{});
    Table<std::size_t> ends(layers_, units(), 0);
    least(0, units()) = {0, 0};
    for (std::size_t begin = units(); begin-- > 0;)
      for_each_range(begin, [&](const Range& range) {
        if (range.received > most_received) return;
        for (std::size_t l = 1; l <= layers_; ++l) {
          const Sums& rest = least(l - 1, range.end);
          const Sums sums{rest.squares + range.flops * range.flops, rest.received + range.received};
          if (!(sums < least(l, begin))) continue;  // of equal ones the earliest end stays
          least(l, begin) = sums;
          ends(l, begin) = range.end;
        }
      });
    std::vector<std::size_t> begins{0};
    for (std::size_t l = layers_; l > 1; --l) begins.push_back(ends(l, begins.back()));
    return begins;
  }

  const std::vector<Item>& items_;
  std::vector<std::size_t> starts_;  // by unit, and behind the last the number of ops
  double imbalance_, total_flops_ = 0;
  std::size_t layers_ = 1;
  double average_ = 0, bound_ = 0;
  bool enough_products_ = false;
};

// The first ops of units between which cuts are narrow; op 0 first.
std::vector<std::size_t> narrow_starts(const std::vector<Item>& items) {
  std::vector<std::size_t> products(items.size() + 1, 0);  // before an op
  std::vector<double> crossing(items.size() + 1, 0);       // bytes that cross the cut before an op
  for (std::size_t o = 0; o < items.size(); ++o) {
    products[o + 1] = products[o] + (items[o].flops > 0 ? 1 : 0);
    for (const Item::Read& read : items[o].reads)
      for (std::size_t cut = read.before + 1; cut <= o; ++cut) crossing[cut] += read.bytes;
  }
  const auto separates_products = [&](std::size_t cut) { return products[cut] > 0 && products[cut] < products.back(); };
  const auto narrow = [&](std::size_t cut) {
    const auto none_better = [&](std::size_t other) {
      return !separates_products(other) || crossing[other] >= crossing[cut];
    };
    for (std::size_t other = cut; other > 0 && products[cut] - products[other] < products_of_layer; --other)
      if (!none_better(other)) return false;
    for (std::size_t other = cut; other < items.size() && products[other] - products[cut] < products_of_layer; ++other)
      if (!none_better(other)) return false;
    return true;
  };
  std::vector<std::size_t> starts{0};
  for (std::size_t cut = 1; cut < items.size(); ++cut)
    if (separates_products(cut) && narrow(cut)) starts.push_back(cut);
  return starts;
}

// Ranges of layers that do not look alike, by their ops' kinds, rules and sizes. (RangeClasses looks closer.)
std::size_t count_different_ranges(const Graph& graph, const std::vector<std::size_t>& begins) {
  std::map<std::string, std::size_t> looks;
  std::vector<std::size_t> look_of_layer;
  for (std::size_t l = 0; l < begins.size(); ++l) {
    std::string text;
    const std::size_t end = l + 1 < begins.size() ? begins[l + 1] : graph.ops.size();
    for (std::size_t o = begins[l]; o < end; ++o) {
      text += fmt::format("{} {}", traits(graph.ops[o].kind).name, print_rule(graph.ops[o].rule));
      for (const Extent& size : graph.ops[o].factor_sizes) text += fmt::format(" {}", size.size);
      text += '\n';
    }
    look_of_layer.push_back(looks.emplace(std::move(text), looks.size()).first->second);
  }
  std::set<std::vector<std::size_t>> ranges;
  for (auto first = look_of_layer.begin(); first != look_of_layer.end(); ++first)
    for (auto end = first + 1; end <= look_of_layer.end(); ++end) {
      ranges.emplace(first, end);
      if (end == look_of_layer.end()) break;
    }
  return ranges.size();
}

std::vector<std::size_t> cluster_as_many_as_useful(const Graph& graph, const std::vector<Item>& items,
                                                   const ClusteringOptions& options) {
  const auto products = static_cast<std::size_t>(
      std::count_if(items.begin(), items.end(), [](const Item& item) { return item.flops > 0; }));
  const std::vector<std::size_t> starts = narrow_starts(items);
  Clustering clustering(items, starts, options.imbalance);
  for (std::size_t layers = std::min({options.most_layers, products / products_of_layer, starts.size()}); layers > 1;
       --layers) {
    std::optional<std::vector<std::size_t>> begins = clustering.best_with_products(layers);
    if (!begins) continue;
    for (std::size_t& begin : *begins) begin = starts[begin];
    if (count_different_ranges(graph, *begins) <= std::max(different_ranges, different_ranges_per_layer * layers))
      return *begins;
  }
  return {0};
}

std::vector<std::size_t> cluster_into(const std::vector<Item>& items, const ClusteringOptions& options) {
  std::vector<std::size_t> starts = options.may_begin;
  for (std::size_t o = 0; options.may_begin.empty() && o < items.size(); ++o) starts.push_back(o);
  if (*options.layers == 0 || *options.layers > starts.size())
    throw InputError("--layers",
                     fmt::format("must be between 1 and {}, the number of {}, is {}", starts.size(),
                                 options.may_begin.empty() ? "ops" : "layers that the graph tags", *options.layers));
  Clustering clustering(items, starts, options.imbalance);
  std::vector<std::size_t> begins = clustering.best(*options.layers);
  for (std::size_t& begin : begins) begin = starts[begin];
  return begins;
}

}  // namespace

std::vector<std::vector<OpId>> cluster_layers(const Graph& graph, const TrainingGraph& training,
                                              const ClusteringOptions& options) {
  if (graph.ops.empty()) return {};
  const std::vector<Item> items = items_of(graph, training);
  const std::vector<std::size_t> begins =
      options.layers ? cluster_into(items, options) : cluster_as_many_as_useful(graph, items, options);
  std::vector<std::vector<OpId>> layers;
  for (std::size_t o = 0; o < items.size(); ++o) {
    if (layers.size() < begins.size() && begins[layers.size()] == o) layers.emplace_back();
    layers.back().push_back(OpId{static_cast<std::uint32_t>(o)});
  }
  return layers;
}

Bytes received_bytes(const Graph& graph, const TrainingGraph& training, std::size_t begin, std::size_t end) {
  const std::vector<Item> items = items_of(graph, training);
  Bytes received;
  for (std::size_t o = begin; o < end; ++o)
    for (const Item::Read& read : items[o].reads)
      if (read.before < begin) received += Bytes(read.bytes);
  return received;
}

}  // namespace meshloom
