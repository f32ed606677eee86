#include "planner/transfers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

class Boundaries {
 public:
  Boundaries(Plan& plan, const Cluster& cluster, const std::function<SentTensor(const std::string&)>& describe)
      : plan_(plan), shape_(plan.shape()), cluster_(cluster), links_(cluster), describe_(describe) {}

  void set() {
    find_holders();
    for (std::size_t s = 0; s < plan_.stages.size(); ++s) {
      StageBoundary& boundary = plan_.stages[s].boundary;
      boundary.activations.clear();
      boundary.gradients.clear();
      if (shape_.sends_after(static_cast<std::int64_t>(s))) {
        boundary.activations = activations_after(s);
        boundary.gradients = gradients_before(s + 1);
      }
      boundary.forward_time = transfer_time(links_, boundary.activations);
      boundary.backward_time = transfer_time(links_, boundary.gradients);
    }
  }

 private:
  struct Holder {
    std::size_t stage;
    const Layout* layout;
  };

  bool on_one_rank(std::size_t a, std::size_t b) const {
    return shape_.rank_of(static_cast<std::int64_t>(a)) == shape_.rank_of(static_cast<std::int64_t>(b));
  }

  // Chunks that follow each other on one rank send nothing to each other: what is made in one of them and used beyond
  // them leaves with what the last of them sends, and its gradient with what the first of them sends back.
  std::size_t leaves_after(std::size_t s) const {
    while (s + 1 < plan_.stages.size() && on_one_rank(s, s + 1)) ++s;
    return s;
  }
  std::size_t returns_before(std::size_t s) const {
    while (s > 0 && on_one_rank(s, s - 1)) --s;
    return s;
  }

  // By tensor at some cut: the stages that list it, in order.
  void find_holders() {
    for (const Stage& stage : plan_.stages)
      for (const std::string& tensor : stage.boundary.tensors) holders_[tensor];
    for (std::size_t s = 0; s < plan_.stages.size(); ++s) {
      require_devices(s);
      for (const TensorLayout& tensor : plan_.stages[s].tensors)
        if (const auto found = holders_.find(tensor.tensor); found != holders_.end())
          found->second.push_back({s, &tensor.layout});
    }
  }

  void require_devices(std::size_t s) const {
    for (const std::int64_t device : plan_.stages[s].devices)
      if (device >= cluster_.devices())
        throw InputError(
            fmt::format("/stages/{}/devices", s),
            fmt::format("device {} is outside the cluster, whose devices are 0 to {}", device, cluster_.devices() - 1));
  }

  const std::vector<Holder>& holders(std::size_t boundary, const std::string& tensor) const {
    const std::vector<Holder>& found = holders_.at(tensor);
    if (found.empty())
      throw InputError(fmt::format("/stages/{}/boundary/tensors", boundary),
                       fmt::format("no stage lists the layout of \"{}\"", tensor));
    return found;
  }

  PlacedLayout placed(const Holder& holder) const {
    const Stage& stage = plan_.stages[holder.stage];
    return {{stage.submesh, stage.mesh}, stage.devices, *holder.layout};
  }

  // Tensors that go to several stages stand once for each; afterwards positions are the boundary's again.
  std::vector<Transfer> resharded(const std::vector<Resharding>& tensors,
                                  const std::vector<std::uint32_t>& positions) const {
    std::vector<Transfer> transfers = reshard(links_, tensors);
    for (Transfer& each : transfers) each.tensor = positions[each.tensor];
    return transfers;
  }

  std::vector<Transfer> activations_after(std::size_t s) const {
    const std::vector<std::string>& names = plan_.stages[s].boundary.tensors;
    std::vector<Resharding> tensors;
    std::vector<std::uint32_t> positions;
    for (std::uint32_t t = 0; t < names.size(); ++t) {
      const std::vector<Holder>& stages = holders(s, names[t]);
      if (leaves_after(stages.front().stage) != s) continue;
      const SentTensor sent = describe_(names[t]);
      for (std::size_t k = 1; k < stages.size(); ++k) {
        if (on_one_rank(s, stages[k].stage)) continue;  // it is there already
        tensors.push_back({sent.shape, sent.element, placed(stages.front()), placed(stages[k])});
        positions.push_back(t);
      }
    }
    return resharded(tensors, positions);
  }

  std::vector<Transfer> gradients_before(std::size_t s) const {
    const std::vector<std::string>& names = plan_.stages[s - 1].boundary.tensors;
    std::vector<Resharding> tensors;
    std::vector<std::uint32_t> positions;
    for (std::uint32_t t = 0; t < names.size(); ++t) {
      const std::vector<Holder>& stages = holders(s - 1, names[t]);
      const SentTensor sent = describe_(names[t]);
      if (!sent.needs_gradient) continue;
      for (std::size_t k = 1; k < stages.size(); ++k) {
        if (returns_before(stages[k].stage) != s || on_one_rank(s, stages.front().stage)) continue;
        tensors.push_back({sent.shape, sent.element, placed(stages[k]), placed(stages.front())});
        positions.push_back(t);
      }
    }
    return resharded(tensors, positions);
  }

  Plan& plan_;
  const PipelineShape shape_;
  const Cluster& cluster_;
  ClusterLinks links_;
  const std::function<SentTensor(const std::string&)>& describe_;
  std::map<std::string, std::vector<Holder>> holders_;
};

}  // namespace

void set_transfers(Plan& plan, const Cluster& cluster, const std::function<SentTensor(const std::string&)>& describe) {
  Boundaries(plan, cluster, describe).set();
}

}  // namespace meshloom
