#include "graphs/op_order.hpp"

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/depth_first_search.hpp>

namespace meshloom {
namespace {

using Needs = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS>;

struct CycleFound {};

// Along edges from an op to what it needs, ops finish in a topological order; an edge to an op that is still open
// closes a cycle.
class OrderVisitor : public boost::default_dfs_visitor {
 public:
  OrderVisitor(OpOrder& result, std::vector<std::size_t>& open) : result_(result), open_(open) {}

  void discover_vertex(std::size_t op, const Needs&) { open_.push_back(op); }
  void finish_vertex(std::size_t op, const Needs&) {
    open_.pop_back();
    result_.order.push_back(op);
  }
  void back_edge(Needs::edge_descriptor edge, const Needs& needs) {
    result_.cycle.assign(std::find(open_.begin(), open_.end(), target(edge, needs)), open_.end());
    throw CycleFound();
  }

 private:
  OpOrder& result_;
  std::vector<std::size_t>& open_;
};

}  // namespace

OpOrder topological_order(const std::vector<std::vector<std::size_t>>& needs) {
  Needs graph(needs.size());
  for (std::size_t op = 0; op < needs.size(); ++op)
    for (const std::size_t needed : needs[op]) boost::add_edge(op, needed, graph);
  OpOrder result;
  std::vector<std::size_t> open;
  try {
    boost::depth_first_search(graph, boost::visitor(OrderVisitor(result, open)));
  } catch (const CycleFound&) {
    result.order.clear();
  }
  return result;
}

}  // namespace meshloom
