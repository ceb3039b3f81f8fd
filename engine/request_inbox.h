// What other threads ask of rank 0's engine thread, until it takes it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <variant>
#include <vector>

#include "engine/engine_requests.h"
#include "engine/scheduler/sequence.h"
#include "engine/stats_board.h"

namespace dsl::engine {

/// Thread-safe; take() and close() are the engine thread's.
class RequestInbox {
 public:
  struct Submission {
    scheduler::SequenceId id{};
    Generation generation;
  };
  struct ScoreSubmission {
    scheduler::SequenceId id{};
    std::vector<std::int32_t> token_ids;
    std::shared_ptr<ScoreJob> job;
  };
  struct Cancellation {
    scheduler::SequenceId id{};
  };
  using Message = std::variant<Submission, ScoreSubmission, Cancellation>;

  /// At most so many requests wait, here and in the scheduler. `board` counts those that are taken
  /// in, and must outlive this.
  RequestInbox(std::int64_t max_waiting, StatsBoard& board)
      : max_waiting_(max_waiting), board_(board) {}

  /// Errors: kOverloaded when as many wait as may; once closed, the error with which it was.
  Result<scheduler::SequenceId> submit(Generation generation);
  Status score(std::vector<std::int32_t> token_ids, std::shared_ptr<ScoreJob> job);
  void cancel(scheduler::SequenceId id);
  /// Nothing is taken any more.
  void stop();

  /// All messages, or none after stop(). `num_waiting` requests wait in the scheduler. An `idle`
  /// engine waits for a message, and calls `check` every now and then: its error ends the wait.
  Result<std::optional<std::deque<Message>>> take(std::int64_t num_waiting, bool idle,
                                                  const std::function<Status()>& check);
  /// Takes in no further request. Returns the messages that nobody has taken.
  std::deque<Message> close(const Error& error);

 private:
  /// Under mutex_.
  Status check_open() const;
  /// Under mutex_: counts a request, and wakes the engine thread to handle it.
  void post(Message message);

  const std::int64_t max_waiting_;
  StatsBoard& board_;

  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Message> messages_;  // these and what follows are guarded by mutex_
  std::uint64_t next_id_ = 1;
  std::int64_t num_waiting_ = 0;  // in the scheduler, of a moment ago
  bool is_stopping_ = false;
  std::optional<Error> ended_;
};

}  // namespace dsl::engine
