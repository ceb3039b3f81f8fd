#include "engine/serving/engine_port/score_stream.h"

namespace dsl::serving {
namespace {

// The engine must not wait for a client, so rows pile up here while one reads slowly.
constexpr std::size_t kMaxWaitingBytes = 256u << 20;
constexpr std::size_t kMaxWaitingRequests = 64;

}  // namespace

void ScoreStream::run(Engine& engine) {
  {
    const std::scoped_lock lock(mutex_);
    if (is_abandoned_) return;
  }
  end(engine.score(token_ids_, [this](std::span<const float> rows) { add_rows(rows); }));
}

void ScoreStream::add_rows(std::span<const float> rows) {
  const std::scoped_lock lock(mutex_);
  if (is_abandoned_ || failure_) return;
  if (bytes_.size() + rows.size_bytes() > kMaxWaitingBytes) {
    failure_ =
        Error{ErrorCode::kOverloaded, "the client reads logits more slowly than they are computed",
              "read the answer as it comes"};
  } else {
    bytes_.append(reinterpret_cast<const char*>(rows.data()), rows.size_bytes());
  }
  if (wake_) wake_();
}

void ScoreStream::end(Status status) {
  const std::scoped_lock lock(mutex_);
  if (!status && !failure_) failure_ = std::move(status).error();
  is_complete_ = true;
  if (wake_) wake_();
}

void ScoreStream::on_ready(std::function<void()> wake) {
  const std::scoped_lock lock(mutex_);
  wake_ = std::move(wake);
}

ResponseStream::Piece ScoreStream::take() {
  const std::scoped_lock lock(mutex_);
  Piece piece;
  piece.bytes.swap(bytes_);
  piece.failure = failure_;
  piece.is_last = is_complete_;
  if (is_complete_ || failure_) wake_ = nullptr;
  return piece;
}

void ScoreStream::abandon() {
  const std::scoped_lock lock(mutex_);
  is_abandoned_ = true;
  wake_ = nullptr;
  std::string().swap(bytes_);
}

ScoreRunner::ScoreRunner(Engine& engine) : engine_(engine), thread_([this] { work(); }) {}

ScoreRunner::~ScoreRunner() {
  {
    const std::scoped_lock lock(mutex_);
    is_ending_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  thread_.join();
}

Result<std::shared_ptr<ScoreStream>> ScoreRunner::submit(std::vector<std::int32_t> token_ids) {
  auto stream = std::make_shared<ScoreStream>(std::move(token_ids));
  const std::scoped_lock lock(mutex_);
  if (waiting_.size() >= kMaxWaitingRequests) {
    return fail(ErrorCode::kOverloaded, "try again later", "{} score requests are waiting",
                waiting_.size());
  }
  waiting_.push_back(stream);
  changed_.notify_all();
  return stream;
}

void ScoreRunner::work() {
  while (true) {
    std::shared_ptr<ScoreStream> stream;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
      if (is_ending_) return;
      stream = std::move(waiting_.front());
      waiting_.pop_front();
    }
    stream->run(engine_);
  }
}

}  // namespace dsl::serving
