// NCCL among the ranks of a group, such that no call and no wait outlasts a silent rank.
#pragma once

#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/runtime/cuda/stream.h"
#include "transport/base/deadline.h"
#include "transport/base/error.h"

namespace dsl::cuda {

/// Owns a communicator, and a thread that aborts it when what was put on the stream has not run in
/// time or NCCL reports an error. Polling in Stream::wait would not do: other calls of CUDA, such
/// as cudaFree and copies from pageable memory, wait for the stream too. An abort ends the kernels
/// that wait for peers, and so all of these calls. Thread-compatible.
class Communicator final : public StreamWatch {
 public:
  using Duration = std::chrono::steady_clock::duration;
  struct Place {
    int rank = 0;
    int size = 1;
  };

  /// Returns when all have called it. kPeerHung after the deadline.
  static Result<std::unique_ptr<Communicator>> join(const ncclUniqueId& id, const Place& place,
                                                    std::shared_ptr<Stream> stream,
                                                    Deadline deadline);
  ~Communicator() override;

  const Place& place() const { return place_; }

  /// Puts what `enqueue` calls on the stream, as one group. It must have run within `patience`.
  Status put(const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& enqueue,
             Duration patience);
  /// What has ended the communicator, if anything; all that was put has run or was aborted.
  Status after_wait() override;

 private:
  Communicator(ncclComm_t comm, const Place& place, std::shared_ptr<Stream> stream);

  /// Until the last group is on the stream.
  Status settle();
  void watch();
  // With the mutex held:
  ncclResult_t state() const;
  void abort(Error reason);
  Status failure() const;

  const Place place_;
  const std::shared_ptr<Stream> stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  ncclComm_t comm_;                                           // null after an abort
  std::optional<std::chrono::steady_clock::time_point> due_;  // while something is on the stream
  Duration patience_{};                                       // of the last group
  std::optional<Error> failure_;
  bool is_ending_ = false;
  std::thread watcher_;
};

/// `what` names the operation. A peer that has gone is kPeerLost, the rest kTransport.
Error nccl_error(ncclResult_t result, ncclComm_t comm, const std::string& what);

}  // namespace dsl::cuda
