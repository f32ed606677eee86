#include "planner/stage_fronts.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "graphs/input_error.hpp"
#include "planner/mesh_pricer.hpp"

namespace meshloom {
namespace {

// Steps of range_fronts on one mesh: some tenths of a second.
constexpr std::size_t most_work = 3'000'000, most_work_if_asked = 50'000'000;
// Beyond these the fronts are not worth trying.
constexpr std::size_t most_layers = 8, most_ops_of_layer = 4;

struct OutOfWork {};

void spend(std::size_t& work, std::size_t steps) {
  if (steps > work) throw OutOfWork{};
  work -= steps;
}

// Keeps the undominated, in order; of equal ones the first.
template <typename Point>
void keep_undominated(std::vector<Point>& points, std::size_t& work) {
  std::vector<Point> kept;
  for (Point& point : points) {
    spend(work, kept.size());
    if (std::any_of(kept.begin(), kept.end(), [&](const Point& other) { return dominates(other.cost, point.cost); }))
      continue;
    std::erase_if(kept, [&](const Point& other) { return dominates(point.cost, other.cost); });
    kept.push_back(std::move(point));
  }
  points = std::move(kept);
}

// A layer with states as choices, and for each assignment of its interface variables the undominated interiors.
class FrontLayer {
 public:
  struct Interior {
    Cost cost;
    std::vector<std::uint32_t> choices;  // of all nodes
  };

  FrontLayer(const LayerModel& model, const ModelContext& context, const RangeSettings& settings, std::size_t& work)
      : expanded_(states_as_choices(model, settings.states)) {
    for (std::size_t n = model.interior; n < model.nodes.size(); ++n)
      borders_.push_back(border_costs(context, model.nodes[n]));
    const LayerModel& nodes = expanded_.model;
    double combinations = 1;
    for (const ModelNode& node : nodes.nodes) combinations *= static_cast<double>(node.choices.size());
    if (combinations > static_cast<double>(work)) throw OutOfWork{};
    std::vector<std::uint32_t> choices(nodes.nodes.size(), 0);
    do {
      spend(work, 1);
      const Cost cost = cost_of_choices(nodes, settings, choices);
      if (cost.forward < impossible && cost.backward < impossible)
        interiors_[assignment_of(choices)].push_back({cost, choices});
    } while (advance(choices));
    for (auto& [assignment, interiors] : interiors_) keep_undominated(interiors, work);
  }

  // By assignment of the interface variables, ascending.
  const std::map<std::vector<std::uint32_t>, std::vector<Interior>>& interiors() const { return interiors_; }
  const ModelNode& variable(std::size_t v) const { return expanded_.model.nodes[expanded_.model.interior + v]; }
  const Cost& arrival(std::size_t v, std::uint32_t choice) const { return borders_[v].arrival[original(v, choice)]; }
  const Cost& departure(std::size_t v, std::uint32_t choice) const {
    return borders_[v].departure[original(v, choice)];
  }

  std::vector<StateChoices::Origin> origins(const std::vector<std::uint32_t>& choices) const {
    std::vector<StateChoices::Origin> result;
    for (std::size_t n = 0; n < choices.size(); ++n) result.push_back(expanded_.origins[n][choices[n]]);
    return result;
  }

 private:
  std::uint32_t original(std::size_t v, std::uint32_t choice) const {
    return expanded_.origins[expanded_.model.interior + v][choice].choice;
  }

  std::vector<std::uint32_t> assignment_of(const std::vector<std::uint32_t>& choices) const {
    return {choices.begin() + static_cast<std::ptrdiff_t>(expanded_.model.interior), choices.end()};
  }

  bool advance(std::vector<std::uint32_t>& choices) const {
    for (std::size_t n = choices.size(); n-- > 0;) {
      if (++choices[n] < expanded_.model.nodes[n].choices.size()) return true;
      choices[n] = 0;
    }
    return false;
  }

  StateChoices expanded_;
  std::vector<BorderCosts> borders_;  // by interface variable
  std::map<std::vector<std::uint32_t>, std::vector<Interior>> interiors_;
};

class FrontJoin {
 public:
  FrontJoin(const SearchSpace& space, MeshSolver& solver, Recompute recompute, std::size_t& work)
      : space_(space),
        settings_{ParameterStates(space.states), recompute, {}},
        work_(work),
        fronts_(space.classes.classes.size()),
        known_(space.classes.classes.size(), false) {
    for (std::size_t l = 0; l < space.layers.layers.size(); ++l)
      layers_.try_emplace(space.layers.layers[l].key, solver.ranges().model(l), solver.context(), settings_, work);
  }

  std::vector<RangeFront> run() {
    for (std::size_t first = 0; first < space_.layers.layers.size(); ++first) join_from(first);
    return std::move(fronts_);
  }

