#include <utility>

#include "engine/runtime/cuda/communicator.h"

namespace dsl::cuda {
namespace {

using Clock = std::chrono::steady_clock;

/// Between looks at a communicator in use: short beside any patience, long beside a step.
constexpr auto kWatchInterval = std::chrono::milliseconds(10);
/// Between looks while ranks come together, which takes NCCL a second or so.
constexpr auto kJoinInterval = std::chrono::milliseconds(1);
/// For CUDA to say whether the stream is idle. It answers at once, unless a call of another thread
/// has locked it out.
constexpr auto kAnswerPatience = std::chrono::milliseconds(500);
/// For the peers' last messages when a communicator ends in good order.
constexpr auto kFarewellPatience = std::chrono::seconds(2);

bool is_error(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }

ncclResult_t state_of(const NcclFunctions& nccl, ncclComm_t comm) {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = nccl.get_async_error(comm, &state);
  return asked == ncclSuccess ? state : asked;
}

/// Polls until NCCL has done what it was asked for; ncclInProgress at the deadline.
ncclResult_t wait_for(const NcclFunctions& nccl, ncclComm_t comm, Deadline deadline) {
  ncclResult_t state = state_of(nccl, comm);
  while (state == ncclInProgress && !deadline.expired()) {
    std::this_thread::sleep_for(kJoinInterval);
    state = state_of(nccl, comm);
  }
  return state;
}

std::string name_of(const Communicator::Place& place) {
  return fmt::format("shard {} of {} over NCCL", place.rank, place.size);
}

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

constexpr std::string_view kSilentRemedy =
    "look at the logs of the ranks of this stage; raise the step deadline if one was only slow";

}  // namespace

Error nccl_error(const NcclFunctions& nccl, ncclResult_t result, ncclComm_t comm,
                 const std::string& what) {
  const char* detail = comm == nullptr ? "" : nccl.get_last_error(comm);
  std::string message = fmt::format("{}: {}", what, nccl.get_error_string(result));
  if (detail != nullptr && *detail != '\0') message += fmt::format(" ({})", detail);
  if (result == ncclRemoteError) {
    return {ErrorCode::kPeerLost, std::move(message),
            "look at the logs of the ranks of this stage"};
  }
  return {ErrorCode::kTransport, std::move(message),
          "set NCCL_DEBUG=INFO and read the rank's log; DSL_TENSOR_SUMS=host goes without NCCL"};
}

Result<std::unique_ptr<Communicator>> Communicator::join(const NcclFunctions& nccl,
                                                         const ncclUniqueId& id, const Place& place,
                                                         std::shared_ptr<Stream> stream,
                                                         Deadline deadline) {
  const auto began = Clock::now();
  const std::string what = fmt::format("connecting {}", name_of(place));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  ncclResult_t result = nccl.init_rank(&comm, place.size, id, place.rank, &config);
  if (!is_error(result)) result = wait_for(nccl, comm, deadline);
  if (result == ncclSuccess) {
    return std::unique_ptr<Communicator>(new Communicator(nccl, comm, place, std::move(stream)));
  }
  Error error = result == ncclInProgress ? Error{ErrorCode::kPeerHung,
                                                 fmt::format("{}: not all had come after {:.1f} s",
                                                             what, seconds(Clock::now() - began)),
                                                 std::string(kSilentRemedy)}
                                         : nccl_error(nccl, result, comm, what);
  if (comm != nullptr) nccl.abort(comm);
  return tl::unexpected<Error>(std::move(error));
}

Communicator::Communicator(const NcclFunctions& nccl, ncclComm_t comm, const Place& place,
                           std::shared_ptr<Stream> stream)
    : nccl_(nccl), place_(place), stream_(std::move(stream)), comm_(comm), watcher_([this] {
        watch();
      }) {
  stream_->set_watch(this);
}

Communicator::~Communicator() {
  stream_->set_watch(nullptr);
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  watcher_.join();
  if (comm_ == nullptr) return;
  // Whichever thread ends the rank: NCCL takes the device meanwhile and goes back to the thread's
  // own, which would open a context there.
  static_cast<void>(stream_->enter_thread());
  // Peers may still read what this rank has sent. With work that cannot end, only an abort does.
  const bool is_quiet = !is_error(nccl_.finalize(comm_)) &&
                        wait_for(nccl_, comm_, Deadline::after(kFarewellPatience)) == ncclSuccess;
  if (is_quiet) {
    nccl_.destroy(comm_);
  } else {
    nccl_.abort(comm_);
  }
}

void Communicator::set_patience(Duration patience) {
  const std::lock_guard lock(mutex_);
  patience_ = patience;
}

Status Communicator::put(const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& enqueue) {
  {
    const std::lock_guard lock(mutex_);
    DSL_TRY(failure());
    ncclResult_t result = nccl_.group_start();
    if (!is_error(result)) {
      result = enqueue(comm_, stream_->get());
      const ncclResult_t ended = nccl_.group_end();
      if (!is_error(result)) result = ended;
    }
    DSL_TRY(check(result));
    expect_an_end();
  }
  changed_.notify_all();
  return settle();
}

Status Communicator::settle() {
  // NCCL puts a group on the stream from a thread of its own, and takes the next one afterwards.
  // What this thread puts there must come behind it, in a recording as well.
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      DSL_TRY(failure());
      const ncclResult_t found = state_of(nccl_, comm_);
      DSL_TRY(check(found));
      if (found == ncclSuccess) return {};
    }
    std::this_thread::yield();
  }
}

