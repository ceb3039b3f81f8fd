// NCCL among the ranks of a group, such that no call and no wait outlasts a silent rank.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/runtime/cuda/nccl_functions.h"
#include "engine/runtime/cuda/stream.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::cuda {

/// Owns a communicator, and a thread that aborts it when what was put on the stream has not run in
/// time or NCCL reports an error. Polling in Stream::wait would not do: other calls of CUDA, such
/// as cudaFree and copies from pageable memory, wait for the stream too. An abort ends the kernels
/// that wait for peers, and so all of these calls. They may hold locks of the driver until then, so
/// what the abort depends on asks CUDA nothing without a limit of time. Recordings of the stream
/// that hold groups must be destroyed before the communicator, which would wait for them without
/// end. Thread-compatible.
class Communicator final : public StreamWatch {
 public:
  using Duration = std::chrono::steady_clock::duration;
  struct Place {
    int rank = 0;
    int size = 1;
  };

  /// Returns when all have called it. kPeerHung after the deadline.
  static Result<std::unique_ptr<Communicator>> join(const NcclFunctions& nccl,
                                                    const ncclUniqueId& id, const Place& place,
                                                    std::shared_ptr<Stream> stream,
                                                    Deadline deadline);
  ~Communicator() override;

  const Place& place() const { return place_; }

  /// Within which later groups must have run, and recordings with theirs, once they are on the
  /// stream.
  void set_patience(Duration patience);
  /// Puts what `enqueue` calls on the stream, as one group, or adds it to the recording.
  Status put(const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& enqueue);

  /// The errors say what has ended the communicator.
  Status after_wait() override;
  void before_recording() override;
  void after_recording() override;
  Status before_launch() override;

 private:
  Communicator(const NcclFunctions& nccl, ncclComm_t comm, const Place& place,
               std::shared_ptr<Stream> stream);

  /// Until the last group is on the stream, or in the recording.
  Status settle();
  void watch();
  // With the mutex held:
  void look(std::unique_lock<std::mutex>& lock);
  /// A thread of its own asks: it may be locked out until the abort.
  void ask_whether_idle();
  void expect_an_end();
  /// An error of NCCL is the communicator's end.
  Status check(ncclResult_t result);
  /// The watcher aborts.
  void give_up(Error reason);
  Status failure() const;

  const NcclFunctions nccl_;
  const Place place_;
  const std::shared_ptr<Stream> stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  ncclComm_t comm_;                                           // null after an abort
  std::optional<std::chrono::steady_clock::time_point> due_;  // while something is on the stream
  Duration patience_{};
  std::optional<Error> failure_;
  bool is_recording_ = false;
  bool is_ending_ = false;
  bool is_asking_ = false;  // CUDA about the stream
  std::thread watcher_;
  std::future<bool> answer_;  // the watcher's
};

/// `what` names the operation. A peer that has gone is kPeerLost, the rest kTransport.
Error nccl_error(const NcclFunctions& nccl, ncclResult_t result, ncclComm_t comm,
                 const std::string& what);

}  // namespace dsl::cuda
