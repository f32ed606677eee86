// Pins against a graph: what each op and tensor must look like on whatever mesh its stage has.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "costmodel/device_mesh.hpp"
#include "costmodel/layout.hpp"
#include "graphs/graph.hpp"
#include "planner/plan/pins.hpp"

namespace meshloom {

struct Strategy;

class PinnedGraph {
 public:
  PinnedGraph() = default;  // nothing is pinned
  // Throws InputError naming the pin: no op or tensor of that name, an unknown factor (both with suggestions), parts
  // that no mesh can give (a factor that must stay whole, a size that does not divide), two pins that contradict each
  // other. The graph must outlive it.
  PinnedGraph(const Graph& graph, const Pins& pins);

  bool empty() const { return ops_.empty() && tensors_.empty(); }
  bool allows(OpId op, const Strategy& strategy, const DeviceMesh& mesh) const;
  // A tensor's layout is that of its own node; without one, that in which its reader uses it, and of a result that
  // nothing reads, that in which it is left.
  bool allows(TensorId tensor, const Layout& layout, const DeviceMesh& mesh) const;

  // Everything that pins ask of it, as text: "" where nothing is. Equal texts: equal demands.
  std::string demands(OpId op) const;
  std::string demands(TensorId tensor) const;

  std::vector<OpId> pinned_ops() const;
  // "pins.json: /pins/0 (op h*.mlp.up: f in 4 parts)": the pins that an op or, with it, its operands and results have.
  std::string place(OpId op) const;

 private:
  struct Demand {
    std::size_t pin = 0;  // for complaints
    std::string what;     // factor, dimension or mesh axis
    PinnedDegree parts;   // of a factor or dimension
    std::string value;    // of a mesh axis
    bool of_axis = false;
  };
  using Demands = std::vector<Demand>;

  void pin_ops(std::size_t pin);
  void pin_tensors(std::size_t pin);
  void demand_factors(std::size_t pin, OpId op);
  void demand_dimensions(std::size_t pin, TensorId tensor);
  void add(Demands& demands, Demand demand, const std::string& subject) const;
  [[noreturn]] void fail(std::size_t pin, const std::string& message) const;
  std::string place_of(std::size_t pin) const;
  static std::string text(const Demands& demands);

  const Graph* graph_ = nullptr;
  Pins pins_;
  std::map<OpId, Demands> ops_;
  std::map<TensorId, Demands> tensors_;
};

// Whether a pattern with "*" for any characters fits a whole word.
bool fits_pattern(std::string_view pattern, std::string_view word);

}  // namespace meshloom
