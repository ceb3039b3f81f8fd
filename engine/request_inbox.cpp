#include "engine/request_inbox.h"

#include <chrono>
#include <utility>

namespace dsl::engine {
namespace {

/// How often an idle engine looks whether the other ranks still live.
constexpr auto kIdleCheck = std::chrono::milliseconds(200);

}  // namespace

Status RequestInbox::check_open() const {
  if (ended_) return tl::unexpected<Error>(*ended_);
  const auto num_queued = num_waiting_ + static_cast<std::int64_t>(messages_.size());
  if (num_queued >= max_waiting_) {
    return fail(ErrorCode::kOverloaded, "try again later or send to another replica",
                "the queue is full: {} requests wait", num_queued);
  }
  return {};
}

void RequestInbox::post(Message message) {
  board_.begin_request();
  messages_.push_back(std::move(message));
  posted_.notify_one();
}

Result<scheduler::SequenceId> RequestInbox::submit(Generation generation) {
  const std::lock_guard lock(mutex_);
  DSL_TRY(check_open());
  const scheduler::SequenceId id{next_id_++};
  post(Submission{id, std::move(generation)});
  return id;
}

Status RequestInbox::score(std::vector<std::int32_t> token_ids, std::shared_ptr<ScoreJob> job) {
  const std::lock_guard lock(mutex_);
  DSL_TRY(check_open());
  post(ScoreSubmission{scheduler::SequenceId{next_id_++}, std::move(token_ids), std::move(job)});
  return {};
}

void RequestInbox::cancel(scheduler::SequenceId id) {
  const std::lock_guard lock(mutex_);
  messages_.emplace_back(Cancellation{id});
  posted_.notify_one();
}

void RequestInbox::stop() {
  const std::lock_guard lock(mutex_);
  is_stopping_ = true;
  posted_.notify_one();
}

Result<std::optional<std::deque<RequestInbox::Message>>> RequestInbox::take(
    std::int64_t num_waiting, bool idle, const std::function<Status()>& check) {
  std::unique_lock lock(mutex_);
  num_waiting_ = num_waiting;
  while (idle && messages_.empty() && !is_stopping_) {
    if (posted_.wait_for(lock, kIdleCheck) == std::cv_status::timeout) {
      lock.unlock();
      DSL_TRY(check());
      lock.lock();
    }
  }
  if (is_stopping_) return std::nullopt;
  num_waiting_ += static_cast<std::int64_t>(messages_.size());
  return std::exchange(messages_, {});
}

std::deque<RequestInbox::Message> RequestInbox::close(const Error& error) {
  const std::lock_guard lock(mutex_);
  ended_ = error;
  return std::exchange(messages_, {});
}

}  // namespace dsl::engine
