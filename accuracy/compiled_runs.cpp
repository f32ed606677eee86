#include "accuracy/compiled_runs.hpp"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>

#include "accuracy/compiled_run.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

RunCase case_of(const MeasuredRun& run, const Constants& constants) {
  std::variant<RunCase, SkipReason> made = make_case(run, constants);
  if (const auto* reason = std::get_if<SkipReason>(&made)) throw InputError(run.place, reason->text);
  return std::get<RunCase>(std::move(made));
}

// Positions of rows that one planner serves, so many that threads share large groups.
constexpr std::size_t most_together = 24;
struct Together {
  TransformerOptions model;
  Recipe recipe;
  std::vector<std::size_t> rows;
};

std::vector<Together> grouped(const std::vector<RunCase>& cases, const std::vector<std::uint32_t>& rows) {
  std::vector<Together> groups;
  for (const std::uint32_t row : rows) {
    const auto fitting = std::find_if(groups.begin(), groups.end(), [&](const Together& group) {
      return group.rows.size() < most_together && group.model == cases[row].model && group.recipe == cases[row].recipe;
    });
    if (fitting == groups.end())
      groups.push_back({cases[row].model, cases[row].recipe, {row}});
    else
      fitting->rows.push_back(row);
  }
  return groups;
}

Plan plan_of(const RunCase& run, BaselinePlanner& planner) {
  UniformLayout layout = run.layout;
  if (!run.recompute_stated) layout = predict(run, planner).layout;
  planner.move_to(run.cluster);
  return planner.plan(layout, run.global_batch);
}

// Rows are planned and compiled when they are first asked for: a fit that leaves rows out needs no layouts of them
// until it is done, and none of others then.
class CompiledRows {
 public:
  explicit CompiledRows(std::vector<RunCase> cases) : cases_(std::move(cases)), compiled_(cases_.size()) {}

  CompiledRun& operator[](std::uint32_t row) { return *compiled_[row]; }

  // Not for several threads at a time.
  void compile(std::span<const std::uint32_t> rows) {
    std::vector<std::uint32_t> missing;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(missing),
                 [&](std::uint32_t row) { return compiled_[row] == nullptr; });
    const std::vector<Together> groups = grouped(cases_, missing);
    tbb::parallel_for(std::size_t{0}, groups.size(), [&](std::size_t g) {
      const Together& group = groups[g];
      BaselinePlanner planner(
          {build_transformer(group.model), cases_[group.rows.front()].cluster, group.recipe, {}, {}, {}});
      const auto graph = std::make_shared<const CompiledGraph>(planner.input().graph, group.recipe);
      for (const std::size_t row : group.rows)
        compiled_[row] = std::make_unique<CompiledRun>(graph, plan_of(cases_[row], planner));
    });
  }

 private:
  std::vector<RunCase> cases_;
  std::vector<std::unique_ptr<CompiledRun>> compiled_;
};

}  // namespace

namespace {

// Sources and releases spell one precision in several ways: what counts is what products are computed in.
std::string precision_of(const MeasuredRun& run) {
  const std::string text = lower(run.precision);
  for (const auto& [part, name] : {std::pair("fp4", "fp4"), std::pair("fp8", "fp8"), std::pair("float8", "fp8")})
    if (text.find(part) != std::string::npos) return name;
  return text;
}

}  // namespace

std::string configuration_of(const MeasuredRun& run) {
  const MeasuredModel& model = run.model;
  std::string text = fmt::format("{} {} {} {} {} {} {} {}", model.layers, model.hidden, model.heads, model.kv_heads,
                                 model.head_dim, model.ffn_hidden, model.gated_mlp, model.seq_len);
  if (model.vocab) text += fmt::format(" v{}", *model.vocab);
  if (model.experts)
    text += fmt::format(" moe {} {} {} {}", model.experts->experts, model.experts->top_k, model.experts->ffn_hidden,
                        model.experts->shared);
  text += fmt::format("|{}|{} {} {} {} {} {} {} {} {}|{}", run.gpus, run.tensor_parallel, run.pipeline_parallel,
                      run.data_parallel, run.context_parallel, run.expert_parallel, run.virtual_stages.value_or(1),
                      static_cast<int>(run.parameter_state), run.micro_batch,
                      run.recompute ? static_cast<int>(*run.recompute) : 9, precision_of(run));
  if (run.expert_tensor_parallel) text += fmt::format(" etp{}", *run.expert_tensor_parallel);
  return text;
}

