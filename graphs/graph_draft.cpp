#include "graphs/graph_draft.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "graphs/factor_sizes.hpp"
#include "graphs/input_error.hpp"
#include "graphs/op_checks.hpp"
#include "graphs/op_order.hpp"

namespace meshloom {
namespace {

// One spelling for each size: without spaces, a number without leading zeros.
std::string canonical_size(std::string text, const DimensionNames& names, Extent extent) {
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  const bool number = text.find_first_not_of("0123456789") == std::string::npos;
  return number ? print_extent(extent, names.batch_dim) : text;
}

class GraphChecker {
 public:
  explicit GraphChecker(const GraphDraft& draft) : draft_(draft), names_{draft.batch_dim, draft.dims} {
    graph_.name = draft.name;
    graph_.batch_dim = draft.batch_dim;
    graph_.dims = draft.dims;
    graph_.dtype = draft.dtype;
    graph_.padded_vocabulary = draft.padded_vocabulary;
  }

  Graph check() {
    check_dims();
    declare_tensors();
    find_producers();
    for (const std::size_t op : ordered()) add_op(op);
    check_layers();
    return std::move(graph_);
  }

 private:
  template <typename... Parts>
  std::string place(Parts... parts) const {
    std::string pointer = draft_.file + ": ";
    ((pointer += fmt::format("/{}", parts)), ...);
    return pointer;
  }

  void check_dims() const {
    for (const auto& [name, size] : draft_.dims) {
      if (name == draft_.batch_dim)
        throw InputError(place("dims", name), "this is the batch dimension, whose size the planner chooses; remove it");
      if (name.empty() || name.find_first_of(" *") != std::string::npos ||
          std::isdigit(static_cast<unsigned char>(name[0])) != 0)
        throw InputError(place("dims", name), "a dimension's name must not begin with a digit nor hold spaces or *");
    }
  }

  void declare_tensors() {
    for (std::size_t i = 0; i < draft_.tensors.size(); ++i) {
      const TensorDraft& declared = draft_.tensors[i];
      Tensor tensor{declared.id, {}, {}, declared.dtype, declared.role, declared.stop_gradient, true};
      for (std::size_t d = 0; d < declared.shape.size(); ++d) {
        tensor.shape.push_back(parse_extent(declared.shape[d], names_, place("tensors", i, "shape", d)));
        tensor.shape_text.push_back(canonical_size(declared.shape[d], names_, tensor.shape.back()));
      }
      if (!ids_.emplace(declared.id, TensorId{static_cast<std::uint32_t>(i)}).second)
        throw InputError(place("tensors", i, "id"),
                         fmt::format("a second tensor \"{}\"; give it another id", tensor.id));
      check_batch(tensor, place("tensors", i, "shape"));
      graph_.tensors.push_back(std::move(tensor));
    }
  }

  void check_batch(const Tensor& tensor, const std::string& where) const {
    const auto scaling = std::count_if(tensor.shape.begin(), tensor.shape.end(),
                                       [](const Extent& extent) { return extent.scales_with_batch; });
    if (scaling > 1)
      throw InputError(where,
                       fmt::format("tensor \"{}\" has the batch dimension \"{}\" twice", tensor.id, draft_.batch_dim));
    if (scaling > 0 && tensor.role == TensorRole::parameter)
      throw InputError(where, fmt::format("parameter \"{}\" grows with the batch dimension \"{}\"; give it role input "
                                          "or another dimension",
                                          tensor.id, draft_.batch_dim));
  }

  void find_producers() {
    std::set<std::string> op_ids;
    for (std::size_t i = 0; i < draft_.ops.size(); ++i) {
      const OpDraft& op = draft_.ops[i];
      if (!op_ids.insert(op.id).second)
        throw InputError(place("ops", i, "id"), fmt::format("a second op \"{}\"; give it another id", op.id));
      for (std::size_t o = 0; o < op.outputs.size(); ++o) {
        const auto [other, first] = producers_.emplace(op.outputs[o], i);
        if (!first)
          throw InputError(place("ops", i, "outputs", o), fmt::format("tensor \"{}\" is already made by op \"{}\"",
                                                                      op.outputs[o], draft_.ops[other->second].id));
      }
    }
    for (std::size_t i = 0; i < draft_.tensors.size(); ++i) check_role(i);
  }