Status Communicator::after_wait() {
  const std::lock_guard lock(mutex_);
  if (!is_recording_) due_.reset();  // else CUDA has refused to wait
  return failure();
}

void Communicator::before_recording() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !is_asking_; });  // which would break the recording
  is_recording_ = true;
}

void Communicator::after_recording() {
  {
    const std::lock_guard lock(mutex_);
    is_recording_ = false;
    expect_an_end();  // of what was on the stream before: nobody has looked at it since
  }
  changed_.notify_all();
}

Status Communicator::before_launch() {
  {
    const std::lock_guard lock(mutex_);
    DSL_TRY(failure());
    DSL_TRY(check(state_of(nccl_, comm_)));
    expect_an_end();
  }
  // The launch itself may wait for the stream, so the mutex is left to the watcher. Should it abort
  // in between, the kernels find that out by themselves: the recording keeps their communicator.
  changed_.notify_all();
  return {};
}

void Communicator::watch() {
  // Before the thread asks CUDA anything: that opens a context on whatever device is the thread's,
  // and device 0 may be another rank's. The rank itself has used the device, so this cannot fail.
  static_cast<void>(stream_->enter_thread());
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(
        lock, [&] { return is_ending_ || (failure_ && comm_ != nullptr) || (due_ && !failure_); });
    if (failure_ && comm_ != nullptr) {
      const ncclComm_t comm = std::exchange(comm_, nullptr);
      lock.unlock();
      // It lasts until recordings with groups are destroyed, by threads that learn of the failure.
      nccl_.abort(comm);
      lock.lock();
      continue;
    }
    if (is_ending_) return;
    changed_.wait_for(lock, kWatchInterval, [&] { return is_ending_ || failure_; });
    if (!is_ending_ && !failure_ && due_) look(lock);
  }
}

void Communicator::look(std::unique_lock<std::mutex>& lock) {
  const ncclResult_t found = state_of(nccl_, comm_);
  if (!check(found) || Clock::now() <= *due_) return;
  if (is_recording_) {
    // Nothing runs, but NCCL itself may wait for peers before it takes a group.
    if (found != ncclInProgress) return;
  } else {
    const auto asked_about = due_;
    const bool is_late = answer_.valid();  // to a question about what was on the stream before
    if (!is_late) ask_whether_idle();
    lock.unlock();
    const bool is_answered = answer_.wait_for(kAnswerPatience) == std::future_status::ready;
    const bool is_idle = is_answered && answer_.get();
    lock.lock();
    if (is_ending_ || failure_ || is_recording_ || due_ != asked_about) return;
    if (is_answered && is_late) return;
    if (is_idle) {
      due_.reset();  // nobody has had a reason to wait
      return;
    }
  }
  give_up({ErrorCode::kPeerHung,
           fmt::format("an exchange of {}: another shard has sent nothing for {:.1f} s",
                       name_of(place_), seconds(patience_)),
           std::string(kSilentRemedy)});
}

void Communicator::ask_whether_idle() {
  is_asking_ = true;
  answer_ = std::async(std::launch::async, [this] {
    static_cast<void>(stream_->enter_thread());
    const bool is_idle = stream_->is_idle();
    {
      const std::lock_guard lock(mutex_);
      is_asking_ = false;
    }
    changed_.notify_all();
    return is_idle;
  });
}

void Communicator::expect_an_end() { due_ = Clock::now() + patience_; }

Status Communicator::check(ncclResult_t result) {
  if (is_error(result)) {
    give_up(nccl_error(nccl_, result, comm_, fmt::format("an exchange of {}", name_of(place_))));
  }
  return failure();
}

void Communicator::give_up(Error reason) {
  failure_ = std::move(reason);
  changed_.notify_all();
}

Status Communicator::failure() const {
  if (!failure_) return {};
  return tl::unexpected<Error>(*failure_);
}

}  // namespace dsl::cuda
