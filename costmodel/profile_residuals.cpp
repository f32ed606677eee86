#include "costmodel/profile_residuals.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costmodel/sample_models.hpp"

namespace meshloom {
namespace {

std::string shape_text(const OperatorSeries& series, const OperatorSample& sample) {
  std::string text;
  const auto names = shape_names(series.key.kind);
  for (std::size_t i = 0; i < names.size(); ++i)
    text += fmt::format("{}{}={}", i == 0 ? "" : " ", names[i], sample.shape[i]);
  return text;
}

ResidualSummary summary_of(const std::string& key, const std::vector<const Residual*>& all) {
  ResidualSummary summary{key, std::ssize(all)};
  std::vector<double> ratios;
  for (const Residual* each : all) {
    summary.mean_absolute_error += std::abs(each->error()) / static_cast<double>(all.size());
    ratios.push_back(each->ratio());
  }
  std::sort(ratios.begin(), ratios.end());
  const std::size_t half = ratios.size() / 2;
  summary.median_ratio = ratios.size() % 2 == 1 ? ratios[half] : (ratios[half - 1] + ratios[half]) / 2;
  return summary;
}

}  // namespace

std::vector<Residual> residuals(const Profile& profile, const Cluster& cluster, const Recipe& recipe) {
  std::vector<Residual> result;
  const auto add = [&](const std::string& key, const std::string& shape, Seconds measured, Seconds modelled) {
    if (modelled > Seconds(0)) result.push_back({key, shape, measured, modelled});
  };
  for (const OperatorSeries& series : profile.operators) {
    const SampleModel model(cluster, recipe, series.key);
    for (const OperatorSample& sample : series.samples)
      add(describe(series.key), shape_text(series, sample), sample.timing.median, model.time(sample.shape));
  }
  for (const CollectiveSeries& series : profile.collectives)
    for (const CollectiveSample& sample : series.samples)
      add(describe(series.key), fmt::format("bytes={}", sample.bytes), sample.timing.median,
          modelled_sample(cluster, series.key, sample.bytes));
  return result;
}

std::vector<ResidualSummary> summarize(const std::vector<Residual>& residuals) {
  std::vector<ResidualSummary> result;
  std::vector<const Residual*> all;
  for (auto first = residuals.begin(); first != residuals.end();) {
    std::vector<const Residual*> of_key;
    for (; first != residuals.end() && (of_key.empty() || first->key == of_key.front()->key); ++first)
      of_key.push_back(&*first);
    result.push_back(summary_of(of_key.front()->key, of_key));
    all.insert(all.end(), of_key.begin(), of_key.end());
  }
  if (!all.empty()) result.push_back(summary_of("all", all));
  return result;
}

}  // namespace meshloom
