// The NDJSON answer to one generate request: engine events become lines of token ids and text.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/serving/engine_port/engine_metrics.h"
#include "engine/serving/engine_port/request_json.h"
#include "engine/serving/http/http_server.h"
#include "engine/serving/text_service/text_codec.h"

namespace dsl::serving {

/// Made and read by the server's thread; the engine's thread and fail() add to it. Non-owning of
/// engine and metrics, which must outlive the stream's last take() or abandon().
class GenerateStream final : public ResponseStream,
                             public std::enable_shared_from_this<GenerateStream> {
 public:
  /// Submits the request. `call.request` is complete; `text` is the answer's text, absent for
  /// models without tokenizer.
  static Result<std::shared_ptr<GenerateStream>> open(Engine& engine, EngineMetrics& metrics,
                                                      GenerateCall call,
                                                      std::optional<TextStream> text);

  /// Ends the answer with an error line unless it has ended. Thread-safe.
  void fail(const Error& error);

  const std::string& stream_id() const { return stream_id_; }
  /// Ends the answer as a stop string does: its client has found one. False when it had ended.
  bool stop();

  void on_ready(std::function<void()> wake) override;
  Piece take() override;
  void abandon() override;

 private:
  /// What one piece says of new tokens.
  struct Batch {
    std::vector<sampling::SampledToken> tokens;
    std::string text;
  };

  using Clock = std::chrono::steady_clock;

  GenerateStream(Engine& engine, EngineMetrics& metrics, const GenerateCall& call,
                 std::optional<TextStream> text);
  void push(GenerateEvent event);
  void add_tokens(GenerateEvent& event, Batch& batch);
  bool is_silent_stop_token(const GenerateEvent& event, std::size_t index) const;
  std::string batch_line(const Batch& batch) const;
  std::string last_line(const GenerateEvent& event) const;
  RequestOutcome outcome_of(const GenerateEvent& event) const;
  void note_tokens(std::int64_t count);
  void note_end(RequestOutcome outcome, const GenerateEvent& last);

  Engine& engine_;
  EngineMetrics& metrics_;
  const std::string request_id_;
  const std::string stream_id_;
  const std::vector<std::int32_t> stop_token_ids_;
  const std::int64_t num_prompt_tokens_;
  const std::uint64_t seed_;
  const bool wants_logprobs_;
  const bool wants_text_;
  const Clock::time_point arrived_ = Clock::now();

  // The server thread's own.
  std::optional<TextStream> text_;
  std::optional<Engine::RequestId> id_;
  std::int64_t num_completion_tokens_ = 0;
  bool is_stopped_ = false;  // by a stop string, here or at the client
  std::optional<Clock::time_point> last_tokens_;
  bool is_noted_ = false;  // in metrics and log, as ended

  std::mutex mutex_;
  std::vector<GenerateEvent> events_;  // guarded by mutex_
  std::function<void()> wake_;         // guarded by mutex_; empty when nobody takes any more
  bool has_final_event_ = false;       // guarded by mutex_
};

}  // namespace dsl::serving