  void check_role(std::size_t i) const {
    const TensorDraft& tensor = draft_.tensors[i];
    const auto producer = producers_.find(tensor.id);
    const bool made = producer != producers_.end();
    if (made && tensor.role != TensorRole::intermediate)
      throw InputError(place("tensors", i), fmt::format("op \"{}\" makes \"{}\"; give it \"role\": \"intermediate\"",
                                                        draft_.ops[producer->second].id, tensor.id));
    if (!made && tensor.role == TensorRole::intermediate)
      throw InputError(place("tensors", i), fmt::format("no op makes \"{}\"; give it role input or parameter, or add "
                                                        "the op",
                                                        tensor.id));
  }

  std::vector<std::size_t> ordered() const {
    std::vector<std::vector<std::size_t>> needs(draft_.ops.size());
    for (std::size_t i = 0; i < draft_.ops.size(); ++i) {
      for (std::size_t n = 0; n < draft_.ops[i].inputs.size(); ++n) {
        const std::string& input = draft_.ops[i].inputs[n];
        const auto producer = producers_.find(input);
        if (producer != producers_.end())
          needs[i].push_back(producer->second);
        else if (ids_.count(input) == 0)
          throw InputError(place("ops", i, "inputs", n), unknown_tensor(input));
      }
    }
    const OpOrder result = topological_order(needs);
    if (!result.cycle.empty()) fail_with_cycle(result.cycle);
    return result.order;
  }

  std::string unknown_tensor(const std::string& id) const {
    std::vector<std::string> known;
    for (const TensorDraft& tensor : draft_.tensors) known.push_back(tensor.id);
    for (const OpDraft& op : draft_.ops) known.insert(known.end(), op.outputs.begin(), op.outputs.end());
    const std::string guess = did_you_mean(id, known);
    return fmt::format("unknown tensor \"{}\"{}", id,
                       guess.empty() ? "; no op makes it and \"tensors\" does not declare it" : guess);
  }

  [[noreturn]] void fail_with_cycle(const std::vector<std::size_t>& cycle) const {
    std::vector<std::string> ids;
    for (const std::size_t op : cycle) ids.push_back("\"" + draft_.ops[op].id + "\"");
    ids.push_back(ids.front());
    throw InputError(place("ops", cycle.front()),
                     fmt::format("ops wait for each other in a cycle: {} (each reads a result of the next); remove one "
                                 "of these inputs",
                                 fmt::join(ids, ", ")));
  }

  void add_op(std::size_t position) {
    const OpDraft& draft = draft_.ops[position];
    Op op;
    op.id = draft.id;
    op.kind = draft.kind;
    op.layer = draft.layer;
    op.causal = draft.causal;
    op.window = draft.window;
    op.custom_flops_per_element = draft.flops_per_element;
    op.custom_bytes_per_element = draft.bytes_per_element;
    op.custom_backward_cost = draft.backward_cost;
    op.rule = parse_rule(draft.rule, place("ops", position, "rule"));
    check_operands(op, draft, position);
    for (const std::string& input : draft.inputs) op.inputs.push_back(ids_.at(input));
    if (op.kind == OpKind::gather && is_floating(graph_.tensor(op.inputs[1]).dtype))
      throw InputError(
          place("ops", position, "inputs", 1),
          fmt::format("a gather's indices must be whole numbers; give \"{}\" dtype int32", draft.inputs[1]));
    bind(op, draft, position);
    graph_.ops.push_back(std::move(op));
  }

  void check_operands(const Op& op, const OpDraft& draft, std::size_t position) const {
    const auto check_count = [&](const char* key, std::size_t in_rule, std::size_t in_op) {
      if (in_rule != in_op)
        throw InputError(place("ops", position, "rule"),
                         fmt::format("the rule has {} {}, the op has {}", in_rule, key, in_op));
    };
    check_count("inputs", op.rule.inputs.size(), draft.inputs.size());
    check_count("outputs", op.rule.outputs.size(), draft.outputs.size());
    check_rule(op.rule, op.kind, place("ops", position, "rule"));
  }

