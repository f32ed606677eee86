// A real training step of a graph on the processor: forward, backward and Adam over real buffers, op by op, with the
// kernels that the profiler measures. It is what a profile's prediction is held against; it trains nothing worth
// keeping: parameters, tokens and labels are arbitrary.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "costmodel/profiler/cpu_clock.hpp"
#include "costmodel/profiler/cpu_kernels.hpp"
#include "graphs/gradients.hpp"
#include "graphs/graph.hpp"

namespace meshloom {

struct StepTimes {
  Seconds forward, backward, update;
  Seconds total() const { return forward + backward + update; }
};

// The time of one kernel of a step, for a look at where a prediction is off.
struct KernelTime {
  std::string op;  // id
  bool backward = false;
  Seconds time;
};

class GraphStep {
 public:
  // One microbatch of `batch` samples. Throws InputError naming the op: a kind or a rule that it cannot run, a graph
  // that is not of fp32. The graph must outlive it.
  GraphStep(const Graph& graph, std::int64_t batch, CpuClock clock);

  StepTimes run();
  std::vector<KernelTime> run_kernel_by_kernel();
  // Of the graph's last op, when its result is a scalar.
  float loss() const;
  // What a tensor holds after a step; a parameter's gradient. Empty where there is none.
  std::span<float> values(TensorId tensor);
  std::span<float> gradient(TensorId tensor);

 private:
  struct Kernel {
    OpId op;
    std::function<void()> run;
  };

  float* new_floats(std::int64_t count);
  std::int64_t count(TensorId tensor) const { return counts_[index(tensor)]; }
  float* value(TensorId tensor);
  std::int32_t* labels(TensorId tensor, std::int64_t below);
  std::vector<std::int64_t> factor_sizes(const Op& op) const;
  Rows rows_of(const Op& op, std::size_t input) const;
  [[noreturn]] void refuse(const Op& op, const std::string& reason) const;

  // Where the gradient of an operand goes: overwriting, if it is the first that reaches it.
  struct GradientPlace {
    float* place;
    Store store;
  };
  GradientPlace gradient_place(TensorId tensor);
  float* gradient_of_result(const Op& op);
  void pass_gradient(OpId op, TensorId from, TensorId to);
  bool may_share(OpId op, const float* buffer, TensorId tensor) const;

  void add_forward(OpId id, std::function<void()> run) { forward_.push_back({id, std::move(run)}); }
  void add_backward(OpId id, std::function<void()> run) { backward_.push_back({id, std::move(run)}); }
  void build_forward(OpId op);
  void build_backward(OpId op);
  void forward_of_product(OpId op);
  void forward_of_sum(OpId op);
  void forward_of_norm(OpId op);
  void forward_of_attention(OpId op);
  void forward_of_rest(OpId op);
  void backward_of_product(OpId op, const GradientOp& kernel);
  void backward_of_sum(OpId op, const GradientOp& kernel);
  void backward_of_norm(OpId op);
  void backward_of_attention(OpId op);
  void backward_of_rest(OpId op);
  AttentionShape attention_shape(const Op& op) const;
  void fill_parameters();
  void update();

  const Graph& graph_;
  std::int64_t batch_;
  CpuClock clock_;
  TrainingGraph training_;
  std::vector<std::int64_t> counts_;                  // elements, by tensor
  std::vector<std::unique_ptr<float[]>> floats_;      // owns every buffer of floats
  std::vector<float*> values_, gradients_;            // by tensor; null: none yet
  std::vector<std::vector<std::int32_t>> labels_;     // by tensor
  std::vector<std::vector<std::uint8_t>> masks_;      // by op: dropout's
  std::vector<float*> extras_;                        // by op: statistics, log-sums
  std::vector<std::pair<float*, TensorId>> sharing_;  // tensors whose gradients lie in a shared buffer
  std::vector<std::pair<float*, float*>> moments_;    // by tensor: Adam's, of parameters
  std::vector<Kernel> forward_, backward_;
};

}  // namespace meshloom
