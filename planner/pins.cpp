#include "planner/pins.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graphs/input_error.hpp"
#include "planner/strategies.hpp"

namespace meshloom {
namespace {

std::string parts_text(const PinnedDegree& parts) { return parts ? std::to_string(*parts) : "all"; }

std::optional<std::size_t> axis_named(const DeviceMesh& mesh, const std::string& name) {
  for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
    if (mesh.axes[axis].name == name) return axis;
  return std::nullopt;
}

bool is_cut_in(std::int64_t parts, const PinnedDegree& wanted, const DeviceMesh& mesh) {
  return parts == wanted.value_or(mesh.submesh.devices());
}

std::vector<std::string> factor_names(const Op& op) {
  std::vector<std::string> names;
  for (const RuleFactor& factor : op.rule.factors) names.push_back(factor.name);
  return names;
}

std::string nothing_fits(std::string_view kind, const std::string& pattern, const std::vector<std::string>& ids) {
  if (pattern.find('*') != std::string::npos) return fmt::format("no {} matches the pattern \"{}\"", kind, pattern);
  return fmt::format("the graph has no {} \"{}\"{}", kind, pattern, did_you_mean(pattern, ids));
}

// Whether "shard" says that `factor`, or dimension, is to stay whole.
bool stays_whole(const Pin& pin, const std::string& factor) {
  const auto named = [&](const std::string& name) {
    return std::find_if(pin.shard.begin(), pin.shard.end(), [&](const auto& each) { return each.first == name; });
  };
  auto found = named(factor);
  if (found == pin.shard.end()) found = named("*");
  return found != pin.shard.end() && found->second == 1;
}

std::string contradicting_axis(const std::string& axis, std::string_view what) {
  return fmt::format("\"axes\" has axis {} shard {}, but \"shard\" leaves it in 1 part; leave one of them out", axis,
                     what);
}

}  // namespace

bool fits_pattern(std::string_view pattern, std::string_view word) {
  if (pattern.empty()) return word.empty();
  if (pattern.front() != '*')
    return !word.empty() && pattern.front() == word.front() && fits_pattern(pattern.substr(1), word.substr(1));
  for (std::size_t skipped = 0; skipped <= word.size(); ++skipped)
    if (fits_pattern(pattern.substr(1), word.substr(skipped))) return true;
  return false;
}

PinnedGraph::PinnedGraph(const Graph& graph, const Pins& pins) : graph_(&graph), pins_(pins) {
  for (std::size_t pin = 0; pin < pins.list.size(); ++pin)
    pins.list[pin].subject == Pin::Subject::op ? pin_ops(pin) : pin_tensors(pin);
}

std::string PinnedGraph::place_of(std::size_t pin) const { return fmt::format("{}: /pins/{}", pins_.file, pin); }

void PinnedGraph::fail(std::size_t pin, const std::string& message) const { throw InputError(place_of(pin), message); }

void PinnedGraph::pin_ops(std::size_t pin) {
  const std::string& pattern = pins_.list[pin].pattern;
  std::vector<std::string> ids;
  bool found = false;
  for (std::uint32_t o = 0; o < graph_->ops.size(); ++o) {
    ids.push_back(graph_->ops[o].id);
    if (!fits_pattern(pattern, ids.back())) continue;
    found = true;
    demand_factors(pin, OpId{o});
  }
  if (!found) fail(pin, nothing_fits("op", pattern, ids));
}

void PinnedGraph::demand_factors(std::size_t pin, OpId id) {
  const Op& op = graph_->op(id);
  const std::vector<std::string> names = factor_names(op);
  const auto position = [&](const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
      fail(pin, fmt::format("op \"{}\" ({}) has no factor \"{}\"{}", op.id, print_rule(op.rule), name,
                            did_you_mean(name, names)));
    return static_cast<std::size_t>(found - names.begin());
  };
  for (const auto& [what, parts] : pins_.list[pin].shard) {
    if (what != "*" && parts.value_or(2) > 1) {
      const std::size_t f = position(what);
      const Extent& size = op.factor_sizes[f];
      if (op.rule.factors[f].mark == FactorMark::whole || op.rule.factors[f].mark == FactorMark::halo)
        fail(pin, fmt::format("factor {} of op \"{}\" cannot be sharded; give it 1 part", what, op.id));
      if (parts && !size.scales_with_batch && size.size % *parts != 0)
        fail(pin, fmt::format("factor {} of op \"{}\" has size {}, which {} parts do not divide", what, op.id,
                              size.size, *parts));
    }
    if (what != "*") position(what);
    add(ops_[id], {pin, what, parts, "", false}, fmt::format("op \"{}\"", op.id));
  }
  for (const auto& [axis, factor] : pins_.list[pin].axes) {
    if (!factor.empty()) position(factor);
    if (!factor.empty() && stays_whole(pins_.list[pin], factor))
      fail(pin, contradicting_axis(axis, "factor " + factor));
    add(ops_[id], {pin, axis, {}, factor, true}, fmt::format("op \"{}\"", op.id));
  }
}

void PinnedGraph::pin_tensors(std::size_t pin) {
  const std::string& pattern = pins_.list[pin].pattern;
  std::vector<std::string> ids;
  bool found = false;
  for (std::uint32_t t = 0; t < graph_->tensors.size(); ++t) {
    ids.push_back(graph_->tensors[t].id);
    if (!fits_pattern(pattern, ids.back())) continue;
    found = true;
    demand_dimensions(pin, TensorId{t});
  }
  if (!found) fail(pin, nothing_fits("tensor", pattern, ids));
}

void PinnedGraph::demand_dimensions(std::size_t pin, TensorId id) {
  const Tensor& tensor = graph_->tensor(id);
  const Pin& said = pins_.list[pin];
  const std::string subject = fmt::format("tensor \"{}\"", tensor.id);
  if (said.rank && *said.rank != tensor.shape.size())
    fail(pin, fmt::format("{} has {} dimensions, \"shard\" has {}; use null where one is free", subject,
                          tensor.shape.size(), *said.rank));
  for (const auto& [what, parts] : said.shard) {
    const Extent& size = tensor.shape[std::stoul(what)];
    if (parts && !size.scales_with_batch && size.size % *parts != 0)
      fail(pin, fmt::format("dimension {} of {} has size {}, which {} parts do not divide", what, subject, size.size,
                            *parts));
    add(tensors_[id], {pin, what, parts, "", false}, subject);
  }
  for (const auto& [axis, layout] : said.axes) {
    const AxisLayout wanted = *parse_axis_layout(layout);
    if (wanted.kind == LayoutKind::sharded && wanted.dimension >= tensor.shape.size())
      fail(pin, fmt::format("{} has {} dimensions, so none is {}", subject, tensor.shape.size(), layout));
    if (wanted.kind == LayoutKind::sharded && stays_whole(said, std::to_string(wanted.dimension)))
      fail(pin, contradicting_axis(axis, fmt::format("dimension {}", wanted.dimension)));
    add(tensors_[id], {pin, axis, {}, layout, true}, subject);
  }
}

void PinnedGraph::add(Demands& demands, Demand demand, const std::string& subject) const {
  for (const Demand& other : demands) {
    if (other.of_axis != demand.of_axis || other.what != demand.what) continue;
    if (other.parts == demand.parts && other.value == demand.value) return;
    fail(demand.pin, fmt::format("contradicts {} about {} of {}; leave one of them out", place_of(other.pin),
                                 demand.of_axis       ? "axis " + demand.what
                                 : demand.what == "*" ? "other factors"
                                                      : demand.what,
                                 subject));
  }
  demands.push_back(std::move(demand));
}

bool PinnedGraph::allows(OpId id, const Strategy& strategy, const DeviceMesh& mesh) const {
  const auto found = ops_.find(id);
  if (found == ops_.end()) return true;
  const Op& op = graph_->op(id);
  const std::vector<std::string> names = factor_names(op);
  const auto parts_of = [&](std::size_t f) {
    std::int64_t parts = 1;
    for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
      if (strategy.axes[axis] && index(*strategy.axes[axis]) == f) parts *= mesh.size(axis);
    return parts;
  };
  const auto is_named = [&](const std::string& factor) {
    return std::any_of(found->second.begin(), found->second.end(),
                       [&](const Demand& demand) { return !demand.of_axis && demand.what == factor; });
  };
  return std::all_of(found->second.begin(), found->second.end(), [&](const Demand& demand) {
    if (demand.of_axis) {
      const std::optional<std::size_t> axis = axis_named(mesh, demand.what);
      if (!axis) return demand.value.empty();
      return demand.value == (strategy.axes[*axis] ? names[index(*strategy.axes[*axis])] : "");
    }
    for (std::size_t f = 0; f < names.size(); ++f)
      if (demand.what == names[f] || (demand.what == "*" && !is_named(names[f])))
        if (!is_cut_in(parts_of(f), demand.parts, mesh)) return false;
    return true;
  });
}

bool PinnedGraph::allows(TensorId id, const Layout& layout, const DeviceMesh& mesh) const {
  const auto found = tensors_.find(id);
  if (found == tensors_.end()) return true;
  return std::all_of(found->second.begin(), found->second.end(), [&](const Demand& demand) {
    if (demand.of_axis) {
      const std::optional<std::size_t> axis = axis_named(mesh, demand.what);
      return axis && layout.axes[*axis] == *parse_axis_layout(demand.value);
    }
    std::int64_t parts = 1;
    for (std::size_t axis = 0; axis < mesh.dimensions(); ++axis)
      if (layout.axes[axis] == sharded(std::stoul(demand.what))) parts *= mesh.size(axis);
    return is_cut_in(parts, demand.parts, mesh);
  });
}

std::string PinnedGraph::text(const Demands& demands) {
  std::vector<std::string> parts;
  for (const Demand& demand : demands)
    parts.push_back(demand.of_axis ? fmt::format(" @{}={}", demand.what, demand.value)
                                   : fmt::format(" {}={}", demand.what, parts_text(demand.parts)));
  std::sort(parts.begin(), parts.end());
  std::string result;
  for (const std::string& part : parts) result += part;
  return result;
}

std::string PinnedGraph::demands(OpId op) const {
  const auto found = ops_.find(op);
  return found == ops_.end() ? "" : text(found->second);
}

std::string PinnedGraph::demands(TensorId tensor) const {
  const auto found = tensors_.find(tensor);
  return found == tensors_.end() ? "" : text(found->second);
}

std::vector<OpId> PinnedGraph::pinned_ops() const {
  std::vector<OpId> result;
  for (std::uint32_t o = 0; o < (graph_ == nullptr ? 0 : graph_->ops.size()); ++o)
    if (!place(OpId{o}).empty()) result.push_back(OpId{o});
  return result;
}

std::string PinnedGraph::place(OpId id) const {
  std::vector<std::size_t> pins;
  const auto collect = [&](const Demands& demands) {
    for (const Demand& demand : demands)
      if (std::find(pins.begin(), pins.end(), demand.pin) == pins.end()) pins.push_back(demand.pin);
  };
  if (const auto found = ops_.find(id); found != ops_.end()) collect(found->second);
  for (const auto* operands : {&graph_->op(id).inputs, &graph_->op(id).outputs})
    for (const TensorId t : *operands)
      if (const auto found = tensors_.find(t); found != tensors_.end()) collect(found->second);
  std::string result;
  for (const std::size_t pin : pins)
    result += fmt::format("{}{} ({})", result.empty() ? "" : ", ", place_of(pin), print(pins_.list[pin]));
  return result;
}

}  // namespace meshloom
