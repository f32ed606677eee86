#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>
#include <vector>

#include "costmodel/profiler/cuda/checks.hpp"
#include "costmodel/profiler/cuda/collectives.hpp"
#include "graphs/files.hpp"
#include "graphs/input_error.hpp"

namespace meshloom::cuda {
namespace {

constexpr auto longest_wait = std::chrono::minutes(10);

ncclUniqueId exchanged_id(const CudaOptions& options) {
  ncclUniqueId id{};
  if (options.ranks == 1) {
    check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    return id;
  }
  if (!options.unique_id) throw InputError("--ranks", "several processes find each other through --unique-id FILE");
  if (options.rank == 0) {
    check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    write_file(*options.unique_id, std::string(id.internal, sizeof id.internal));
    return id;
  }
  const auto begin = std::chrono::steady_clock::now();
  while (!std::filesystem::exists(*options.unique_id)) {
    if (std::chrono::steady_clock::now() - begin > longest_wait)
      throw InputError("--unique-id",
                       *options.unique_id + " does not appear; does rank 0 run, and do all hosts see it?");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const std::string text = read_file(*options.unique_id);
  if (text.size() != sizeof id.internal)
    throw InputError("--unique-id", *options.unique_id + " holds no id of NCCL; remove what an earlier run left there");
  std::memcpy(id.internal, text.data(), sizeof id.internal);
  return id;
}

// One device of this process.
struct Place {
  int device = 0;
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  ncclComm_t world = nullptr;
  double* number = nullptr;  // what ranks tell each other
};

// A group's communicators: of this process' devices, null where a device is no member.
using Members = std::vector<ncclComm_t>;

void launch(const CollectiveTask& task, ncclComm_t group, const void* from, void* to, cudaStream_t stream) {
  int size = 0, rank = 0;
  check(ncclCommCount(group, &size), "ncclCommCount");
  check(ncclCommUserRank(group, &rank), "ncclCommUserRank");
  const std::size_t whole = static_cast<std::size_t>(task.bytes) / 2;  // elements of bf16
  const std::size_t part = std::max<std::size_t>(1, whole / static_cast<std::size_t>(size));
  switch (task.key.kind) {
    case MeasuredCollective::all_reduce:
      return check(ncclAllReduce(from, to, whole, ncclBfloat16, ncclSum, group, stream), "ncclAllReduce");
    case MeasuredCollective::all_gather:
      return check(ncclAllGather(from, to, part, ncclBfloat16, group, stream), "ncclAllGather");
    case MeasuredCollective::reduce_scatter:
      return check(ncclReduceScatter(from, to, part, ncclBfloat16, ncclSum, group, stream), "ncclReduceScatter");
    case MeasuredCollective::all_to_all:
      for (int peer = 0; peer < size; ++peer) {
        const std::size_t offset = 2 * part * static_cast<std::size_t>(peer);
        check(ncclSend(static_cast<const char*>(from) + offset, part, ncclBfloat16, peer, group, stream), "ncclSend");
        check(ncclRecv(static_cast<char*>(to) + offset, part, ncclBfloat16, peer, group, stream), "ncclRecv");
      }
      return;
    case MeasuredCollective::send_receive:
      check(ncclSend(from, whole, ncclBfloat16, (rank + 1) % size, group, stream), "ncclSend");
      check(ncclRecv(to, whole, ncclBfloat16, (rank + size - 1) % size, group, stream), "ncclRecv");
      return;
  }
}

std::string nccl_text() {
  int version = 0;
  check(ncclGetVersion(&version), "ncclGetVersion");
  return "NCCL " + std::to_string(version / 10'000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100) + ", its own choice of algorithm, bf16";
}

}  // namespace

class Communicators::State {
 public:
  State(const CudaOptions& options, int local) : options_(options), places_(static_cast<std::size_t>(local)) {
    const ncclUniqueId id = exchanged_id(options);
    const int total = static_cast<int>(options.ranks) * local, first = static_cast<int>(options.rank) * local;
    for (int i = 0; i < local; ++i) {
      Place& place = places_[static_cast<std::size_t>(i)];
      place.device = i;
      use(place);
      check(cudaStreamCreateWithFlags(&place.stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
      check(cudaEventCreate(&place.begin), "cudaEventCreate");
      check(cudaEventCreate(&place.end), "cudaEventCreate");
      check(cudaMalloc(&place.number, sizeof(double)), "cudaMalloc");
    }
    check(ncclGroupStart(), "ncclGroupStart");
    for (int i = 0; i < local; ++i) {
      use(places_[static_cast<std::size_t>(i)]);
      check(ncclCommInitRank(&places_[static_cast<std::size_t>(i)].world, total, id, first + i), "ncclCommInitRank");
    }
    check(ncclGroupEnd(), "ncclGroupEnd");
  }

  // At the end of the program: what fails here no longer matters.
  ~State() {
    for (auto& [key, members] : groups_)
      for (const ncclComm_t member : members)
        if (member != nullptr) static_cast<void>(ncclCommDestroy(member));
    for (const Place& place : places_) {
      if (place.world != nullptr) static_cast<void>(ncclCommDestroy(place.world));
      static_cast<void>(cudaFree(place.number));
    }
    if (options_.rank == 0 && options_.unique_id) {
      std::error_code ignored;
      std::filesystem::remove(*options_.unique_id, ignored);  // the next run's ranks would take it for theirs
    }
  }

  const std::vector<Place>& places() const { return places_; }
  static void use(const Place& place) { check(cudaSetDevice(place.device), "cudaSetDevice"); }

  // The first devices of the first hosts. Made once: splitting takes longer than most collectives.
  const Members& group(const CollectiveKey& key) {
    const auto found = groups_.find(key);
    if (found != groups_.end()) return found->second;
    Members members(places_.size(), nullptr);
    check(ncclGroupStart(), "ncclGroupStart");
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const bool member = options_.rank < key.hosts && static_cast<std::int64_t>(i) < key.devices_per_host;
      use(places_[i]);
      const int order = static_cast<int>(options_.rank * key.devices_per_host + static_cast<std::int64_t>(i));
      check(ncclCommSplit(places_[i].world, member ? 0 : NCCL_SPLIT_NOCOLOR, order, &members[i], nullptr),
            "ncclCommSplit");
    }
    check(ncclGroupEnd(), "ncclGroupEnd");
    return groups_.emplace(key, std::move(members)).first->second;
  }

  // Every device of every process arrives before any goes on; `value` becomes what `operation` makes of all.
  double meet(double value, ncclRedOp_t operation) {
    for (const Place& place : places_) {
      use(place);
      check(cudaMemcpyAsync(place.number, &value, sizeof value, cudaMemcpyHostToDevice, place.stream),
            "cudaMemcpyAsync");
    }
    check(ncclGroupStart(), "ncclGroupStart");
    for (const Place& place : places_)
      check(ncclAllReduce(place.number, place.number, 1, ncclDouble, operation, place.world, place.stream),
            "ncclAllReduce");
    check(ncclGroupEnd(), "ncclGroupEnd");
    for (const Place& place : places_) {
      use(place);
      check(cudaMemcpyAsync(&value, place.number, sizeof value, cudaMemcpyDeviceToHost, place.stream),
            "cudaMemcpyAsync");
      check(cudaStreamSynchronize(place.stream), "cudaStreamSynchronize");
    }
    return value;
  }

  double first(double value) {
    if (options_.ranks == 1) return value;
    return meet(options_.rank == 0 ? value : -1e300, ncclMax);
  }

 private:
  CudaOptions options_;
  std::vector<Place> places_;
  std::map<CollectiveKey, Members> groups_;
};

namespace {

void free_device(void* pointer) { static_cast<void>(cudaFree(pointer)); }

// All members of a group, as far as this process has them.
class CollectiveWork : public PreparedTask {
 public:
  CollectiveWork(Communicators::State& state, const CollectiveTask& task)
      : state_(state), task_(task), members_(state.group(task.key)) {
    const std::size_t bytes = static_cast<std::size_t>(task.bytes) + 2 * 64 * 1024;  // parts of at least one element
    for (std::size_t i = 0; i < members_.size(); ++i) {
      Communicators::State::use(state.places()[i]);
      void *from = nullptr, *to = nullptr;
      if (members_[i] != nullptr) {
        check(cudaMalloc(&from, bytes), "cudaMalloc");
        from_.emplace_back(from, free_device);
        check(cudaMalloc(&to, bytes), "cudaMalloc");
        to_.emplace_back(to, free_device);
        check(cudaMemset(from, 0, bytes), "cudaMemset");
      } else {
        from_.emplace_back();
        to_.emplace_back();
      }
    }
  }

  Seconds run(std::size_t times) override {
    state_.meet(0, ncclSum);
    for_members(
        [](const Place& place, std::size_t) { check(cudaEventRecord(place.begin, place.stream), "cudaEventRecord"); });
    for (std::size_t t = 0; t < times; ++t) {
      check(ncclGroupStart(), "ncclGroupStart");
      for_members([&](const Place& place, std::size_t i) {
        launch(task_, members_[i], from_[i].get(), to_[i].get(), place.stream);
      });
      check(ncclGroupEnd(), "ncclGroupEnd");
    }
    for_members(
        [](const Place& place, std::size_t) { check(cudaEventRecord(place.end, place.stream), "cudaEventRecord"); });
    double longest = 0;
    for_members([&](const Place& place, std::size_t) {
      check(cudaEventSynchronize(place.end), "cudaEventSynchronize");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, place.begin, place.end), "cudaEventElapsedTime");
      longest = std::max(longest, 1e-3 * static_cast<double>(milliseconds));
    });
    return Seconds(state_.meet(longest, ncclMax));
  }

  void flush() override {}  // what comes over a link was in no cache

  std::string implementation() const override { return nccl_text(); }

 private:
  template <typename Visit>
  void for_members(const Visit& visit) {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i] == nullptr) continue;
      Communicators::State::use(state_.places()[i]);
      visit(state_.places()[i], i);
    }
  }

  Communicators::State& state_;
  CollectiveTask task_;
  const Members& members_;
  std::vector<std::shared_ptr<void>> from_, to_;  // null where a device is no member
};

}  // namespace

Communicators::Communicators(const CudaOptions& options, int local_devices)
    : state_(std::make_unique<State>(options, local_devices)) {}
Communicators::~Communicators() = default;

std::unique_ptr<PreparedTask> Communicators::prepare(const CollectiveTask& task) {
  return std::make_unique<CollectiveWork>(*state_, task);
}

double Communicators::first(double value) { return state_->first(value); }
double Communicators::largest(double value) { return state_->meet(value, ncclMax); }

}  // namespace meshloom::cuda
