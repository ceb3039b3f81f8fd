#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/runtime/cuda/nccl_functions.h"
#include "nccl.h"
#include "tests/emulated_cuda/emulated_capture.h"
#include "tests/emulated_cuda/emulated_devices.h"
#include "tests/emulated_cuda/emulated_memory.h"
#include "tests/emulated_cuda/emulated_streams.h"
#include "transport/base/error.h"

namespace dsl::test {
namespace {

using Message = std::vector<std::byte>;

constexpr auto kBetweenPolls = std::chrono::microseconds(50);

std::atomic<std::int64_t> communicator_bytes = 0;
std::atomic<bool> is_nccl_there = true;

/// Where the ranks of one communicator meet. All but `mutex` is guarded by it.
struct Hub {
  std::mutex mutex;
  int num_ranks = 0;
  std::map<int, int> devices;                               // of the ranks that have come
  std::map<std::pair<int, int>, std::deque<Message>> mail;  // by sender and receiver
  int num_aborted = 0;

  bool has_shared_device() const {
    for (const auto& [rank, device] : devices) {
      for (const auto& [other, other_device] : devices) {
        if (rank != other && device == other_device) return true;
      }
    }
    return false;
  }
};

/// Null when the device has no more. They go with the communicator.
std::shared_ptr<void> take_buffers() {
  const auto bytes = static_cast<std::size_t>(communicator_bytes.load());
  void* const data = device_memory().allocate(bytes);
  return {data, [](void* taken) { device_memory().release(taken); }};
}

std::shared_ptr<Hub> hub_of(const ncclUniqueId& id) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<Hub>> hubs;
  const std::lock_guard lock(mutex);
  std::weak_ptr<Hub>& known = hubs[std::string(id.internal)];
  std::shared_ptr<Hub> hub = known.lock();
  if (!hub) known = hub = std::make_shared<Hub>();
  return hub;
}

struct Exchange;

/// A rank's end of a communicator; what is on its stream may outlive the handle.
struct Member {
  std::shared_ptr<Hub> hub;
  int rank = 0;
  // Guarded by the hub's mutex:
  bool is_aborted = false;
  bool is_finalised = false;
  bool has_just_called = true;           // the next answer is ncclInProgress
  std::shared_ptr<Exchange> unplaced{};  // a group that is not on its stream yet
  int unplaced_by = 0;                   // the thread
  std::shared_ptr<int> recordings = std::make_shared<int>();  // each holds a reference

  bool is_recorded() const { return recordings.use_count() > 1; }
};

struct Send {
  int peer;
  const void* from;
  std::size_t bytes;
};
struct Receive {
  int peer;
  void* to;
  std::size_t bytes;
};

/// What one group puts on a stream.
struct Exchange {
  std::shared_ptr<Member> member;
  cudaStream_t stream = nullptr;
  std::vector<Send> sends;
  std::vector<Receive> receives;
  bool is_sent = false;

  /// False while a peer's message is missing.
  bool run() {
    const DeviceMemory::Opening opening(device_memory());
    Hub& hub = *member->hub;
    const std::lock_guard lock(hub.mutex);
    if (member->is_aborted) return true;
    if (!std::exchange(is_sent, true)) {
      for (const Send& send : sends) {
        const auto* begin = static_cast<const std::byte*>(send.from);
        hub.mail[{member->rank, send.peer}].emplace_back(begin, begin + send.bytes);
      }
    }
    std::map<int, std::size_t> wanted;
    for (const Receive& receive : receives) ++wanted[receive.peer];
    for (const auto& [peer, count] : wanted) {
      if (hub.mail[{peer, member->rank}].size() < count) return false;
    }
    for (const Receive& receive : receives) {
      std::deque<Message>& mail = hub.mail[{receive.peer, member->rank}];
      DSL_CHECK(mail.front().size() == receive.bytes, "rank {} receives {} of {} bytes from {}",
                member->rank, receive.bytes, mail.front().size(), receive.peer);
      std::memcpy(receive.to, mail.front().data(), receive.bytes);
      mail.pop_front();
    }
    return true;
  }
};

/// The calling thread's group; one communicator and one stream at a time.
thread_local int group_depth = 0;
thread_local std::shared_ptr<Exchange> group;

/// As if a thread of NCCL's did the rest: the group is on the stream once its state is ncclSuccess.
ncclResult_t start_group() {
  const std::shared_ptr<Exchange> exchange = std::exchange(group, nullptr);
  if (!exchange) return ncclSuccess;
  Member& member = *exchange->member;
  const std::lock_guard lock(member.hub->mutex);
  if (member.unplaced) return ncclInvalidUsage;
  member.has_just_called = true;
  member.unplaced = exchange;
  member.unplaced_by = thread_number();
  return ncclInProgress;
}

/// NCCL takes a communicator's device for as long as such a call lasts, and opens a context on the
/// thread's own when it goes back to that. With the hub's mutex held.
void check_is_on_device_of(const Member& member) {
  const int device = member.hub->devices.at(member.rank);
  DSL_CHECK(device == current_device,
            "a thread that uses device {} ends a communicator of device {}", current_device,
            device);
}

void place(const Exchange& exchange) {
  run_or_record([exchange, recording = exchange.member->recordings] {
    const auto once = std::make_shared<Exchange>(exchange);
    once->stream->put([once] { return once->run(); });
    return cudaSuccess;
  });
}

}  // namespace
}  // namespace dsl::test

