// One op on a device whose costs are easy to add up.
#pragma once

#include <string>
#include <vector>

#include "costmodel/op_costs.hpp"

namespace meshloom {

// 100 FLOP/s in 16 bits, 10 B/s, every efficiency 1, no curve, no launch floor.
Cluster toy_device();

// An op whose factors are single letters: operands({"mk", "kn"}) are the matrices of a product.
struct OneOp {
  Graph graph;
  OpGradient gradient;
  std::vector<std::int64_t> sizes;

  OneOp(OpKind kind, const std::vector<std::string>& inputs, const std::string& output,
        const std::vector<std::int64_t>& factor_sizes);

  Op& op() { return graph.ops[0]; }
  DType& dtype(std::size_t tensor) { return graph.tensors[tensor].dtype; }
  OneOp& differentiate(std::size_t input);
  OneOp& joint_kernel(double cost_of_forward);
  OpTime time(const Cluster& cluster, const Recipe& recipe = {}) const;

 private:
  TensorId add(std::vector<RuleOperand>& operands, std::vector<RuleFactor>& factors, const std::string& letters);
};

}  // namespace meshloom