 private:
  using Assignment = std::map<TensorId, std::uint32_t>;  // of the open variables: those that later layers use
  struct Label {
    Cost cost;
    std::size_t step;  // position in steps_
  };
  struct Step {  // how a label came to be
    std::size_t previous;
    const FrontLayer* layer;
    const std::vector<std::uint32_t>* choices;
  };
  using States = std::map<Assignment, std::vector<Label>>;
  struct Open {  // where a variable was first seen
    const FrontLayer* layer;
    std::size_t position;
    bool made_here;  // an activation of this range
  };
  // What a layer decides about one of its variables.
  struct Role {
    bool fresh, charged, arrives, stays;
  };

  void join_from(std::size_t first) {
    steps_ = {{0, nullptr, nullptr}};
    open_.clear();
    charged_.clear();
    States states;
    states[{}].push_back({{}, 0});
    for (std::size_t l = first; l < space_.layers.layers.size(); ++l) {
      states = joined(states, l);
      const std::size_t c = space_.classes.of[first][l - first];
      if (!known_[c]) fronts_[c] = ended(states);
      known_[c] = true;
    }
  }

  // A parameter costs where it first appears, an activation where it is first saved or arrives from another stage.
  Role role_of(const InterfaceVariable& variable, std::size_t l) const {
    const bool fresh = !open_.contains(variable.tensor);
    const bool saved = variable.saved[static_cast<std::size_t>(settings_.recompute)];
    return {fresh, variable.parameter ? fresh : saved && !charged_.contains(variable.tensor),
            fresh && variable.incoming, variable.last_layer > l};
  }

  States joined(const States& before, std::size_t l) {
    const PlanningLayer& layer = space_.layers.layers[l];
    const FrontLayer& behind = layers_.at(layer.key);
    std::vector<Role> roles;
    for (const InterfaceVariable& variable : layer.variables) roles.push_back(role_of(variable, l));
    States after;
    for (const auto& [choices, interiors] : behind.interiors()) {
      Cost charged;
      for (std::size_t v = 0; v < roles.size(); ++v) {
        if (roles[v].charged)
          charged = add_layers(charged, cost_of_variable(behind.variable(v), choices[v], settings_));
        if (roles[v].arrives) charged = add_layers(charged, behind.arrival(v, choices[v]));
      }
      if (!(charged.forward < impossible)) continue;
      for (const auto& [assignment, labels] : before)
        if (const auto next = extended(assignment, layer, roles, choices))
          extend(labels, behind, interiors, charged, after[*next]);
    }
    for (auto& [assignment, labels] : after) keep_undominated(labels, work_);
    for (std::size_t v = 0; v < roles.size(); ++v) {
      const InterfaceVariable& variable = layer.variables[v];
      open_.try_emplace(variable.tensor, Open{&behind, v, !variable.parameter && !variable.incoming});
      if (roles[v].charged) charged_.insert(variable.tensor);
      if (!roles[v].stays) open_.erase(variable.tensor);
    }
    return after;
  }

  // None where the layer's choices differ from those made before.
  std::optional<Assignment> extended(Assignment assignment, const PlanningLayer& layer, const std::vector<Role>& roles,
                                     const std::vector<std::uint32_t>& choices) const {
    for (std::size_t v = 0; v < roles.size(); ++v) {
      const TensorId tensor = layer.variables[v].tensor;
      if (assignment.try_emplace(tensor, choices[v]).first->second != choices[v]) return std::nullopt;
      if (!roles[v].stays) assignment.erase(tensor);
    }
    return assignment;
  }

  void extend(const std::vector<Label>& labels, const FrontLayer& behind,
              const std::vector<FrontLayer::Interior>& interiors, const Cost& charged, std::vector<Label>& into) {
    spend(work_, labels.size() * interiors.size());
    for (const Label& label : labels)
      for (const FrontLayer::Interior& interior : interiors) {
        into.push_back({add_layers(label.cost, add_layers(interior.cost, charged)), steps_.size()});
        steps_.push_back({label.step, &behind, &interior.choices});
      }
  }

  // What is still open leaves the stage.
  RangeFront ended(const States& states) {
    std::vector<Label> ends;
    for (const auto& [assignment, labels] : states) {
      Cost leaving;
      for (const auto& [tensor, choice] : assignment) {
        const Open& open = open_.at(tensor);
        if (open.made_here) leaving = add_layers(leaving, open.layer->departure(open.position, choice));
      }
      if (!(leaving.forward < impossible) || !(leaving.backward < impossible)) continue;
      for (const Label& label : labels) ends.push_back({add_layers(label.cost, leaving), label.step});
    }
    keep_undominated(ends, work_);
    RangeFront front;
    for (const Label& end : ends) front.push_back({end.cost, choices_of(end.step)});
    return front;
  }

  RangeOrigins choices_of(std::size_t step) const {
    RangeOrigins result;
    for (; steps_[step].layer != nullptr; step = steps_[step].previous)
      result.push_back(steps_[step].layer->origins(*steps_[step].choices));
    std::reverse(result.begin(), result.end());
    return result;
  }