struct ncclComm {
  std::shared_ptr<dsl::test::Member> member;
  std::shared_ptr<void> buffers;
};

namespace dsl::test {
namespace {

/// The open group, to which `add` adds what a call asks for.
template <typename Add>
ncclResult_t add_to_group(ncclComm_t comm, cudaStream_t stream, const Add& add) {
  if (!group) group = std::make_shared<Exchange>();
  group->member = comm->member;
  group->stream = stream;
  add(*group);
  return group_depth == 0 ? start_group() : ncclSuccess;
}

}  // namespace
}  // namespace dsl::test

void dsl::test::set_emulated_communicator_bytes(std::int64_t bytes) {
  dsl::test::communicator_bytes = bytes;
}

void dsl::test::set_emulated_nccl(bool is_there) { dsl::test::is_nccl_there = is_there; }

dsl::Result<dsl::cuda::NcclFunctions> dsl::cuda::load_nccl() {
  if (!dsl::test::is_nccl_there)
    return fail(ErrorCode::kNotFound, "", "the emulated one is hidden");
  return NcclFunctions{ncclGetUniqueId,
                       ncclCommInitRankConfig,
                       ncclCommGetAsyncError,
                       ncclCommFinalize,
                       ncclCommDestroy,
                       ncclCommAbort,
                       ncclGetErrorString,
                       ncclGetLastError,
                       ncclGroupStart,
                       ncclGroupEnd,
                       ncclSend,
                       ncclRecv,
                       ncclAllGather};
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::mutex mutex;
  static int next = 0;
  const std::lock_guard lock(mutex);
  *id = {};
  const std::string name = "hub " + std::to_string(next++);
  std::memcpy(id->internal, name.data(), name.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (rank < 0 || rank >= num_ranks || config->blocking != 0) return ncclInvalidArgument;
  std::shared_ptr<void> buffers;
  if (dsl::test::communicator_bytes > 0) {
    buffers = dsl::test::take_buffers();
    if (buffers == nullptr) return ncclUnhandledCudaError;
  }
  const std::shared_ptr<dsl::test::Hub> hub = dsl::test::hub_of(id);
  const std::lock_guard lock(hub->mutex);
  hub->num_ranks = num_ranks;
  hub->devices[rank] = dsl::test::current_device;
  *comm = new ncclComm{std::make_shared<dsl::test::Member>(dsl::test::Member{hub, rank}),
                       std::move(buffers)};
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
  dsl::test::Member& member = *comm->member;
  std::unique_lock lock(member.hub->mutex);
  const bool is_complete = std::ssize(member.hub->devices) == member.hub->num_ranks;
  if (member.hub->num_aborted > 0) {
    *result = ncclRemoteError;
  } else if (is_complete && member.hub->has_shared_device()) {
    *result = ncclInvalidUsage;
  } else if (!is_complete || std::exchange(member.has_just_called, false) ||
             (member.is_finalised && member.is_recorded())) {
    *result = ncclInProgress;
  } else if (member.unplaced && member.unplaced_by != dsl::test::thread_number()) {
    *result = ncclInProgress;
  } else if (const auto unplaced = std::exchange(member.unplaced, nullptr)) {
    lock.unlock();
    dsl::test::place(*unplaced);
    *result = ncclSuccess;
  } else {
    *result = ncclSuccess;
  }
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  const std::lock_guard lock(comm->member->hub->mutex);
  dsl::test::check_is_on_device_of(*comm->member);
  comm->member->has_just_called = true;
  comm->member->is_finalised = true;
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  {
    const std::lock_guard lock(comm->member->hub->mutex);
    dsl::test::check_is_on_device_of(*comm->member);
  }
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  {
    const std::lock_guard lock(comm->member->hub->mutex);
    dsl::test::check_is_on_device_of(*comm->member);
    comm->member->is_aborted = true;
    comm->member->unplaced = nullptr;
    ++comm->member->hub->num_aborted;
  }
  while (comm->member->is_recorded()) std::this_thread::sleep_for(dsl::test::kBetweenPolls);
  delete comm;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error"
                                   : "invalid usage";
}
const char* ncclGetLastError(ncclComm_t) { return ""; }

ncclResult_t ncclGroupStart() {
  ++dsl::test::group_depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  return --dsl::test::group_depth == 0 ? dsl::test::start_group() : ncclSuccess;
}

ncclResult_t ncclSend(const void* from, std::size_t count, ncclDataType_t, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return dsl::test::add_to_group(comm, stream, [&](dsl::test::Exchange& exchange) {
    exchange.sends.push_back({peer, from, count * sizeof(float)});
  });
}

ncclResult_t ncclRecv(void* to, std::size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return dsl::test::add_to_group(comm, stream, [&](dsl::test::Exchange& exchange) {
    exchange.receives.push_back({peer, to, count * sizeof(float)});
  });
}

ncclResult_t ncclAllGather(const void* from, void* to, std::size_t count, ncclDataType_t,
                           ncclComm_t comm, cudaStream_t stream) {
  const std::size_t bytes = count * sizeof(float);
  return dsl::test::add_to_group(comm, stream, [&](dsl::test::Exchange& exchange) {
    for (int peer = 0; peer < comm->member->hub->num_ranks; ++peer) {
      exchange.sends.push_back({peer, from, bytes});
      exchange.receives.push_back(
          {peer, static_cast<std::byte*>(to) + static_cast<std::size_t>(peer) * bytes, bytes});
    }
  });
}