  // Binds the factors and makes the outputs.
  void bind(Op& op, const OpDraft& draft, std::size_t position) {
    std::vector<BoundDimension> dimensions;
    for (std::size_t n = 0; n < op.inputs.size(); ++n)
      bind_operand(graph_.tensor(op.inputs[n]), op.rule.inputs[n], place("ops", position, "inputs", n), dimensions);
    for (std::size_t n = 0; n < draft.outputs.size(); ++n) {
      const auto declared = ids_.find(draft.outputs[n]);
      if (declared != ids_.end())
        bind_operand(graph_.tensor(declared->second), op.rule.outputs[n], place("ops", position, "outputs", n),
                     dimensions);
    }
    op.factor_sizes =
        bind_factors(op.rule, dimensions, given_sizes(op, draft, position), names_, place("ops", position, "rule"));
    if (op.kind == OpKind::concat) check_concatenation(op.rule, op.factor_sizes, place("ops", position, "rule"));
    for (std::size_t n = 0; n < draft.outputs.size(); ++n)
      op.outputs.push_back(output(draft.outputs[n], op, op.rule.outputs[n], place("ops", position, "outputs", n)));
  }

  std::vector<FactorSize> given_sizes(const Op& op, const OpDraft& draft, std::size_t position) const {
    std::vector<FactorSize> result;
    std::vector<std::string> factors;
    for (const RuleFactor& factor : op.rule.factors) factors.push_back(factor.name);
    for (const auto& [factor, text] : draft.sizes) {
      const std::string where = place("ops", position, "sizes", factor);
      if (std::find(factors.begin(), factors.end(), factor) == factors.end())
        throw InputError(where, fmt::format("the rule has no factor \"{}\"{}", factor, did_you_mean(factor, factors)));
      result.push_back({factor, parse_extent(text, names_, where)});
    }
    return result;
  }

  static void bind_operand(const Tensor& tensor, const RuleOperand& operand, const std::string& where,
                           std::vector<BoundDimension>& dimensions) {
    if (tensor.shape.size() != operand.size())
      throw InputError(where, fmt::format("\"{}\" has {} dimensions, the rule gives it {}", tensor.id,
                                          tensor.shape.size(), operand.size()));
    for (std::size_t d = 0; d < operand.size(); ++d)
      dimensions.push_back({operand[d], tensor.shape[d], where, fmt::format("dimension {} of \"{}\"", d, tensor.id)});
  }

  TensorId output(const std::string& id, const Op& op, const RuleOperand& operand, const std::string& where) {
    const auto declared = ids_.find(id);
    if (declared != ids_.end()) return declared->second;
    Tensor tensor{id, {}, {}, graph_.dtype, TensorRole::intermediate, false, false};
    for (const RuleDimension& dimension : operand) {
      Extent extent;
      for (const FactorId factor : dimension) {
        const std::optional<Extent> larger = product(extent, op.factor_sizes[index(factor)]);
        if (!larger) throw InputError(where, fmt::format("\"{}\" is too large or has the batch dimension twice", id));
        extent = *larger;
      }
      tensor.shape.push_back(extent);
    }
    check_batch(tensor, where);
    const TensorId result{static_cast<std::uint32_t>(graph_.tensors.size())};
    graph_.tensors.push_back(std::move(tensor));
    ids_.emplace(id, result);
    return result;
  }

  void check_layers() const {
    std::set<std::string> seen;
    std::string current;
    for (const Op& op : graph_.ops) {
      if (op.layer.empty() || op.layer == current) continue;
      if (!seen.insert(op.layer).second)
        throw InputError(
            place("ops", position_of(op.id), "layer"),
            fmt::format("op \"{}\" returns to layer \"{}\" after layer \"{}\"; a layer is a contiguous run "
                        "of ops, rename one part",
                        op.id, op.layer, current));
      current = op.layer;
    }
  }

  std::size_t position_of(const std::string& op_id) const {
    const auto found =
        std::find_if(draft_.ops.begin(), draft_.ops.end(), [&](const OpDraft& op) { return op.id == op_id; });
    return static_cast<std::size_t>(found - draft_.ops.begin());
  }

  const GraphDraft& draft_;
  DimensionNames names_;
  Graph graph_;
  std::map<std::string, TensorId> ids_;           // declared tensors, and outputs once made
  std::map<std::string, std::size_t> producers_;  // tensor -> position of its op in the draft
};

}  // namespace

Graph check_graph(const GraphDraft& draft) { return GraphChecker(draft).check(); }

}  // namespace meshloom
