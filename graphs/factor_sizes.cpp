#include "graphs/factor_sizes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

class Binding {
 public:
  Binding(const ShardingRule& rule, std::span<const BoundDimension> dimensions, const DimensionNames& names)
      : rule_(rule), dimensions_(dimensions), names_(names), known_(rule.factors.size()) {}

  bool knows(std::size_t factor) const { return known_[factor].has_value(); }
  Extent size(std::size_t factor) const { return known_[factor]->extent; }
  void set(std::size_t factor, Extent extent, const std::string& source) { known_[factor] = {extent, source}; }

  // Sets every factor that a dimension determines, until nothing changes, and checks the dimensions that are known.
  void propagate() {
    for (bool changed = true; changed;) {
      changed = false;
      for (const BoundDimension& dimension : dimensions_) changed = visit(dimension) || changed;
    }
  }

 private:
  struct Known {
    Extent extent;
    std::string source;
  };

  std::string print(Extent extent) const { return print_extent(extent, names_.batch_dim); }

  // "n = 32 (dimension 1 of "q"), d = 64 (…)"
  std::string known_factors(const BoundDimension& dimension) const {
    std::vector<std::string> parts;
    for (const FactorId factor : dimension.factors)
      if (const std::optional<Known>& known = known_[index(factor)])
        parts.push_back(
            fmt::format("{} = {} ({})", rule_.factors[index(factor)].name, print(known->extent), known->source));
    return parts.empty() ? "1" : fmt::format("{}", fmt::join(parts, ", "));
  }

  bool visit(const BoundDimension& dimension) {
    Extent whole;
    std::optional<FactorId> unknown;
    for (const FactorId factor : dimension.factors) {
      const std::optional<Known>& known = known_[index(factor)];
      if (!known && unknown) return false;
      if (!known) unknown = factor;
      if (!known) continue;
      const std::optional<Extent> larger = product(whole, known->extent);
      if (!larger) contradict(dimension);
      whole = *larger;
    }
    if (!unknown) {
      if (whole != dimension.extent) contradict(dimension);
      return false;
    }
    const std::optional<Extent> rest = quotient(dimension.extent, whole);
    if (!rest)
      throw InputError(dimension.place, fmt::format("{} is {}, which is not divisible by {}", dimension.description,
                                                    print(dimension.extent), known_factors(dimension)));
    set(index(*unknown), *rest, dimension.description);
    return true;
  }

  [[noreturn]] void contradict(const BoundDimension& dimension) const {
    throw InputError(dimension.place,
                     fmt::format("{} is {}, but the rule \"{}\" makes it {}", dimension.description,
                                 print(dimension.extent), print_rule(rule_), known_factors(dimension)));
  }

  const ShardingRule& rule_;
  std::span<const BoundDimension> dimensions_;
  const DimensionNames& names_;
  std::vector<std::optional<Known>> known_;
};

}  // namespace

std::vector<Extent> bind_factors(const ShardingRule& rule, std::span<const BoundDimension> dimensions,
                                 std::span<const FactorSize> given, const DimensionNames& names,
                                 const std::string& rule_place) {
  Binding binding(rule, dimensions, names);
  for (std::size_t i = 0; i < rule.factors.size(); ++i)
    for (const FactorSize& size : given)
      if (size.factor == rule.factors[i].name) binding.set(i, size.extent, "in \"sizes\"");
  binding.propagate();
  std::vector<Extent> result;
  for (std::size_t i = 0; i < rule.factors.size(); ++i) {
    const std::string& factor = rule.factors[i].name;
    if (!binding.knows(i)) {
      const std::optional<Extent> dim = names.find(factor);
      if (!dim)
        throw InputError(rule_place, fmt::format("the shapes do not say how large factor \"{}\" is; give \"sizes\": "
                                                 "{{\"{}\": …}} in this op",
                                                 factor, factor));
      binding.set(i, *dim, "the dim of that name; give \"sizes\" if another is meant");
      binding.propagate();
    }
    result.push_back(binding.size(i));
  }
  return result;
}

std::vector<FactorSize> sizes_to_give(const ShardingRule& rule, std::span<const BoundDimension> dimensions,
                                      std::span<const Extent> sizes, const DimensionNames& names) {
  Binding binding(rule, dimensions, names);
  binding.propagate();
  std::vector<FactorSize> result;
  for (std::size_t i = 0; i < rule.factors.size(); ++i) {
    if (binding.knows(i)) continue;
    if (names.find(rule.factors[i].name) != sizes[i]) result.push_back({rule.factors[i].name, sizes[i]});
    binding.set(i, sizes[i], "");
    binding.propagate();
  }
  return result;
}

}  // namespace meshloom
