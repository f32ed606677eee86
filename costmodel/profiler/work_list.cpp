#include "costmodel/profiler/work_list.hpp"

#include <algorithm>
#include <set>

#include "costmodel/groups.hpp"
#include "costmodel/kernel_shapes.hpp"
#include "costmodel/op_costs.hpp"
#include "planner/strategies.hpp"

namespace meshloom {
namespace {

constexpr std::size_t mesh_axes = 2;  // of the search's meshes, unless told otherwise

std::vector<Submesh> submeshes(const Cluster& cluster, std::uint32_t group) {
  std::vector<Submesh> result;
  for (std::int64_t devices = 1; devices < cluster.devices_per_host; devices *= 2)
    result.push_back({1, devices, group});
  for (std::int64_t hosts = 1; hosts <= cluster.hosts; hosts = hosts < 8 ? hosts + 1 : hosts * 2)
    result.push_back({hosts, cluster.devices_per_host, group});
  return result;
}

std::int64_t elements_of(const RuleOperand& operand, const std::vector<std::int64_t>& sizes) {
  std::int64_t product = 1;
  for (const RuleDimension& dimension : operand)
    for (const FactorId factor : dimension) product *= sizes[index(factor)];
  return product;
}

std::int64_t width_of(const RuleOperand& operand, const std::vector<std::int64_t>& sizes) {
  return operand.empty() ? 1 : elements_of({operand.back()}, sizes);
}

// What a profile's shape leaves open [task.hpp].
std::int64_t row_of(const Op& op, const std::vector<std::int64_t>& sizes) {
  switch (op.kind) {
    case OpKind::gather:
    case OpKind::rotary:
      return width_of(op.rule.outputs[0], sizes);
    case OpKind::add: {
      const std::int64_t other = elements_of(op.rule.inputs.back(), sizes);
      return other < elements_of(op.rule.outputs[0], sizes) ? other : 0;
    }
    case OpKind::sum: {
      const std::int64_t left = elements_of(op.rule.outputs[0], sizes);
      return left > 1 ? elements_of(op.rule.inputs[0], sizes) / left : 0;
    }
    default:
      return 0;
  }
}

// The first dimension of an attention's query is samples when keys and the output have it, too. A profile is looked up
// by samples times heads; a kernel wants both, for they lie differently in memory.
void tell_samples_from_heads(const Op& op, const std::vector<std::int64_t>& sizes, std::vector<std::int64_t>& shape) {
  const RuleOperand &query = op.rule.inputs[0], &key = op.rule.inputs[1];
  if (query.empty() || key.empty() || query.front() != key.front()) return;
  const std::int64_t samples = elements_of({query.front()}, sizes);
  if (shape[0] != 1 || samples < 1 || shape[1] % samples != 0 || shape[2] % samples != 0) return;
  shape[0] = samples;
  shape[1] /= samples;
  shape[2] /= samples;
}

class GraphTasks {
 public:
  GraphTasks(const Graph& graph, const Cluster& cluster, const Recipe& recipe)
      : graph_(graph), cluster_(cluster), recipe_(recipe) {}

  void add(const TrainingGraph& training, OpId id, const std::vector<std::int64_t>& sizes) {
    const Op& op = graph_.op(id);
    const OpGradient& gradient = training.gradients[index(id)];
    const DType dtype = computed_in(cluster_, recipe_, graph_, gradient, id);
    add(op, sizes, forward_kernel(recipe_, graph_, op, sizes, dtype));
    for (const GradientOp& kernel : gradient.kernels)
      add(op, sizes, gradient_kernel(recipe_, graph_, op, kernel, sizes, dtype));
  }
  const std::vector<Task>& tasks() const { return tasks_; }

 private:
  void add(const Op& op, const std::vector<std::int64_t>& sizes, std::optional<KernelShape> kernel) {
    if (!kernel) return;
    if (kernel->key.kind == MeasuredOperator::attention) tell_samples_from_heads(op, sizes, kernel->shape);
    const Task task = OperatorTask{kernel->key, kernel->shape, row_of(op, sizes)};
    if (seen_.insert(describe(task)).second) tasks_.push_back(task);
  }

