#include "costmodel/op_costs.hpp"

#include <algorithm>

#include "costmodel/kernel_shapes.hpp"
#include "costmodel/measured_times.hpp"

namespace meshloom {
namespace {

// One op on one device: its sizes there, and the prices they lead to. Times are without the launch floor.
struct LocalOp {
  const Cluster& cluster;
  const Recipe& recipe;
  const Graph& graph;
  const OpGradient& gradient;
  const Op& op;
  std::span<const std::int64_t> factor_sizes;

  const DeviceType& device() const { return cluster.device; }

  double elements(const RuleOperand& operand) const {
    double product = 1;
    for (const RuleDimension& dimension : operand)
      for (const FactorId factor : dimension) product *= double(factor_sizes[index(factor)]);
    return product;
  }
  double all_factors() const {
    double product = 1;
    for (const std::int64_t size : factor_sizes) product *= double(size);
    return product;
  }
  // Of the factors in one of two operands.
  double product_over(const RuleOperand& a, const RuleOperand& b) const {
    double product = 1;
    for (std::size_t f = 0; f < factor_sizes.size(); ++f) {
      const FactorId factor{static_cast<std::uint32_t>(f)};
      if (contains(a, factor) || contains(b, factor)) product *= double(factor_sizes[f]);
    }
    return product;
  }
  // Of the factors that multiply: a convolution's stride stands in the image alone and does not.
  double products() const {
    double product = all_factors();
    if (op.kind != OpKind::conv) return product;
    for (std::size_t f = 0; f < factor_sizes.size(); ++f) {
      const FactorId factor{static_cast<std::uint32_t>(f)};
      if (!contains(op.rule.inputs[1], factor) && !in_outputs(op.rule, factor)) product /= double(factor_sizes[f]);
    }
    return product;
  }
  Bytes input(std::size_t i) const {
    return elements(op.rule.inputs[i]) * element_size(recipe, graph.tensor(op.inputs[i]).dtype);
  }
  Bytes output(std::size_t i) const {
    return elements(op.rule.outputs[i]) * element_size(recipe, graph.tensor(op.outputs[i]).dtype);
  }
  Bytes inputs() const {
    Bytes sum;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) sum += input(i);
    return sum;
  }
  Bytes outputs() const {
    Bytes sum;
    for (std::size_t i = 0; i < op.outputs.size(); ++i) sum += output(i);
    return sum;
  }

  Seconds moving(Bytes bytes) const { return bytes / (device().memory_bandwidth * device().memory_efficiency); }
  Seconds elementwise(Bytes bytes) const { return recipe.elementwise_traffic * traffic_of_kind() * moving(bytes); }
  double traffic_of_kind() const {
    switch (op.kind) {
      case OpKind::layer_norm:
      case OpKind::rms_norm:
        return recipe.norm_traffic;
      case OpKind::cross_entropy:
        return recipe.loss_traffic;
      case OpKind::gather:
        return is_parameter(0) ? 1 : recipe.dispatch_traffic;
      case OpKind::softmax:
      case OpKind::scale:
        return recipe.softmax_traffic;
      default:
        return 1;
    }
  }

  double activation_elements() const {
    double sum = 0;
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      if (!is_parameter(i)) sum += elements(op.rule.inputs[i]);
    return sum;
  }
  bool is_parameter(std::size_t input) const { return graph.tensor(op.inputs[input]).role == TensorRole::parameter; }
  // A product with a parameter, but not that which makes the logits.
  bool is_linear_layer() const {
    if (gradient.makes_logits) return false;
    for (std::size_t i = 0; i < op.inputs.size(); ++i)
      if (is_parameter(i)) return true;
    return false;
  }
  // Whether the recipe computes it in another dtype than its operands have.
  bool casts() const {
    return recipe.linear_dtype && *recipe.linear_dtype != recipe.compute_dtype && is_linear_layer();
  }

