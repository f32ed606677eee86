// How much of the time a job that fails now and then makes progress. Failures come at random (exponential times); after
// one the job restarts, which may fail too, and does again what it did since its last checkpoint.
//
// With M the mean time between failures, τ of work between checkpoints, δ for a checkpoint and R for a restart, τ of
// work takes M·e^(R/M)·(e^((τ+δ)/M) − 1) on average [Daly 2006, A higher order estimate of the optimum checkpoint
// interval for restart dumps, equation 20].
#pragma once

#include "graphs/units.hpp"

namespace meshloom {

struct Failures {
  Seconds between;     // M, of the whole job; above 0
  Seconds interval;    // τ: work between the end of a checkpoint and the start of the next; above 0
  Seconds checkpoint;  // δ: the job stands still meanwhile
  Seconds restart;     // R: from the failure until the last checkpoint is loaded
};

// Work over time, between 0 and 1.
double goodput(const Failures& failures);

// The τ of about the best goodput: Young's √(2δM) − δ [1974] with Daly's correction [equation 37]:
// √(2δM)·(1 + √(δ/2M)/3 + δ/2M/9) − δ while δ < 2M, else M.
Seconds best_checkpoint_interval(Seconds between, Seconds checkpoint);

}  // namespace meshloom