  const Graph& graph_;
  const Cluster& cluster_;
  const Recipe& recipe_;
  std::set<std::string> seen_;
  std::vector<Task> tasks_;
};

void add_strategies(GraphTasks& tasks, const Graph& graph, const TrainingGraph& training,
                    const DimensionMeanings& meanings, const DeviceMesh& mesh, std::int64_t batch) {
  const StrategyContext context{
      graph, training, meanings, mesh, std::vector<AxisRole>(mesh.dimensions(), AxisRole::free), batch};
  for (std::uint32_t i = 0; i < graph.ops.size(); ++i)
    for (const Strategy& strategy : enumerate_strategies(context, OpId{i}))
      tasks.add(training, OpId{i}, strategy.local_sizes);
}

Task operator_task(MeasuredOperator kind, DType dtype, Direction direction, std::vector<std::int64_t> shape,
                   std::int64_t row = 0) {
  return OperatorTask{{.kind = kind, .dtype = dtype, .direction = direction}, std::move(shape), row};
}

// Sizes from `first` on, each so many times the one before, up to `last`.
std::vector<std::int64_t> sizes(std::int64_t first, std::int64_t last, std::int64_t step) {
  std::vector<std::int64_t> result;
  for (std::int64_t size = first; size <= last; size *= step) result.push_back(size);
  return result;
}

// What serves every graph: memory's speed and the optimizer's.
std::vector<Task> common_tasks(DType dtype, std::int64_t parameters, std::int64_t most_bytes) {
  std::vector<Task> tasks;
  for (const std::int64_t bytes : sizes(1 << 16, most_bytes, 4))
    tasks.push_back(operator_task(MeasuredOperator::copy, dtype, Direction::forward, {bytes}));
  for (const std::int64_t count : sizes(1 << 16, parameters - 1, 8))
    tasks.push_back(operator_task(MeasuredOperator::optimizer, dtype, Direction::forward, {count}));
  tasks.push_back(operator_task(MeasuredOperator::optimizer, dtype, Direction::forward, {parameters}));
  return tasks;
}

std::vector<Task> gemms(Sweep sweep, DType dtype) {
  std::vector<Task> tasks;
  const bool quick = sweep == Sweep::quick;
  const auto add = [&](OperandOrder order, std::vector<std::int64_t> shape) {
    tasks.push_back(
        OperatorTask{{.kind = MeasuredOperator::gemm, .dtype = dtype, .operands = order}, std::move(shape)});
  };
  for (const std::int64_t tokens : quick ? std::vector<std::int64_t>{1024} : sizes(512, 16'384, 2))
    for (const std::int64_t hidden : quick ? std::vector<std::int64_t>{512, 1024} : sizes(1024, 16'384, 2))
      for (const std::int64_t wide : {hidden / 8, hidden, 4 * hidden}) {
        add(OperandOrder::nn, {1, tokens, wide, hidden});
        add(OperandOrder::nt, {1, tokens, hidden, wide});
        add(OperandOrder::tn, {1, hidden, wide, tokens});
      }
  for (const std::int64_t positions : quick ? std::vector<std::int64_t>{256} : sizes(512, 8192, 4)) {
    add(OperandOrder::nt, {32, positions, positions, 64});
    add(OperandOrder::nn, {32, positions, 64, positions});
  }
  return tasks;
}

std::vector<Task> by_rows(Sweep sweep, DType dtype) {
  std::vector<Task> tasks;
  const double element = size_of(dtype).value();
  const auto both = [&](MeasuredOperator kind, double bytes, std::int64_t columns) {
    for (const Direction direction : {Direction::forward, Direction::backward})
      tasks.push_back(operator_task(kind, dtype, direction, {static_cast<std::int64_t>(bytes), columns}));
  };
  for (const std::int64_t rows : sweep == Sweep::quick ? sizes(1024, 1024, 2) : sizes(1024, 65'536, 4)) {
    const double count = static_cast<double>(rows);
    for (const std::int64_t width : sweep == Sweep::quick ? sizes(1024, 1024, 2) : sizes(1024, 16'384, 2)) {
      const double row = element * static_cast<double>(width);
      both(MeasuredOperator::layer_norm, 2 * row * count + 2 * row, width);
      both(MeasuredOperator::rms_norm, 2 * row * count + row, width);
      both(MeasuredOperator::softmax, 2 * row * count, width);
    }
    if (rows > 16'384) continue;
    for (const std::int64_t classes : sweep == Sweep::quick ? sizes(8192, 8192, 2) : sizes(32'768, 131'072, 2))
      both(MeasuredOperator::cross_entropy, count * (element * static_cast<double>(classes) + 4 + element), classes);
  }
  return tasks;
}

std::vector<Task> by_bytes(Sweep sweep, DType dtype) {
  std::vector<Task> tasks;
  for (const std::int64_t bytes : sweep == Sweep::quick ? sizes(1 << 22, 1 << 24, 4) : sizes(1 << 20, 1 << 30, 4)) {
    for (const MeasuredOperator kind : {MeasuredOperator::multiply, MeasuredOperator::gelu, MeasuredOperator::relu,
                                        MeasuredOperator::silu, MeasuredOperator::dropout})
      for (const Direction direction : {Direction::forward, Direction::backward})
        tasks.push_back(operator_task(kind, dtype, direction, {bytes}));
    for (const Direction direction : {Direction::forward, Direction::backward}) {
      tasks.push_back(operator_task(MeasuredOperator::rotary, dtype, direction, {bytes}, 128));
      tasks.push_back(operator_task(MeasuredOperator::gather, dtype, direction, {bytes}, 4096));
    }
    tasks.push_back(operator_task(MeasuredOperator::add, dtype, Direction::forward, {bytes}));
    tasks.push_back(operator_task(MeasuredOperator::scale, dtype, Direction::forward, {bytes}));
    tasks.push_back(operator_task(MeasuredOperator::transpose, dtype, Direction::forward, {bytes}, 1024));
  }
  return tasks;
}

std::vector<Task> attentions(Sweep sweep, DType dtype) {
  std::vector<Task> tasks;
  const bool quick = sweep == Sweep::quick;
  for (const std::int64_t positions : quick ? sizes(256, 256, 2) : sizes(512, 16'384, 2))
    for (const std::int64_t head_size : quick ? sizes(64, 64, 2) : sizes(64, 128, 2))
      for (const bool causal : {false, true})
        for (const Direction direction : {Direction::forward, Direction::backward}) {
          const std::int64_t samples = std::max<std::int64_t>(1, 4096 / positions);
          tasks.push_back(OperatorTask{
              {.kind = MeasuredOperator::attention, .dtype = dtype, .causal = causal, .direction = direction},
              {samples, quick ? 8 : 16, quick ? 8 : 16, positions, positions, head_size}});
        }
  return tasks;
}

}  // namespace

void add_tasks(std::vector<Task>& tasks, const std::vector<Task>& more) {
  std::set<std::string> seen;
  for (const Task& task : tasks) seen.insert(describe(task));
  for (const Task& task : more)
    if (seen.insert(describe(task)).second) tasks.push_back(task);
}

std::vector<Task> tasks_of_graph(const Graph& graph, const Cluster& cluster, const Recipe& recipe,
                                 const std::vector<std::int64_t>& microbatch_sizes) {
  const TrainingGraph training = differentiate(graph);
  const DimensionMeanings meanings = dimension_meanings(graph);
  GraphTasks of_ops(graph, group_at(cluster, 0), recipe);
  for (const std::int64_t batch : microbatch_sizes)
    for (std::uint32_t group = 0; group < group_count(cluster); ++group)
      for (const Submesh& submesh : submeshes(group_at(cluster, group), group))
        for (const DeviceMesh& mesh : logical_shapes(submesh, mesh_axes))
          add_strategies(of_ops, graph, training, meanings, mesh, batch);
  std::vector<Task> tasks = of_ops.tasks();
  double parameters = 0;
  for (const Tensor& tensor : graph.tensors)
    if (tensor.role == TensorRole::parameter && is_floating(tensor.dtype)) parameters += elements(tensor, 1);
  const DType dtype = graph.dtype == DType::bf16 || graph.dtype == DType::fp16 ? recipe.compute_dtype : graph.dtype;
  const auto count = std::max<std::int64_t>(1, static_cast<std::int64_t>(parameters));
  add_tasks(tasks, common_tasks(dtype, count, 1 << 28));
  return tasks;
}

std::vector<Task> tasks_of_sweep(Sweep sweep, const std::vector<DType>& dtypes) {
  std::vector<Task> tasks;
  for (const DType dtype : dtypes) {
    add_tasks(tasks, gemms(sweep, dtype));
    if (dtype == DType::fp8) continue;  // products alone are computed in it
    for (const auto part : {&attentions, &by_rows, &by_bytes}) add_tasks(tasks, part(sweep, dtype));
    const bool quick = sweep == Sweep::quick;
    add_tasks(tasks, common_tasks(dtype, quick ? 1 << 20 : 1 << 28, quick ? 1 << 24 : std::int64_t{1} << 30));
  }
  return tasks;
}

std::vector<Task> collective_tasks(Sweep sweep, std::int64_t hosts, std::int64_t devices_per_host) {
  std::vector<Task> tasks;
  for (std::int64_t h = 1; h <= hosts; ++h)
    for (std::int64_t d = 1; d <= devices_per_host; ++d)
      for (const MeasuredCollective kind :
           {MeasuredCollective::all_reduce, MeasuredCollective::all_gather, MeasuredCollective::reduce_scatter,
            MeasuredCollective::all_to_all, MeasuredCollective::send_receive}) {
        if (h * d < 2) continue;
        for (const std::int64_t bytes : sizes(1 << 10, std::int64_t{1} << 30, sweep == Sweep::quick ? 32 : 2))
          tasks.push_back(CollectiveTask{{kind, h, d}, bytes});
      }
  return tasks;
}

}  // namespace meshloom