  // What products are computed in: the dtype of the first floating operand, 16-bit ones as the recipe says.
  DType dtype() const {
    for (const TensorId tensor : op.inputs) {
      const DType stored = graph.tensor(tensor).dtype;
      if (stored == DType::bf16 || stored == DType::fp16) break;
      if (is_floating(stored)) return dtype_on(device(), stored);
    }
    return dtype_on(device(), casts() ? *recipe.linear_dtype : recipe.compute_dtype);
  }
  FlopsPerSecond peak() const { return peak_for(device(), dtype()); }
};

// What each kind is priced by.
enum class Price { gemm, attention, custom, rows, add, view, linear_by_bytes, elementwise };

Price price_of(const Op& op) {
  switch (op.kind) {
    case OpKind::einsum:
    case OpKind::conv:
      return op.inputs.size() < 2 ? Price::linear_by_bytes : Price::gemm;
    case OpKind::sum:
    case OpKind::scale:
      return Price::linear_by_bytes;
    case OpKind::gather:
      return Price::rows;
    case OpKind::reshape:
    case OpKind::broadcast:
      return Price::view;
    case OpKind::add:
      return Price::add;
    case OpKind::attention:
      return Price::attention;
    case OpKind::custom:
      return Price::custom;
    case OpKind::multiply:
    case OpKind::gelu:
    case OpKind::relu:
    case OpKind::silu:
    case OpKind::softmax:
    case OpKind::layer_norm:
    case OpKind::rms_norm:
    case OpKind::batch_norm:
    case OpKind::rotary:
    case OpKind::concat:
    case OpKind::dropout:
    case OpKind::max_pool:
    case OpKind::cross_entropy:
      return Price::elementwise;
  }
  return Price::elementwise;
}

// What a product's prologue takes does not shrink with its operands' width.
double speed_over_16_bits(const LocalOp& local) {
  const DType dtype = local.dtype();
  if (dtype != DType::fp8 && dtype != DType::fp4) return 1;
  return local.peak() / peak_for(local.device(), DType::bf16);
}

// How many products with an expert's parameters there are: over the factors of a parameter that are in all operands.
double experts(const LocalOp& local) {
  const ShardingRule& rule = local.op.rule;
  double count = 1;
  for (std::size_t i = 0; i < rule.inputs.size(); ++i) {
    if (!local.is_parameter(i)) continue;
    for (std::size_t f = 0; f < local.factor_sizes.size(); ++f) {
      const FactorId factor{static_cast<std::uint32_t>(f)};
      const bool everywhere = contains(rule.outputs[0], factor) &&
                              std::all_of(rule.inputs.begin(), rule.inputs.end(),
                                          [&](const RuleOperand& operand) { return contains(operand, factor); });
      if (everywhere) count *= double(local.factor_sizes[f]);
    }
  }
  return count;
}

// Of the result, what one wave of kernels makes: where each expert's product is a kernel, a few run at once.
double elements_at_once(const LocalOp& local, double result_elements) {
  if (!(local.recipe.expert_streams > 0)) return result_elements;
  return result_elements * std::min(1.0, local.recipe.expert_streams / experts(local));
}

// A product with `result`: 2·Π factors that multiply; the result's factors make the output tile, the others are
// contracted. Without contraction it is elementwise, and the depth penalty does not apply.
Seconds gemm(const LocalOp& local, const RuleOperand& result) {
  const double products = local.products();
  const double result_elements = local.elements(result);
  const Seconds moved = local.moving(local.inputs() + local.outputs());
  if (result_elements >= products) return moved;
  const GemmEfficiency& curve = local.device().gemm;
  const Seconds ideal = Flops(2 * products) / (local.peak() * curve.share_of_peak(local.dtype()));
  const double depth = products / result_elements / speed_over_16_bits(local);
  const double at_once = elements_at_once(local, result_elements);
  return std::max(moved, ideal * (1 + curve.wave_penalty / at_once) * (1 + curve.depth_penalty / depth));
}

// Quantizing an operand before a product, or a result's gradient before the gradients' products.
Seconds casting(const LocalOp& local, double elements) {
  return local.casts() ? local.moving(Bytes(local.recipe.cast_bytes * elements)) : Seconds{};
}

constexpr double small_head = 100;

Seconds attention(const LocalOp& local) {
  const ShardingRule& rule = local.op.rule;
  const double products =
      2 * local.product_over(rule.inputs[0], rule.inputs[1]) + 2 * local.product_over(rule.inputs[2], rule.outputs[0]);
  const Flops flops(computed_share(local.op) * products);
  const double head = double(local.factor_sizes[index(rule.inputs[0].back().back())]);
  const double share = attention_share(local.device(), local.recipe.attention_kernel);
  return std::max(local.moving(local.inputs() + local.outputs()),
                  flops / (local.peak() * share) * (head < small_head ? local.recipe.small_head_cost : 1));
}

Seconds custom(const LocalOp& local) {
  const double count = local.elements(local.op.rule.outputs[0]);
  const Seconds moved = local.moving(Bytes(local.op.custom_bytes_per_element * count));
  if (local.op.custom_flops_per_element <= 0) return moved;
  const Flops flops(local.op.custom_flops_per_element * count);
  return std::max(moved, flops / (local.peak() * local.device().gemm.of_peak));
}

std::vector<FactorId> factor_order(const LocalOp& local, const RuleOperand& operand) {
  std::vector<FactorId> order;
  for (const RuleDimension& dimension : operand)
    for (const FactorId factor : dimension)
      if (local.factor_sizes[index(factor)] > 1) order.push_back(factor);
  return order;
}

// A reshape that only splits or joins neighbouring dimensions and a broadcast are views; a transposition moves bytes.
Seconds view(const LocalOp& local) {
  const bool transposes = local.op.kind == OpKind::reshape &&
                          factor_order(local, local.op.rule.inputs[0]) != factor_order(local, local.op.rule.outputs[0]);
  return transposes ? local.elementwise(local.inputs() + local.outputs()) : Seconds{};
}

// Of a table the rows read, not the table: they are as large as the result before rows are summed.
Bytes rows(const LocalOp& local) {
  return local.product_over(local.op.rule.inputs[1], local.op.rule.outputs[0]) *
         element_size(local.recipe, local.graph.tensor(local.op.outputs[0]).dtype);
}

Seconds forward_work(const LocalOp& local) {
  switch (price_of(local.op)) {
    case Price::gemm:
      return gemm(local, local.op.rule.outputs[0]) + casting(local, local.activation_elements());
    case Price::attention:
      return attention(local);
    case Price::custom:
      return custom(local);
    case Price::rows:
      return local.elementwise(local.input(1) + rows(local) + local.outputs());
    case Price::view:
      return view(local);
    case Price::add:
    case Price::linear_by_bytes:
    case Price::elementwise:
      return local.elementwise(local.inputs() + local.outputs());
  }
  return Seconds{};
}

// Reads the result's gradient, writes the operand's. Nothing when the operand has every element of the result, for then
// the one is the other.
Seconds sum_or_pass(const LocalOp& local, std::size_t input) {
  if (local.elements(local.op.rule.inputs[input]) >= local.elements(local.op.rule.outputs[0])) return Seconds{};
  return local.elementwise(local.output(0) + local.input(input));
}

Seconds backward_work(const LocalOp& local, const GradientOp& kernel) {
  switch (price_of(local.op)) {
    case Price::gemm:  // the result's gradient is cast once for all of its products
      return gemm(local, local.op.rule.inputs[kernel.of_inputs[0]]) +
             casting(local, local.elements(local.op.rule.outputs[0])) / double(local.gradient.kernels.size());
    case Price::add:
      return sum_or_pass(local, kernel.of_inputs[0]);
    case Price::view:
      return local.op.kind == OpKind::broadcast ? sum_or_pass(local, kernel.of_inputs[0]) : view(local);
    case Price::linear_by_bytes:
      return local.elementwise(local.output(0) + local.input(kernel.of_inputs[0]));
    case Price::rows:  // adds each row to one of the table: those of the table that it meets are read and written
      return local.elementwise(local.input(1) + local.outputs() + 2 * std::min(rows(local), local.input(0)));
    case Price::attention:
    case Price::custom:
    case Price::elementwise:
      return kernel.cost_of_forward * forward_work(local);
  }
  return Seconds{};
}

// Whatever the sizes on a device: a reshape that leaves the factors in their order, a broadcast.
bool is_view(const Op& op) {
  if (op.kind != OpKind::reshape) return op.kind == OpKind::broadcast;
  const auto order = [&](const RuleOperand& operand) {
    std::vector<FactorId> factors;
    for (const RuleDimension& dimension : operand)
      for (const FactorId factor : dimension)
        if (!(op.factor_sizes[index(factor)] == Extent{})) factors.push_back(factor);
    return factors;
  };
  return order(op.rule.inputs[0]) == order(op.rule.outputs[0]);
}

// Whether the host starts a kernel for it: not where the operand's gradient is the result's, or a view of it.
bool starts_kernel(const Op& op, const GradientOp& gradient) {
  if (op.kind != OpKind::add && op.kind != OpKind::broadcast) return !is_view(op);
  const RuleOperand& operand = op.rule.inputs[gradient.of_inputs[0]];
  for (const RuleDimension& dimension : op.rule.outputs[0])
    for (const FactorId factor : dimension)
      if (!contains(operand, factor)) return true;  // a sum over it
  return false;
}

bool computes_in_fp16(const DeviceType& device, const Recipe& recipe) {
  return dtype_on(device, recipe.compute_dtype) == DType::fp16;
}

Seconds adding_gradients(const LocalOp& local, const GradientOp& kernel) {
  double parameters = 0;
  for (const std::size_t input : kernel.of_inputs)
    if (local.is_parameter(input)) parameters += local.elements(local.op.rule.inputs[input]);
  return local.moving(Bytes(gradient_traffic(local.device(), local.recipe) * parameters));
}

Seconds at_least_launch(const DeviceType& device, Seconds work) {
  return work > Seconds{} ? std::max(work, device.launch) : Seconds{};
}

// What profiles make of a kernel's time.
SourcedTime measured(const Cluster& cluster, const std::optional<KernelShape>& kernel, Seconds modelled) {
  if (!kernel) return {modelled, TimeSource::modelled};
  return cluster.measured->of(*kernel, modelled);
}

SourcedTime forward_time(const LocalOp& local) {
  const Seconds modelled = at_least_launch(local.device(), forward_work(local));
  if (!local.cluster.measured) return {modelled, TimeSource::modelled};
  return measured(local.cluster, forward_kernel(local.recipe, local.graph, local.op, local.factor_sizes, local.dtype()),
                  modelled);
}

SourcedTime backward_time(const LocalOp& local, const GradientOp& kernel) {
  const Seconds modelled = at_least_launch(local.device(), backward_work(local, kernel));
  if (!local.cluster.measured) return {modelled, TimeSource::modelled};
  return measured(local.cluster,
                  gradient_kernel(local.recipe, local.graph, local.op, kernel, local.factor_sizes, local.dtype()),
                  modelled);
}

}  // namespace

