// What is to be measured, in the order in which it is: each task once.
#pragma once

#include <cstdint>
#include <vector>

#include "costmodel/cluster.hpp"
#include "costmodel/profiler/task.hpp"
#include "costmodel/recipe.hpp"
#include "graphs/graph.hpp"

namespace meshloom {

// Adds tasks that are not there yet: two tasks of one text would have one place in a profile.
void add_tasks(std::vector<Task>& tasks, const std::vector<Task>& more);

// Every kernel of the graph, forward and backward, at every local shape that a strategy of the search gives it on some
// submesh of the cluster: one device, 2, 4, … of a host, whole hosts. Ops that a profile has no kind for are left out.
// Then the optimizer for up to all parameters, and copies.
std::vector<Task> tasks_of_graph(const Graph& graph, const Cluster& cluster, const Recipe& recipe,
                                 const std::vector<std::int64_t>& microbatch_sizes);

enum class Sweep { quick, standard };
// Shapes of transformers of all sizes: products, elementwise kinds, norms, softmax, cross-entropy, attention, copies,
// the optimizer, in each of the dtypes.
std::vector<Task> tasks_of_sweep(Sweep sweep, const std::vector<DType>& dtypes);

// Every collective over every group of equal numbers of devices on 1, 2, … hosts; bytes are powers of two.
std::vector<Task> collective_tasks(Sweep sweep, std::int64_t hosts, std::int64_t devices_per_host);

}  // namespace meshloom
