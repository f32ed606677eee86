#include "graphs/sharding_rule.hpp"

#include <catch2/catch.hpp>
#include <random>

#include "graphs/input_error.hpp"
#include "graphs/op_checks.hpp"

using namespace meshloom;

namespace {

std::string refusal_of(const std::string& rule) {
  try {
    parse_rule(rule, "g.json: /ops/0/rule");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

std::string refusal_of(OpKind kind, const std::string& rule) {
  try {
    check_rule(parse_rule(rule, "rule"), kind, "rule");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

// A random rule: 1 to 3 operands a side, up to 4 dimensions of up to 3 factors each, drawn from 8 factors without
// repetition within an operand. Factors are numbered by first appearance, as the parser numbers them.
class RandomRule {
 public:
  explicit RandomRule(std::uint32_t seed) : random_(seed) {}

  ShardingRule draw() {
    rule_ = {};
    for (std::uint32_t i = 0, count = 1 + below(3); i < count; ++i) rule_.inputs.push_back(operand());
    for (std::uint32_t i = 0, count = 1 + below(3); i < count; ++i) rule_.outputs.push_back(operand());
    return rule_;
  }

 private:
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }

  FactorId factor_named(const std::string& name) {
    for (std::size_t i = 0; i < rule_.factors.size(); ++i)
      if (rule_.factors[i].name == name) return FactorId{static_cast<std::uint32_t>(i)};
    rule_.factors.push_back({name, static_cast<FactorMark>(below(4))});
    return FactorId{static_cast<std::uint32_t>(rule_.factors.size() - 1)};
  }

  RuleOperand operand() {
    std::vector<std::string> names{"a", "b", "kv_heads", "x1", "_t", "H", "n", "d"};
    RuleOperand result;
    for (std::uint32_t i = 0, count = below(5); i < count; ++i) {
      RuleDimension dimension;
      for (std::uint32_t f = 0, factors = below(4); f < factors && !names.empty(); ++f) {
        const std::uint32_t chosen = below(static_cast<std::uint32_t>(names.size()));
        dimension.push_back(factor_named(names[chosen]));
        names.erase(names.begin() + chosen);
      }
      result.push_back(dimension);
    }
    return result;
  }

  std::mt19937 random_;
  ShardingRule rule_;
};

}  // namespace

TEST_CASE("a rule's factors are numbered by first appearance and keep their positions") {
  const ShardingRule rule = parse_rule("b s h, h (n d) -> b s (n d)", "rule");
  REQUIRE(rule.factors.size() == 5);
  CHECK(rule.factors[2] == RuleFactor{"h", FactorMark::none});
  CHECK(rule.inputs[1] == RuleOperand{{FactorId{2}}, {FactorId{3}, FactorId{4}}});
  CHECK(rule.outputs[0] == RuleOperand{{FactorId{0}}, {FactorId{1}}, {FactorId{3}, FactorId{4}}});
}

TEST_CASE("a mark at any occurrence holds for the factor and is printed at the first") {
  const ShardingRule rule = parse_rule("b s n d, b t n d! -> b n s t~", "rule");
  CHECK(print_rule(rule) == "b s n d!, b t~ n d -> b n s t");
  CHECK(parse_rule(print_rule(rule), "rule") == rule);
}

TEST_CASE("a scalar is an operand without dimensions and 1 is a dimension without factors") {
  const ShardingRule rule = parse_rule("b 1 -> ", "rule");
  CHECK(rule.inputs[0].size() == 2);
  CHECK(rule.inputs[0][1].empty());
  CHECK(rule.outputs == std::vector<RuleOperand>{RuleOperand{}});
  CHECK(print_rule(rule) == "b 1 -> ");
}

TEST_CASE("2,000 random rules are the same after printing and parsing") {
  RandomRule random(1);
  for (int i = 0; i < 2000; ++i) {
    const ShardingRule rule = random.draw();
    INFO(print_rule(rule));
    REQUIRE(parse_rule(print_rule(rule), "rule") == rule);
  }
}

TEST_CASE("a rule that cannot be read is refused with its column") {
  const std::string at = "g.json: /ops/0/rule: ";
  CHECK(refusal_of("b s h") == at + "\"b s h\", column 6: there is no \"->\" between inputs and outputs");
  CHECK(refusal_of("b -> b -> b") == at + "\"b -> b -> b\", column 8: a second \"->\"; a rule has one");
  CHECK(refusal_of("b (n d -> b") == at + "\"b (n d -> b\", column 3: this bracket is not closed");
  CHECK(refusal_of("b n) -> b") == at + "\"b n) -> b\", column 4: a closing bracket without an opening one");
  CHECK(refusal_of("((a b) c) -> a") ==
        at + "\"((a b) c) -> a\", column 2: a bracket inside a bracket; write one product, major factor first");
  CHECK(refusal_of("b () -> b") ==
        at + "\"b () -> b\", column 3: an empty product; write 1 for a dimension of size one");
  CHECK(refusal_of("b h h -> b") == at + "\"b h h -> b\", column 5: factor \"h\" stands twice in one operand");
  CHECK(refusal_of("b h!, h~ -> b") ==
        at + "\"b h!, h~ -> b\", column 8: factor \"h\" is marked both ! and ~; keep one");
  CHECK(refusal_of("b ! -> b") == at + "\"b ! -> b\", column 3: a mark follows a factor's name directly, as in \"t!\"");
  CHECK(refusal_of("b é -> b") ==
        at + "\"b é -> b\", column 3: unknown character \"é\"; factors are names such as h or kv_heads");
  CHECK(refusal_of("b 2 -> b") ==
        at + "\"b 2 -> b\", column 3: unknown character \"2\"; factors are names such as h or kv_heads");
}

TEST_CASE("the gradient of an operand takes the result and the other operands") {
  const ShardingRule rule = parse_rule("b s h, h f -> b s f", "rule");
  CHECK(print_rule(gradient_rule(rule, 0)) == "b s f, h f -> b s h");
  CHECK(print_rule(gradient_rule(rule, 1)) == "b s f, b s h -> h f");
  CHECK(gradient_rule(rule, 1).factors == rule.factors);
}

TEST_CASE("a bare reduction is refused where shards do not add up") {
  CHECK(refusal_of(OpKind::einsum, "b h, h f -> b f") == "accepted");
  CHECK(refusal_of(OpKind::sum, "b s -> ") == "accepted");
  CHECK(refusal_of(OpKind::gather, "v h, b s -> b s h") == "accepted");
  CHECK(refusal_of(OpKind::conv, "b c h^ w^, o c i! j! -> b o h w") == "accepted");
  CHECK(refusal_of(OpKind::gelu, "b h -> b") ==
        "rule: factor \"h\" is summed over, but shards of a gelu do not add up; write h! (must stay whole) or make the "
        "sum an op of its own");
  CHECK(refusal_of(OpKind::cross_entropy, "b s v, b s -> b s") ==
        "rule: factor \"v\" is summed over, but shards of a cross_entropy do not add up; write v! (must stay whole) or "
        "v~ or make the sum an op of its own");
  // The rows that the indices of one result name are added up, as tokens come back from several experts.
  CHECK(refusal_of(OpKind::gather, "v h, b s k -> b s h") == "accepted");
  for (const OpKind kind : {OpKind::scale, OpKind::reshape, OpKind::broadcast, OpKind::dropout, OpKind::custom})
    CHECK(refusal_of(kind, "b h -> b") != "accepted");
  for (const OpKind kind : {OpKind::add, OpKind::multiply}) CHECK(refusal_of(kind, "b h, b h -> b") != "accepted");
}

TEST_CASE("a factor that no input has is refused but on broadcast and custom") {
  CHECK(refusal_of(OpKind::broadcast, "b -> b s") == "accepted");
  CHECK(refusal_of(OpKind::custom, "b -> b s") == "accepted");
  CHECK(refusal_of(OpKind::einsum, "b h, h f -> b g f") ==
        "rule: factor \"g\" stands in no input; only broadcast and custom may repeat along a new dimension");
}

TEST_CASE("kinds that combine whole rows must mark the row") {
  CHECK(refusal_of(OpKind::softmax, "b v~ -> b v") == "accepted");
  CHECK(refusal_of(OpKind::softmax, "b v! -> b v") == "accepted");
  CHECK(refusal_of(OpKind::layer_norm, "b h, h, h -> b h") ==
        "rule: no factor is marked; mark the dimension that layer_norm works along with ~ (shardable at the price of "
        "its inner collective) or ! (whole)");
  CHECK(refusal_of(OpKind::attention, "b s n d!, b t! n d, b t n d -> b s n d") == "accepted");
  CHECK(
      refusal_of(OpKind::attention, "b s n d, b t! n d, b t n d -> b s n d") ==
      "rule: query and key share no whole factor; mark the head dimension with !, as in \"b s n d!, b t! n d, b t n d "
      "-> b s n d\"");
  CHECK(refusal_of(OpKind::attention, "b s n d!, b t n d, b t n d -> b s n d") != "accepted");
}

TEST_CASE("marks mean something only on the kinds that pay for them") {
  CHECK(refusal_of(OpKind::gelu, "b h~ -> b h") ==
        "rule: h~ needs an inner collective, which a gelu does not have; write h!");
  CHECK(refusal_of(OpKind::einsum, "b h^, h f -> b f") ==
        "rule: h^ needs a halo exchange, which only conv and max_pool have; write h!");
}

TEST_CASE("a kind says how many operands it has") {
  CHECK(refusal_of(OpKind::gather, "v h -> h") == "rule: gather has 2 input(s), the rule has 1");
  CHECK(refusal_of(OpKind::einsum, "h -> h") == "rule: einsum has at least 2 input(s), the rule has 1");
  CHECK(refusal_of(OpKind::rms_norm, "b h~, h, h -> b h") == "rule: rms_norm has 1 to 2 input(s), the rule has 3");
  CHECK(refusal_of(OpKind::relu, "b -> b, b") == "rule: relu has 1 output(s), the rule has 2");
}