Bytes gradient_bytes(const DeviceType& device, const Recipe& recipe) {
  if (!recipe.fp16_gradient_bytes || !computes_in_fp16(device, recipe)) return recipe.gradient_bytes;
  return *recipe.fp16_gradient_bytes;
}

double gradient_traffic(const DeviceType& device, const Recipe& recipe) {
  if (!recipe.fp16_gradient_traffic || !computes_in_fp16(device, recipe)) return recipe.gradient_traffic;
  return *recipe.fp16_gradient_traffic;
}

Bytes element_size(const Recipe& recipe, DType dtype) {
  return size_of(dtype == DType::bf16 || dtype == DType::fp16 ? recipe.compute_dtype : dtype);
}

OpTime op_time(const Cluster& cluster, const Recipe& recipe, const Graph& graph, const OpGradient& gradient, OpId op,
               std::span<const std::int64_t> factor_sizes) {
  const LocalOp local{cluster, recipe, graph, gradient, graph.op(op), factor_sizes};
  const SourcedTime forward = forward_time(local);
  OpTime time{forward.time, Seconds{}};
  time.forward_source.add(forward);
  for (const GradientOp& kernel : gradient.kernels) {
    const SourcedTime taken = backward_time(local, kernel);
    time.backward += taken.time;
    time.backward_source.add(taken);
    const bool of_parameters = std::all_of(kernel.of_inputs.begin(), kernel.of_inputs.end(),
                                           [&](std::size_t input) { return local.is_parameter(input); });
    if (of_parameters) time.backward_weight += taken.time;
    time.adding_gradients += adding_gradients(local, kernel);
  }
  if (!(time.adding_gradients > Seconds{})) return time;
  time.backward += time.adding_gradients;
  time.backward_weight += time.adding_gradients;
  time.backward_source.add({time.adding_gradients, TimeSource::modelled});
  return time;
}

DType computed_in(const Cluster& cluster, const Recipe& recipe, const Graph& graph, const OpGradient& gradient,
                  OpId op) {
  return LocalOp{cluster, recipe, graph, gradient, graph.op(op), {}}.dtype();
}

Launches launches(const Recipe& recipe, const Graph& graph, const OpGradient& gradient, OpId id) {
  const Op& op = graph.op(id);
  Launches time;
  if (!is_view(op)) time.forward = recipe.launch;
  const auto kernels = std::count_if(gradient.kernels.begin(), gradient.kernels.end(),
                                     [&](const GradientOp& kernel) { return starts_kernel(op, kernel); });
  time.backward = recipe.backward_launch * static_cast<double>(kernels) * recipe.launch;
  return time;
}

}  // namespace meshloom
