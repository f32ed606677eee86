// A graph as it is written: names instead of ids, sizes as text, tensors between ops undeclared. Files are read into a
// draft and builders fill one; `check_graph` is the only way from a draft to a Graph.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "graphs/graph.hpp"

namespace meshloom {

struct TensorDraft {
  std::string id;
  std::vector<std::string> shape;  // "b", "n*d", "1024"
  DType dtype = DType::bf16;
  TensorRole role = TensorRole::input;
  bool stop_gradient = false;
};

struct OpDraft {
  std::string id;
  OpKind kind = OpKind::custom;
  std::string layer;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::string rule;
  std::vector<std::pair<std::string, std::string>> sizes;  // factor -> size as text
  bool causal = false;
  std::int64_t window = 0;
  double flops_per_element = 0;
  double bytes_per_element = 0;
  double backward_cost = 1;
};

struct GraphDraft {
  std::string file;  // begins the place of every error
  std::string name;
  std::string batch_dim;
  std::vector<std::pair<std::string, std::int64_t>> dims;
  DType dtype = DType::bf16;
  std::int64_t padded_vocabulary = 0;
  std::vector<TensorDraft> tensors;
  std::vector<OpDraft> ops;
};

// Resolves names, orders the ops, infers the shapes of undeclared tensors. Throws InputError for everything that
// graph_json.hpp lists.
Graph check_graph(const GraphDraft& draft);

}  // namespace meshloom
