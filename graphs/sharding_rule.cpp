#include "graphs/sharding_rule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

bool starts_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool continues_name(char c) { return starts_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0; }

FactorMark mark_of(char c) {
  return c == '!'   ? FactorMark::whole
         : c == '~' ? FactorMark::inner_collective
         : c == '^' ? FactorMark::halo
                    : FactorMark::none;
}

std::string_view text_of(FactorMark mark) {
  switch (mark) {
    case FactorMark::none:
      return "";
    case FactorMark::whole:
      return "!";
    case FactorMark::inner_collective:
      return "~";
    case FactorMark::halo:
      return "^";
  }
  return "";
}

class RuleParser {
 public:
  RuleParser(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  ShardingRule parse() {
    const std::size_t arrow = text_.find("->");
    if (arrow == std::string_view::npos) fail(text_.size(), "there is no \"->\" between inputs and outputs");
    const std::size_t second = text_.find("->", arrow + 2);
    if (second != std::string_view::npos) fail(second, "a second \"->\"; a rule has one");
    rule_.inputs = operands(0, arrow);
    rule_.outputs = operands(arrow + 2, text_.size());
    return std::move(rule_);
  }

 private:
  [[noreturn]] void fail(std::size_t at, const std::string& message) const {
    throw InputError(place_, fmt::format("\"{}\", column {}: {}", text_, at + 1, message));
  }

  // The next character of this side, behind spaces; 0 at its end.
  char peek() {
    while (cursor_ < end_ && text_[cursor_] == ' ') ++cursor_;
    return cursor_ < end_ ? text_[cursor_] : '\0';
  }

  std::vector<RuleOperand> operands(std::size_t begin, std::size_t end) {
    cursor_ = begin;
    end_ = end;
    std::vector<RuleOperand> result{operand()};
    while (peek() == ',') {
      ++cursor_;
      result.push_back(operand());
    }
    return result;
  }

  RuleOperand operand() {
    RuleOperand result;
    for (char c = peek(); c != '\0' && c != ','; c = peek()) {
      result.emplace_back();
      if (c == '(')
        product(result);
      else if (c == '1' && (cursor_ + 1 == end_ || !continues_name(text_[cursor_ + 1])))
        ++cursor_;
      else
        factor(result);
    }
    return result;
  }

  void product(RuleOperand& operand) {
    const std::size_t open = cursor_++;
    for (char c = peek(); c != ')'; c = peek()) {
      if (c == '\0' || c == ',') fail(open, "this bracket is not closed");
      if (c == '(') fail(cursor_, "a bracket inside a bracket; write one product, major factor first");
      factor(operand);
    }
    if (operand.back().empty()) fail(open, "an empty product; write 1 for a dimension of size one");
    ++cursor_;
  }

  // Reads one factor into the operand's last dimension.
  void factor(RuleOperand& operand) {
    const std::size_t begin = cursor_;
    if (!starts_name(text_[begin])) unexpected(begin);
    while (cursor_ < end_ && continues_name(text_[cursor_])) ++cursor_;
    const std::string_view factor_name = text_.substr(begin, cursor_ - begin);
    const FactorId id = find_or_add(factor_name);
    if (contains(operand, id)) fail(begin, fmt::format("factor \"{}\" stands twice in one operand", factor_name));
    operand.back().push_back(id);
    for (; cursor_ < end_ && mark_of(text_[cursor_]) != FactorMark::none; ++cursor_) {
      FactorMark& mark = rule_.factors[index(id)].mark;
      const FactorMark given = mark_of(text_[cursor_]);
      if (mark != FactorMark::none && mark != given)
        fail(cursor_, fmt::format("factor \"{}\" is marked both {} and {}; keep one", factor_name, text_of(mark),
                                  text_of(given)));
      mark = given;
    }
  }

  [[noreturn]] void unexpected(std::size_t at) const {
    if (text_[at] == ')') fail(at, "a closing bracket without an opening one");
    if (mark_of(text_[at]) != FactorMark::none) fail(at, "a mark follows a factor's name directly, as in \"t!\"");
    std::size_t length = 1;  // a character of several bytes is shown whole
    while (at + length < text_.size() && (static_cast<unsigned char>(text_[at + length]) & 0xC0U) == 0x80U) ++length;
    fail(at,
         fmt::format("unknown character \"{}\"; factors are names such as h or kv_heads", text_.substr(at, length)));
  }

  FactorId find_or_add(std::string_view factor_name) {
    const auto found = std::find_if(rule_.factors.begin(), rule_.factors.end(),
                                    [&](const RuleFactor& factor) { return factor.name == factor_name; });
    const auto position = static_cast<std::uint32_t>(found - rule_.factors.begin());
    if (found == rule_.factors.end()) rule_.factors.push_back({std::string(factor_name), FactorMark::none});
    return FactorId{position};
  }

  std::string_view text_;
  const std::string& place_;
  std::size_t cursor_ = 0;
  std::size_t end_ = 0;
  ShardingRule rule_;
};

std::string print_operands(const ShardingRule& rule, const std::vector<RuleOperand>& operands,
                           std::vector<bool>& marked) {
  const auto print_factor = [&](FactorId id) {
    const bool first = !marked[index(id)];
    marked[index(id)] = true;
    const RuleFactor& factor = rule.factors[index(id)];
    return first ? factor.name + std::string(text_of(factor.mark)) : factor.name;
  };
  std::string result;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    if (i > 0) result += ",";
    for (const RuleDimension& dimension : operands[i]) {
      std::string text;
      for (const FactorId factor : dimension) text += (text.empty() ? "" : " ") + print_factor(factor);
      if (dimension.empty()) text = "1";
      if (dimension.size() > 1) text = "(" + text + ")";
      result += (result.empty() ? "" : " ") + text;
    }
  }
  return result;
}

bool in_any(const std::vector<RuleOperand>& operands, FactorId factor) {
  return std::any_of(operands.begin(), operands.end(),
                     [&](const RuleOperand& operand) { return contains(operand, factor); });
}

}  // namespace

ShardingRule parse_rule(std::string_view text, const std::string& place) { return RuleParser(text, place).parse(); }

std::string print_rule(const ShardingRule& rule) {
  std::vector<bool> marked(rule.factors.size());
  std::string text = print_operands(rule, rule.inputs, marked) + " -> ";
  return text + print_operands(rule, rule.outputs, marked);
}

bool contains(const RuleOperand& operand, FactorId factor) {
  return std::any_of(operand.begin(), operand.end(), [&](const RuleDimension& dimension) {
    return std::find(dimension.begin(), dimension.end(), factor) != dimension.end();
  });
}

bool in_inputs(const ShardingRule& rule, FactorId factor) { return in_any(rule.inputs, factor); }
bool in_outputs(const ShardingRule& rule, FactorId factor) { return in_any(rule.outputs, factor); }

ShardingRule gradient_rule(const ShardingRule& rule, std::size_t input) {
  ShardingRule result{rule.factors, rule.outputs, {rule.inputs[input]}};
  for (std::size_t i = 0; i < rule.inputs.size(); ++i)
    if (i != input) result.inputs.push_back(rule.inputs[i]);
  return result;
}

}  // namespace meshloom