  const SearchSpace& space_;
  RangeSettings settings_;
  std::size_t& work_;
  std::vector<RangeFront> fronts_;  // by class
  std::vector<bool> known_;
  std::map<std::uint32_t, FrontLayer> layers_;  // by key
  // Of the ranges that begin at one layer:
  std::deque<Step> steps_;
  std::map<TensorId, Open> open_;
  std::set<TensorId> charged_;
};

}  // namespace

bool dominates(const Cost& a, const Cost& b) {
  return a.forward <= b.forward && a.per_microbatch() <= b.per_microbatch() && a.per_step() <= b.per_step() &&
         a.fixed + a.gathered <= b.fixed + b.gathered && a.activations <= b.activations &&
         a.recomputed <= b.recomputed && a.working <= b.working && a.shared_gradients <= b.shared_gradients;
}

std::optional<std::vector<RangeFront>> range_fronts(const SearchSpace& space, MeshSolver& solver, Recompute recompute,
                                                    std::size_t& work) {
  try {
    return FrontJoin(space, solver, recompute, work).run();
  } catch (const OutOfWork&) {
    return std::nullopt;
  }
}

namespace {

bool is_small(const SearchSpace& space) {
  const std::vector<PlanningLayer>& layers = space.layers.layers;
  return layers.size() <= most_layers && std::all_of(layers.begin(), layers.end(), [](const PlanningLayer& layer) {
           return layer.ops.size() <= most_ops_of_layer;
         });
}

using FrontsOfMesh = std::vector<std::vector<RangeFront>>;  // by position in the space's recomputes

std::optional<FrontsOfMesh> fronts_of_mesh(const SearchSpace& space, std::uint32_t mesh, std::int64_t microbatch_size) {
  MeshSolver solver(space, space.meshes[mesh], std::vector<AxisRole>(space.meshes[mesh].dimensions(), AxisRole::free),
                    microbatch_size);
  std::size_t work = space.options.thinning == Thinning::never ? most_work_if_asked : most_work;
  FrontsOfMesh result;
  for (const Recompute recompute : space.recomputes) {
    auto fronts = range_fronts(space, solver, recompute, work);
    if (!fronts) return std::nullopt;
    result.push_back(std::move(*fronts));
  }
  return result;
}

class ExactCosts {
 public:
  ExactCosts(const SearchSpace& space, std::int64_t microbatches)
      : space_(space), microbatches_(microbatches), result_(nothing_known(space)) {
    result_.exact = true;
  }

  void add(std::uint32_t mesh, FrontsOfMesh fronts) {
    for (std::size_t r = 0; r < fronts.size(); ++r) {
      const RangeSettings settings{
          ParameterStates(space_.states), space_.recomputes[r], {static_cast<double>(microbatches_), 1, 0, 0}};
      for (std::size_t c = 1; c < fronts[r].size(); ++c)
        for (FrontPoint& point : fronts[r][c]) add(mesh, c, settings, std::move(point));
    }
  }

  StageCosts take() { return std::move(result_); }

 private:
  void add(std::uint32_t mesh, std::size_t c, const RangeSettings& settings, FrontPoint point) {
    const std::uint32_t submesh = space_.submesh_of[mesh];
    const auto& [parent, first, last] = space_.classes.classes[c];
    const Cost cost = waiting_cost(space_, point.cost, first, last, settings.recompute);
    keep_lean(result_.lean[c][submesh], {cost, mesh});
    const auto most = static_cast<std::int64_t>(space_.layers.layers.size());
    const Bytes usable = usable_memory(space_, space_.submeshes[submesh].group);
    const auto following = following_stages(cost, usable, space_.options.schedule.value_or(ScheduleKind::one_f_one_b),
                                            microbatches_, most);
    if (!following) return;
    result_.may_fit[c][submesh] = true;
    LeastTimes& times = result_.least_times[c][submesh];
    for (std::size_t depth = 0; depth < times.size(); ++depth)
      if (*following + 1 >= bounded_depths[depth] || *following == most)
        times[depth] = std::min(times[depth], cost.per_microbatch());
    if (c == space_.classes.of[0].back() && is_whole_group(space_, space_.submeshes[submesh]))
      result_.least_single_stage = std::min(result_.least_single_stage, Seconds(weighted(cost, settings.weights)));
    result_.candidates[c][submesh].push_back({cost, mesh, settings, *following, std::move(point.choices)});
  }

  const SearchSpace& space_;
  std::int64_t microbatches_;
  StageCosts result_;
};

}  // namespace

std::optional<StageCosts> exact_stage_costs(const SearchSpace& space, std::int64_t microbatch_size,
                                            std::int64_t microbatches) {
  if (space.options.thinning == Thinning::always) return std::nullopt;
  const bool asked = space.options.thinning == Thinning::never;
  if (!asked && !is_small(space)) return std::nullopt;
  ExactCosts costs(space, microbatches);
  for (std::uint32_t mesh = 0; mesh < space.meshes.size(); ++mesh) {
    std::optional<FrontsOfMesh> fronts = fronts_of_mesh(space, mesh, microbatch_size);
    if (!fronts && asked)
      throw InputError("--thinning never", "the sets of useful shardings are too large to be kept whole; leave it out");
    if (!fronts) return std::nullopt;
    costs.add(mesh, std::move(*fronts));
  }
  return costs.take();
}

}  // namespace meshloom
