// Small random models and clusters on which all plans can be enumerated.
#pragma once

#include <random>

#include "planner/search.hpp"

namespace meshloom {

std::size_t draw(std::mt19937& random, std::size_t least, std::size_t most);

enum class Tying { none, some };

// A chain of products, some with an activation function, some with the layer's input added to its result. Tied: a layer
// may use the weights of an earlier one.
Graph random_chain(std::mt19937& random, std::size_t layers, Tying tying);

// Slow enough that computing, sending and latency all count: some hundred bytes and FLOPs in microseconds.
PlanningInput random_input(std::mt19937& random, std::size_t layers, Tying tying = Tying::none);

// Layers x·W, the result's softmax over its square, times it: a core of attention in each, which selective recompute
// repeats. Nothing is done once per step: then the search is exact.
PlanningInput random_attention(std::mt19937& random, std::size_t layers);

}  // namespace meshloom
