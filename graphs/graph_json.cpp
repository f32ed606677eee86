#include "graphs/graph_json.hpp"

#include <fmt/format.h>

#include <array>

#include "graphs/factor_sizes.hpp"
#include "graphs/graph_draft.hpp"
#include "graphs/json_input.hpp"

namespace meshloom {
namespace {

constexpr std::string_view graph_schema = "meshloom.graph/1";
constexpr std::array dtypes{DType::bf16,  DType::fp16,  DType::fp32, DType::fp8,    DType::fp4,
                            DType::int32, DType::int64, DType::int8, DType::boolean};
const std::vector<std::string> role_names{"input", "parameter", "intermediate"};  // in the order of TensorRole

std::string non_empty(const JsonInput& value) {
  const std::string text = value.string();
  if (text.empty()) value.fail("must not be empty");
  return text;
}

DType read_dtype(const JsonInput& object, DType otherwise) {
  const std::optional<JsonInput> value = object.find("dtype");
  if (!value) return otherwise;
  std::vector<std::string> names;
  for (const DType dtype : dtypes) names.emplace_back(name(dtype));
  return dtypes[value->one_of(names)];
}

// A dimension: text, or a number, which is text too once it is checked.
std::string read_size(const JsonInput& value) {
  if (!value.is_number()) return non_empty(value);
  return std::to_string(value.integer(1));
}

bool read_flag(const JsonInput& object, const std::string& key) {
  const std::optional<JsonInput> value = object.find(key);
  return value && value->boolean();
}

TensorDraft read_tensor(const JsonInput& object, DType graph_dtype) {
  object.only_keys({"id", "shape", "dtype", "role", "stop_gradient"});
  TensorDraft tensor;
  tensor.id = non_empty(object.at("id"));
  for (const JsonInput& dimension : object.at("shape").elements()) tensor.shape.push_back(read_size(dimension));
  tensor.dtype = read_dtype(object, graph_dtype);
  if (const auto role = object.find("role")) tensor.role = static_cast<TensorRole>(role->one_of(role_names));
  tensor.stop_gradient = read_flag(object, "stop_gradient");
  return tensor;
}

OpKind read_kind(const JsonInput& value) { return static_cast<OpKind>(value.one_of(op_kind_names())); }

void refuse_foreign_keys(const JsonInput& object, OpKind kind) {
  for (const char* key : {"causal", "window"})
    if (const auto value = object.find(key); value && kind != OpKind::attention)
      value->fail(fmt::format("is a property of attention, not of {}; remove it", traits(kind).name));
  for (const char* key : {"flops_per_element", "bytes_per_element", "backward_cost"})
    if (const auto value = object.find(key); value && kind != OpKind::custom)
      value->fail(
          fmt::format("only a custom op states its cost; a {} is priced by its rule, remove it", traits(kind).name));
}

double read_cost(const JsonInput& object, const std::string& key, double otherwise) {
  const std::optional<JsonInput> value = object.find(key);
  return value ? value->number(0) : otherwise;
}

OpDraft read_op(const JsonInput& object) {
  object.only_keys({"id", "kind", "layer", "inputs", "outputs", "rule", "sizes", "causal", "window",
                    "flops_per_element", "bytes_per_element", "backward_cost"});
  OpDraft op;
  op.id = non_empty(object.at("id"));
  op.kind = read_kind(object.at("kind"));
  refuse_foreign_keys(object, op.kind);
  if (const auto layer = object.find("layer")) op.layer = layer->string();
  op.inputs = object.at("inputs").strings();
  op.outputs = object.at("outputs").strings();
  op.rule = object.at("rule").string();
  if (const auto sizes = object.find("sizes"))
    for (const auto& [factor, size] : sizes->members()) op.sizes.emplace_back(factor, read_size(size));
  op.causal = read_flag(object, "causal");
  if (const auto window = object.find("window")) op.window = window->integer(1);
  op.flops_per_element = read_cost(object, "flops_per_element", op.flops_per_element);
  op.bytes_per_element = read_cost(object, "bytes_per_element", op.bytes_per_element);
  op.backward_cost = read_cost(object, "backward_cost", op.backward_cost);
  return op;
}

Graph read_root(const JsonInput& root) {
  expect_schema(root, graph_schema);
  root.only_keys({"schema", "name", "batch_dim", "dtype", "padded_vocabulary", "dims", "tensors", "ops"});
  GraphDraft draft;
  draft.file = root.file();
  draft.name = non_empty(root.at("name"));
  draft.batch_dim = non_empty(root.at("batch_dim"));
  draft.dtype = read_dtype(root, DType::bf16);
  if (const auto padded = root.find("padded_vocabulary")) draft.padded_vocabulary = padded->integer(0);
  for (const auto& [dim, size] : root.at("dims").members()) draft.dims.emplace_back(dim, size.integer(1));
  for (const JsonInput& tensor : root.at("tensors").elements())
    draft.tensors.push_back(read_tensor(tensor, draft.dtype));
  for (const JsonInput& op : root.at("ops").elements()) draft.ops.push_back(read_op(op));
  if (draft.ops.empty()) root.at("ops").fail("a graph has at least one op");
  return check_graph(draft);
}

// JSON on one line with the spaces that people write.
std::string one_line(const Json& value) {
  if (!value.is_structured()) return value.dump();
  std::string inner;
  for (const auto& [key, item] : value.items()) {
    if (!inner.empty()) inner += ", ";
    if (value.is_object()) inner += Json(key).dump() + ": ";
    inner += one_line(item);
  }
  return value.is_object() ? "{" + inner + "}" : "[" + inner + "]";
}

// A number stands as a number, anything else as text.
Json size_to_json(const std::string& text) {
  if (text.find_first_not_of("0123456789") != std::string::npos) return text;
  return std::stoll(text);
}

Json tensor_to_json(const Tensor& tensor, DType graph_dtype) {
  Json result{{"id", tensor.id}, {"shape", Json::array()}};
  for (const std::string& dimension : tensor.shape_text) result["shape"].push_back(size_to_json(dimension));
  if (tensor.dtype != graph_dtype) result["dtype"] = name(tensor.dtype);
  result["role"] = role_names[static_cast<std::size_t>(tensor.role)];
  if (tensor.stop_gradient) result["stop_gradient"] = true;
  return result;
}

Json tensor_names(const Graph& graph, const std::vector<TensorId>& tensors) {
  Json result = Json::array();
  for (const TensorId id : tensors) result.push_back(graph.tensor(id).id);
  return result;
}

void add_known_dimensions(const Tensor& tensor, const RuleOperand& operand, std::vector<BoundDimension>& dimensions) {
  for (std::size_t d = 0; d < operand.size(); ++d) dimensions.push_back({operand[d], tensor.shape[d], "", ""});
}

// The sizes that a reader could not find again from the inputs, the declared outputs and the graph's dims.
Json sizes_to_json(const Graph& graph, const Op& op) {
  const DimensionNames names{graph.batch_dim, graph.dims};
  std::vector<BoundDimension> known;
  for (std::size_t i = 0; i < op.inputs.size(); ++i)
    add_known_dimensions(graph.tensor(op.inputs[i]), op.rule.inputs[i], known);
  for (std::size_t o = 0; o < op.outputs.size(); ++o)
    if (graph.tensor(op.outputs[o]).declared)
      add_known_dimensions(graph.tensor(op.outputs[o]), op.rule.outputs[o], known);
  Json result = Json::object();
  for (const FactorSize& size : sizes_to_give(op.rule, known, op.factor_sizes, names))
    result[size.factor] = size_to_json(print_extent(size.extent, graph.batch_dim));
  return result;
}

Json op_to_json(const Graph& graph, const Op& op) {
  Json result{{"id", op.id}, {"kind", traits(op.kind).name}};
  if (!op.layer.empty()) result["layer"] = op.layer;
  result["inputs"] = tensor_names(graph, op.inputs);
  result["outputs"] = tensor_names(graph, op.outputs);
  result["rule"] = print_rule(op.rule);
  if (const Json sizes = sizes_to_json(graph, op); !sizes.empty()) result["sizes"] = sizes;
  if (op.causal) result["causal"] = true;
  if (op.window > 0) result["window"] = op.window;
  if (op.kind == OpKind::custom) {
    result["flops_per_element"] = op.custom_flops_per_element;
    result["bytes_per_element"] = op.custom_bytes_per_element;
    result["backward_cost"] = op.custom_backward_cost;
  }
  return result;
}

std::string lines(const std::vector<std::string>& items) {
  std::string result;
  for (const std::string& item : items) result += (result.empty() ? "\n    " : ",\n    ") + item;
  return "[" + result + (items.empty() ? "]" : "\n  ]");
}

}  // namespace

Graph read_graph(const std::string& path) { return read_root(read_json_file(path)); }
Graph parse_graph(const std::string& text, const std::string& file) { return read_root(parse_json(text, file)); }

std::string write_graph(const Graph& graph) {
  Json dims = Json::object();
  for (const auto& [dim, size] : graph.dims) dims[dim] = size;
  std::vector<std::string> tensors;
  for (const Tensor& tensor : graph.tensors)
    if (tensor.declared) tensors.push_back(one_line(tensor_to_json(tensor, graph.dtype)));
  std::vector<std::string> ops;
  for (const Op& op : graph.ops) ops.push_back(one_line(op_to_json(graph, op)));
  std::string text =
      fmt::format("{{\n  \"schema\": \"{}\",\n  \"name\": {},\n  \"batch_dim\": {},\n  \"dtype\": \"{}\",\n",
                  graph_schema, Json(graph.name).dump(), Json(graph.batch_dim).dump(), name(graph.dtype));
  if (graph.padded_vocabulary > 0) text += fmt::format("  \"padded_vocabulary\": {},\n", graph.padded_vocabulary);
  return text + fmt::format("  \"dims\": {},\n  \"tensors\": {},\n  \"ops\": {}\n}}\n", one_line(dims), lines(tensors),
                            lines(ops));
}

}  // namespace meshloom
