#include "graphs/op_checks.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

struct OperandCount {
  std::size_t least, most;
};
constexpr std::size_t any_number = 1000;

OperandCount input_count(OpKind kind) {
  switch (kind) {
    case OpKind::einsum:
    case OpKind::add:
    case OpKind::multiply:
    case OpKind::concat:
      return {2, any_number};
    case OpKind::conv:
    case OpKind::gather:
    case OpKind::cross_entropy:
      return {2, 2};
    case OpKind::layer_norm:
    case OpKind::batch_norm:
      return {1, 3};  // input, scale, bias
    case OpKind::rms_norm:
      return {1, 2};  // input, scale
    case OpKind::attention:
      return {3, 3};
    case OpKind::custom:
      return {1, any_number};
    case OpKind::sum:
    case OpKind::reshape:
    case OpKind::broadcast:
    case OpKind::scale:
    case OpKind::gelu:
    case OpKind::relu:
    case OpKind::silu:
    case OpKind::softmax:
    case OpKind::rotary:
    case OpKind::dropout:
    case OpKind::max_pool:
      return {1, 1};
  }
  return {1, any_number};
}

void check_count(std::string_view kind, std::string_view what, std::size_t count, OperandCount allowed,
                 const std::string& place) {
  if (count >= allowed.least && count <= allowed.most) return;
  const std::string number = allowed.least == allowed.most ? std::to_string(allowed.least)
                             : allowed.most == any_number  ? fmt::format("at least {}", allowed.least)
                                                           : fmt::format("{} to {}", allowed.least, allowed.most);
  throw InputError(place, fmt::format("{} has {} {}(s), the rule has {}", kind, number, what, count));
}

// Shards of a bare reduction add up: the op is a sum over the factor of products that contain it. A gather is that over
// its table's rows (a device that lacks a row contributes zero) and over indices whose rows are summed.
bool may_reduce(const ShardingRule& rule, OpKind kind, FactorId factor) {
  if (kind == OpKind::gather) return contains(rule.inputs[0], factor) != contains(rule.inputs[1], factor);
  return kind == OpKind::einsum || kind == OpKind::conv || kind == OpKind::sum;
}

void check_presence(const ShardingRule& rule, OpKind kind, FactorId id, const std::string& place) {
  const RuleFactor& factor = rule.factors[index(id)];
  const std::string_view kind_name = traits(kind).name;
  if (!in_outputs(rule, id) && factor.mark == FactorMark::none && !may_reduce(rule, kind, id))
    throw InputError(place, fmt::format("factor \"{}\" is summed over, but shards of a {} do not add up; write {}! "
                                        "(must stay whole){} or make the sum an op of its own",
                                        factor.name, kind_name, factor.name,
                                        traits(kind).inner_collectives_forward > 0 ? " or " + factor.name + "~" : ""));
  if (!in_inputs(rule, id) && kind != OpKind::broadcast && kind != OpKind::custom && kind != OpKind::concat)
    throw InputError(place, fmt::format("factor \"{}\" stands in no input; only broadcast and custom may repeat along "
                                        "a new dimension",
                                        factor.name));
}

void check_mark(const RuleFactor& factor, OpKind kind, const std::string& place) {
  if (factor.mark == FactorMark::inner_collective && traits(kind).inner_collectives_forward == 0)
    throw InputError(place, fmt::format("{}~ needs an inner collective, which a {} does not have; write {}!",
                                        factor.name, traits(kind).name, factor.name));
  if (factor.mark == FactorMark::halo && kind != OpKind::conv && kind != OpKind::max_pool)
    throw InputError(place, fmt::format("{}^ needs a halo exchange, which only conv and max_pool have; write {}!",
                                        factor.name, factor.name));
}

// Every row kind needs a mark, and attention one on the head dimension: query and key are multiplied and summed over
// it, though the output has it too.
void check_row(const ShardingRule& rule, OpKind kind, const std::string& place) {
  const auto marked = [&](auto&& stands_where) {
    for (std::size_t i = 0; i < rule.factors.size(); ++i)
      if (rule.factors[i].mark != FactorMark::none && stands_where(FactorId{static_cast<std::uint32_t>(i)}))
        return true;
    return false;
  };
  if (traits(kind).inner_collectives_forward > 0 && !marked([](FactorId) { return true; }))
    throw InputError(place, fmt::format("no factor is marked; mark the dimension that {} works along with ~ (shardable "
                                        "at the price of its inner collective) or ! (whole)",
                                        traits(kind).name));
  if (kind == OpKind::attention &&
      !marked([&](FactorId id) { return contains(rule.inputs[0], id) && contains(rule.inputs[1], id); }))
    throw InputError(place,
                     "query and key share no whole factor; mark the head dimension with !, as in "
                     "\"b s n d!, b t! n d, b t n d -> b s n d\"");
}

}  // namespace

void check_rule(const ShardingRule& rule, OpKind kind, const std::string& place) {
  const std::string_view kind_name = traits(kind).name;
  check_count(kind_name, "input", rule.inputs.size(), input_count(kind), place);
  const std::size_t most_outputs = kind == OpKind::custom ? any_number : 1;
  check_count(kind_name, "output", rule.outputs.size(), {1, most_outputs}, place);
  for (std::size_t i = 0; i < rule.factors.size(); ++i) {
    check_presence(rule, kind, FactorId{static_cast<std::uint32_t>(i)}, place);
    check_mark(rule.factors[i], kind, place);
  }
  check_row(rule, kind, place);
}

void check_concatenation(const ShardingRule& rule, const std::vector<Extent>& sizes, const std::string& place) {
  std::int64_t joined = 0, parts = 0;
  std::size_t own = 0;
  for (std::size_t i = 0; i < rule.factors.size(); ++i) {
    if (in_inputs(rule, FactorId{static_cast<std::uint32_t>(i)})) continue;
    ++own;
    joined = sizes[i].size;
    if (rule.factors[i].mark != FactorMark::whole)
      throw InputError(place, fmt::format("the joined dimension cannot be sharded; write {}!", rule.factors[i].name));
  }
  if (own != 1)
    throw InputError(place, fmt::format("a concat's result has one dimension that no operand has, this one has {}; "
                                        "write it as in \"b x!, b y! -> b z!\"",
                                        own));
  for (const RuleOperand& input : rule.inputs) {
    std::int64_t part = 1;
    for (const RuleDimension& dimension : input)
      for (const FactorId factor : dimension)
        if (!in_outputs(rule, factor)) part *= sizes[index(factor)].size;
    parts += part;
  }
  if (parts != joined)
    throw InputError(place, fmt::format("the operands join to {}, the result has {}; change the sizes", parts, joined));
}

}  // namespace meshloom
