// The binary answer to one score request: float32 rows of logits as they are computed.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/serving/http/http_server.h"

namespace dsl::serving {

/// Filled by the engine's thread, read by the server's.
class ScoreStream final : public ResponseStream {
 public:
  explicit ScoreStream(std::vector<std::int32_t> token_ids) : token_ids_(std::move(token_ids)) {}

  /// Blocks until all rows are computed or the engine fails.
  void run(Engine& engine);

  void on_ready(std::function<void()> wake) override;
  Piece take() override;
  void abandon() override;

 private:
  void add_rows(std::span<const float> rows);
  void end(Status status);

  const std::vector<std::int32_t> token_ids_;
  std::mutex mutex_;
  std::string bytes_;             // guarded by mutex_
  bool is_complete_ = false;      // guarded by mutex_
  bool is_abandoned_ = false;     // guarded by mutex_
  std::optional<Error> failure_;  // guarded by mutex_
  std::function<void()> wake_;    // guarded by mutex_
};

/// Runs score requests one after the other in a thread of its own, because Engine::score blocks.
/// Owns the thread; the engine must be shut down (or fail) before destruction, so that a running
/// request ends.
class ScoreRunner {
 public:
  explicit ScoreRunner(Engine& engine);
  ~ScoreRunner();

  /// Queues a request. kOverloaded when too many wait.
  Result<std::shared_ptr<ScoreStream>> submit(std::vector<std::int32_t> token_ids);

 private:
  void work();

  Engine& engine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<ScoreStream>> waiting_;  // guarded by mutex_
  bool is_ending_ = false;                            // guarded by mutex_
  std::thread thread_;
};

}  // namespace dsl::serving
