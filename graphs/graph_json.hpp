// Graph files (`meshloom.graph/1`, docs/graph_format.md): reading with every check, and writing.
#pragma once

#include <string>

#include "graphs/graph.hpp"

namespace meshloom {

// Reads and checks. Refuses, with the place and a remedy: unknown keys, tensors, dims or kinds; a rule that does not
// fit its operands' shapes; factor sizes that contradict each other or cannot be known; a tensor made twice or never;
// a cycle (named); a bare reduction on a kind that is not multilinear; a layer tag that returns after another one.
// Ops are brought into a topological order that keeps the file's order where it can.
Graph read_graph(const std::string& path);
Graph parse_graph(const std::string& text, const std::string& file);

// The file's text, symbolic as it was read; read(write(g)) == g. One op a line.
std::string write_graph(const Graph& graph);

}  // namespace meshloom
