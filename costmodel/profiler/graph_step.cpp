#include "costmodel/profiler/graph_step.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graphs/input_error.hpp"

namespace meshloom {
GraphStep::GraphStep(const Graph& graph, std::int64_t batch, CpuClock clock)
    : graph_(graph),
      batch_(batch),
      clock_(clock),
      training_(differentiate(graph)),
      values_(graph.tensors.size()),
      gradients_(graph.tensors.size()),
      labels_(graph.tensors.size()),
      masks_(graph.ops.size()),
      extras_(graph.ops.size()),
      moments_(graph.tensors.size()) {
  for (const Tensor& tensor : graph.tensors) {
    counts_.push_back(static_cast<std::int64_t>(elements(tensor, batch)));
    if (is_floating(tensor.dtype) && tensor.dtype != DType::fp32)
      throw InputError(graph.name, fmt::format("tensor \"{}\" is of {}; a step on the processor is of fp32: build the "
                                               "graph with --dtype fp32",
                                               tensor.id, name(tensor.dtype)));
  }
  fill_parameters();
  for (std::uint32_t i = 0; i < graph.ops.size(); ++i) build_forward(OpId{i});
  if (const TensorId loss = graph.ops.back().outputs[0]; count(loss) == 1) {
    gradients_[index(loss)] = new_floats(1);
    *gradients_[index(loss)] = 1;
  }
  for (std::uint32_t i = static_cast<std::uint32_t>(graph.ops.size()); i-- > 0;) build_backward(OpId{i});
}

float* GraphStep::new_floats(std::int64_t count) {
  floats_.push_back(std::make_unique<float[]>(static_cast<std::size_t>(count)));
  return floats_.back().get();
}

float* GraphStep::value(TensorId tensor) {
  float*& place = values_[index(tensor)];
  if (place == nullptr) place = new_floats(count(tensor));
  return place;
}

// Small weights around zero; norms' weights, which are the only vectors that multiply, would not mind ones, but a step
// takes as long with any.
void GraphStep::fill_parameters() {
  for (std::uint32_t t = 0; t < graph_.tensors.size(); ++t) {
    const Tensor& tensor = graph_.tensors[t];
    if (tensor.role == TensorRole::intermediate || !is_floating(tensor.dtype)) continue;
    float* const place = value(TensorId{t});
    for (std::int64_t i = 0; i < count(TensorId{t}); ++i)
      place[i] = 0.1F * (static_cast<float>((i * 7919 + t * 104'729) % 2003) / 1001.0F - 1.0F);
    if (tensor.role == TensorRole::parameter && training_.relations.needs_gradient[t])
      moments_[t] = {new_floats(count(TensorId{t})), new_floats(count(TensorId{t}))};
  }
}

std::int32_t* GraphStep::labels(TensorId tensor, std::int64_t below) {
  std::vector<std::int32_t>& values = labels_[index(tensor)];
  if (values.empty())
    for (std::int64_t i = 0; i < count(tensor); ++i)
      values.push_back(static_cast<std::int32_t>(static_cast<std::uint64_t>(i) * 2'654'435'761U %
                                                 static_cast<std::uint64_t>(below)));
  return values.data();
}

std::vector<std::int64_t> GraphStep::factor_sizes(const Op& op) const {
  std::vector<std::int64_t> sizes;
  for (const Extent& size : op.factor_sizes) sizes.push_back(size.at(batch_));
  return sizes;
}

Rows GraphStep::rows_of(const Op& op, std::size_t input) const {
  const TensorId tensor = op.inputs[input];
  const std::int64_t width = graph_.tensor(tensor).shape.back().at(batch_);
  return {count(tensor) / width, width};
}

void GraphStep::refuse(const Op& op, const std::string& reason) const {
  throw InputError(fmt::format("op \"{}\"", op.id), reason + ": a step on the processor cannot run it");
}

GraphStep::GradientPlace GraphStep::gradient_place(TensorId tensor) {
  float*& place = gradients_[index(tensor)];
  if (place != nullptr) return {place, Store::add};
  place = new_floats(count(tensor));
  return {place, Store::write};
}

// Null: nothing after the op leads to the loss.
float* GraphStep::gradient_of_result(const Op& op) { return gradients_[index(op.outputs[0])]; }

// A buffer may be the gradient of several tensors as long as none of them grows before the others were read: the
// gradient of a tensor is read last by its producer's backward, and grows in the backward of each of its consumers that
// stand before `op`, the one at hand.
bool GraphStep::may_share(OpId op, const float* buffer, TensorId tensor) const {
  const auto read_before_growth = [&](TensorId read, TensorId growing) {
    const auto producer = training_.relations.producer[index(read)];
    if (!producer) return false;
    const auto& consumers = training_.relations.consumers[index(growing)];
    return std::all_of(consumers.begin(), consumers.end(),
                       [&](OpId consumer) { return consumer >= op || *producer > consumer; });
  };
  if (graph_.tensor(tensor).role == TensorRole::parameter) return false;
  return std::all_of(sharing_.begin(), sharing_.end(), [&](const auto& other) {
    const auto producer = training_.relations.producer[index(other.second)];
    const bool read_already = producer && *producer >= op;
    return other.first != buffer || read_already ||
           (read_before_growth(other.second, tensor) && read_before_growth(tensor, other.second));
  });
}

void GraphStep::pass_gradient(OpId op, TensorId from, TensorId to) {
  float* const buffer = gradients_[index(from)];
  if (gradients_[index(to)] == nullptr && may_share(op, buffer, to)) {
    gradients_[index(to)] = buffer;
    sharing_.emplace_back(buffer, to);
    return;
  }
  const GradientPlace into = gradient_place(to);
  const std::int64_t size = count(to);
  add_backward(op, [=] { scale(size, 1, buffer, into.place, into.store); });
}

void GraphStep::update() {
  for (std::size_t t = 0; t < moments_.size(); ++t)
    if (moments_[t].first != nullptr && gradients_[t] != nullptr)
      adam(counts_[t], 1e-4F, gradients_[t], values_[t], moments_[t].first, moments_[t].second);
}

StepTimes GraphStep::run() {
  const Seconds begin = read(clock_);
  for (const Kernel& kernel : forward_) kernel.run();
  const Seconds after_forward = read(clock_);
  for (const Kernel& kernel : backward_) kernel.run();
  const Seconds after_backward = read(clock_);
  update();
  return {after_forward - begin, after_backward - after_forward, read(clock_) - after_backward};
}

std::vector<KernelTime> GraphStep::run_kernel_by_kernel() {
  std::vector<KernelTime> times;
  for (const auto* kernels : {&forward_, &backward_})
    for (const Kernel& kernel : *kernels) {
      const Seconds begin = read(clock_);
      kernel.run();
      times.push_back({graph_.op(kernel.op).id, kernels == &backward_, read(clock_) - begin});
    }
  const Seconds begin = read(clock_);
  update();
  times.push_back({"update", true, read(clock_) - begin});
  return times;
}

float GraphStep::loss() const {
  const TensorId last = graph_.ops.back().outputs[0];
  return count(last) == 1 ? *values_[index(last)] : 0;
}

std::span<float> GraphStep::values(TensorId tensor) {
  if (values_[index(tensor)] == nullptr) return {};
  return {values_[index(tensor)], static_cast<std::size_t>(count(tensor))};
}

std::span<float> GraphStep::gradient(TensorId tensor) {
  if (gradients_[index(tensor)] == nullptr) return {};
  return {gradients_[index(tensor)], static_cast<std::size_t>(count(tensor))};
}

}  // namespace meshloom
