// The engine port of rank 0: requests, health, metrics and draining of an Engine
// (docs/process-contract.md).
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/serving/engine_port/engine_metrics.h"
#include "engine/serving/engine_port/generate_stream.h"
#include "engine/serving/engine_port/health_check.h"
#include "engine/serving/engine_port/rank_board.h"
#include "engine/serving/engine_port/score_stream.h"
#include "engine/serving/http/http_server.h"
#include "engine/serving/text_service/text_codec.h"
#include "transport/wire/wire.h"

namespace dsl::serving {

/// What /v1/info and /metrics say beside the engine's own figures.
struct ServiceDescription {
  std::string model;              // as given on the command line
  std::string served_model_name;  // what clients and metrics call it
  int tp = 1;
  int pp = 1;
  DType compute_dtype = DType::kBF16;
  bool fp8_activations = false;
  bool fp8_cache = false;
  std::vector<wire::LinkReport> links;  // of rank 0
};

/// Non-owning of the engine, which must be shut down before the service is destroyed and destroyed
/// after it, and of the ranks' board, which must outlive it. fail(), begin_drain() and
/// num_answers() are thread-safe; the rest belongs to the server's thread.
class EngineService final : public HttpHandler {
 public:
  EngineService(Engine& engine, const RankBoard& ranks, TextCodec text,
                ServiceDescription description, std::string secret);

  /// Ends every answer in progress with this error and refuses requests from now on.
  void fail(const Error& error);
  /// Refuses new requests from now on; answers in progress go on.
  void begin_drain();
  /// Answers that have not been sent to their end.
  std::size_t num_answers();

  std::optional<HttpResponse> refuse(const HttpHead& head) override;
  HttpResponse handle(const HttpRequest& request) override;

 private:
  Result<HttpResponse> generate(const std::string& body);
  Result<HttpResponse> score(const std::string& body);
  Result<HttpResponse> stop(const std::string& body);
  Result<std::vector<std::int32_t>> encode(const PromptInput& prompt) const;
  HttpResponse info() const;
  HttpResponse health();
  HttpResponse metrics();
  HttpResponse drain();
  /// Why no new request is taken, or nothing.
  std::optional<HttpResponse> refuse_work();
  HttpResponse refuse_overload(const Error& error) const;
  std::optional<Error> failure();
  void remember(const std::shared_ptr<GenerateStream>& stream);
  void remember(const std::shared_ptr<ScoreStream>& stream);

  Engine& engine_;
  const RankBoard& ranks_;
  const TextCodec text_;
  const ServiceDescription description_;
  const std::string secret_;
  EngineMetrics metrics_;
  HealthCheck health_check_;
  ScoreRunner scores_;
  std::atomic<bool> is_draining_{false};

  std::mutex mutex_;
  std::optional<Error> failure_;                           // guarded by mutex_
  std::vector<std::weak_ptr<GenerateStream>> streams_;     // guarded by mutex_
  std::vector<std::weak_ptr<ScoreStream>> score_streams_;  // guarded by mutex_
};

}  // namespace dsl::serving