// Releases of one framework run one layout of a mixture of experts in times that differ by up to 80 %; dense models do
// not. Unseen errors of the two had medians of 12.5 and 3.3 % when all rows counted alike (docs/accuracy.md), and
// devices with mixtures alone took constants that no dense model agreed with.
constexpr double scatter_of_experts = 4;

PreparedRuns prepare_runs(const std::vector<MeasuredRun>& runs, const ConstantFiles& files) {
  PreparedRuns prepared;
  const Constants constants = constants_from(files);
  prepared.predictions = predict_all(runs, constants, {});
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> known;  // files of a GPU and a recipe
  for (std::size_t k = 0; k < runs.size(); ++k) {
    if (!std::holds_alternative<Prediction>(prepared.predictions[k])) continue;
    const MeasuredRun& run = runs[k];
    CalibrationRow row;
    row.recipe = recipe_for(constants, run.framework, run.gpu, run.parameter_state).name;
    const auto [found, is_new] = known.try_emplace({run.gpu, row.recipe});
    if (is_new) found->second = files_of(files, run.gpu, row.recipe);
    row.id = run.id, row.source = run.source, row.framework = run.framework;
    row.device = find_device(constants, run.gpu)->device.name;
    row.files = found->second;
    row.configuration = configuration_of(run);
    if (run.iteration_time) row.measured_s = run.iteration_time->value();
    if (run.peak_memory) row.measured_peak_bytes = run.peak_memory->value();
    row.counts = run.suspect.empty();
    row.kind = run.model.experts ? ModelKind::mixture_of_experts : ModelKind::dense;
    row.scatter = run.model.experts ? scatter_of_experts : 1;
    prepared.rows.push_back(std::move(row));
    prepared.run_of.push_back(k);
  }
  return prepared;
}

std::vector<MeasuredRun> with_unknown_frameworks(std::vector<MeasuredRun> runs) {
  for (MeasuredRun& run : runs) run.framework.clear();
  return runs;
}

CompileRuns compiler_of(const std::vector<MeasuredRun>& runs, const PreparedRuns& prepared) {
  return [&runs, &prepared](const ConstantFiles& files) -> PriceRuns {
    const auto reader = std::make_shared<ConstantsReader>();
    const Constants& constants = reader->read(files);
    std::vector<RunCase> cases;
    for (const std::size_t run : prepared.run_of) cases.push_back(case_of(runs[run], constants));
    const auto compiled = std::make_shared<CompiledRows>(std::move(cases));
    const auto by = [&runs, &prepared, reader,
                     compiled](RunPrice (CompiledRun::*price)(const Cluster&, const Recipe&)) {
      return
          [&runs, &prepared, reader, compiled, price](const ConstantFiles& given, std::span<const std::uint32_t> rows) {
            compiled->compile(rows);
            const Constants& changed = reader->read(given);
            std::vector<RunPrice> prices(rows.size());
            tbb::parallel_for(std::size_t{0}, rows.size(), [&](std::size_t k) {
              const RunCase run = case_of(runs[prepared.run_of[rows[k]]], changed);
              prices[k] = ((*compiled)[rows[k]].*price)(run.cluster, run.recipe);
            });
            return prices;
          };
    };
    const auto changed = [&runs, &prepared, reader](const ConstantFiles& one, const ConstantFiles& other) {
      const Constants before = reader->read(one);
      const Constants& after = reader->read(other);
      std::vector<char> differs(prepared.rows.size());
      tbb::parallel_for(std::size_t{0}, differs.size(), [&](std::size_t row) {
        const MeasuredRun& run = runs[prepared.run_of[row]];
        const RunCase a = case_of(run, before), b = case_of(run, after);
        differs[row] = a.cluster != b.cluster || a.recipe != b.recipe ? 1 : 0;
      });
      std::vector<std::uint32_t> rows;
      for (std::uint32_t row = 0; row < differs.size(); ++row)
        if (differs[row] != 0) rows.push_back(row);
      return rows;
    };
    return {by(&CompiledRun::price), by(&CompiledRun::estimate), changed};
  };
}

}  // namespace meshloom
