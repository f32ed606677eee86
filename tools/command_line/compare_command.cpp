#include <fmt/format.h>

#include <limits>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"
#include "planner/plan/compare.hpp"
#include "planner/plan/plan_json.hpp"
#include "tools/command_line/commands.hpp"
#include "tools/command_line/json_output.hpp"
#include "tools/command_line/output.hpp"
#include "tools/command_line/plan_text.hpp"

namespace meshloom {
namespace {

// A comparison with the threshold applied.
struct Verdict {
  Comparison comparison;
  std::optional<double> max_slowdown;
  bool passed = true;
};

// A plan that cannot run has no time: it fails a threshold as NEW, and any plan passes against it.
Verdict judge(const Plan& base, const Plan& next, std::optional<double> max_slowdown) {
  Verdict verdict{compare_plans(base, next), max_slowdown, true};
  const Seconds none(std::numeric_limits<double>::quiet_NaN());
  if (!is_runnable(base)) verdict.comparison.base = none;
  if (!is_runnable(next)) verdict.comparison.next = none;
  if (!is_runnable(base) || !is_runnable(next)) verdict.comparison.slowdown = none.value();
  if (max_slowdown && is_runnable(base))
    verdict.passed = is_runnable(next) && verdict.comparison.slowdown <= *max_slowdown;
  return verdict;
}

// A threshold on the times of two different tasks would say nothing.
void check_comparable(const CompareCommand& command, const Comparison& comparison) {
  if (command.max_slowdown && !comparison.warnings.empty())
    throw InputError("--max-slowdown", fmt::format("{} and {} are not comparable: {}; plan both for the same graph and "
                                                   "global batch, or leave the threshold out",
                                                   command.base, command.next, joined(comparison.warnings, "; ")));
}

std::string warnings_text(const Verdict& verdict) {
  std::string text;
  for (const std::string& each : verdict.comparison.warnings)
    text += fmt::format("warning: not the same work: {}\n", each);
  return text;
}

std::string headline(const Verdict& verdict) {
  const Comparison& comparison = verdict.comparison;
  std::string text = fmt::format("base {}, new {}, slowdown {}", readable(comparison.base), readable(comparison.next),
                                 percent(comparison.slowdown));
  if (verdict.max_slowdown)
    text +=
        fmt::format(", at most {} allowed: {}", percent(*verdict.max_slowdown), verdict.passed ? "passed" : "failed");
  return text;
}

// A list of many stages would tear the table apart; --json has it whole.
std::string shortened(const std::string& text) {
  std::size_t end = 60;
  if (text.size() <= end) return text;
  while ((text[end] & 0xC0) == 0x80) --end;  // not inside a character
  return text.substr(0, end) + "…";
}

std::string as_text(const Verdict& verdict) {
  std::string text = headline(verdict) + "\n" + warnings_text(verdict);
  if (verdict.comparison.differences.empty()) return text + "the plans do not differ\n";
  Table table({"path", "base", "new"});
  for (const PlanDifference& each : verdict.comparison.differences)
    table.row({each.path, shortened(each.base), shortened(each.next)});
  return text + table.text();
}

std::string as_markdown(const Verdict& verdict) {
  const std::string warnings = warnings_text(verdict);
  std::string text = headline(verdict) + "\n" + (warnings.empty() ? "" : "\n" + warnings) +
                     "\n| path | base | new |\n|---|---:|---:|\n";
  for (const PlanDifference& each : verdict.comparison.differences)
    text += fmt::format("| `{}` | {} | {} |\n", each.path, each.base, each.next);
  return text;
}

std::string escaped_for_xml(const std::string& text) {
  std::string result;
  for (const char c : text)
    result += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : std::string(1, c);
  return result;
}

std::string as_junit(const Verdict& verdict, const CompareCommand& command) {
  const std::string failure =
      verdict.passed ? "" : fmt::format("<failure message=\"{}\"/>", escaped_for_xml(headline(verdict)));
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuite name=\"meshloom compare\" tests=\"1\" failures=\"{}\">\n"
      "  <testcase classname=\"{}\" name=\"iteration time\">{}<system-out>{}</system-out></testcase>\n"
      "</testsuite>\n",
      verdict.passed ? 0 : 1, escaped_for_xml(command.next), failure, escaped_for_xml(as_text(verdict)));
}

std::string printed(const Verdict& verdict, const CompareCommand& command) {
  switch (command.format) {
    case ComparisonFormat::text:
      return as_text(verdict);
    case ComparisonFormat::markdown:
      return as_markdown(verdict);
    case ComparisonFormat::junit:
      return as_junit(verdict, command);
    case ComparisonFormat::json:
      return comparison_json(verdict.comparison, verdict.max_slowdown, verdict.passed);
  }
  throw std::logic_error("unknown comparison format");
}

}  // namespace

ExitCode run(const CompareCommand& command) {
  if (command.base == "-" && command.next == "-")
    throw InputError("BASE and NEW", "only one of them can be standard input");
  const Verdict verdict = judge(read_plan(command.base), read_plan(command.next), command.max_slowdown);
  check_comparable(command, verdict.comparison);
  write_file("-", printed(verdict, command));
  return verdict.passed ? ExitCode::done : ExitCode::comparison_failed;
}

}  // namespace meshloom
