// What `simulate --graph --cluster` finds when a plan is priced again, for people; and whether the plan can lie on a
// cluster at all.
#pragma once

#include <string>
#include <vector>

#include "planner/plan/plan.hpp"
#include "planner/reprice.hpp"

namespace meshloom {

// Throws InputError, at `place`, when a stage's devices are not the submesh that the plan says on `cluster`: too few
// devices, or a submesh that crosses hosts otherwise.
void check_stages_lie_on(const Cluster& cluster, const Plan& plan, const std::string& place);

// The totals, then the largest of the others with the names of ops and tensors.
std::string price_differences_text(const Plan& plan, const std::vector<PriceDifference>& differences);

}  // namespace meshloom
