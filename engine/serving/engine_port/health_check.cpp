#include "engine/serving/engine_port/health_check.h"

#include <chrono>
#include <utility>

namespace dsl::serving {
namespace {

constexpr auto kCanaryInterval = std::chrono::seconds(1);
constexpr int kCanaryPriority = -1000;  // below every user's
/// No key has this name, so the canary takes no user's share.
constexpr const char* kCanaryTenant =
    "\x1f"
    "canary";

GenerateRequest canary() {
  GenerateRequest request;
  request.prompt_token_ids = {0};
  request.max_tokens = 1;
  request.ignore_eos = true;
  request.sampling.num_logprobs = -1;
  request.tenant = kCanaryTenant;
  request.priority = kCanaryPriority;
  request.is_canary = true;
  return request;
}

}  // namespace

HealthCheck::HealthCheck(Engine& engine) : engine_(engine), thread_([this] { run(); }) {}

HealthCheck::~HealthCheck() {
  {
    const std::scoped_lock lock(mutex_);
    is_ending_ = true;
  }
  ending_.notify_all();
  thread_.join();
}

std::optional<Error> HealthCheck::problem() {
  const EngineStats stats = engine_.stats();
  if (stats.is_stuck()) {
    return Error{
        ErrorCode::kDeadlineExceeded,
        fmt::format("nothing has moved in the engine for {} ms, expected at most {} ms: {} "
                    "requests run, {} wait",
                    stats.silence.count(), stats.patience.count(), stats.num_running,
                    stats.num_waiting),
        "look at the logs of all ranks; start the replica again"};
  }
  const std::scoped_lock lock(mutex_);
  return refusal_;
}

void HealthCheck::run() {
  std::unique_lock lock(mutex_);
  do {
    lock.unlock();
    std::optional<Error> refusal;
    if (!engine_.stats().is_busy) {
      const auto submitted = engine_.submit(canary(), [](const GenerateEvent&) {});
      if (!submitted) refusal = submitted.error();
    }
    lock.lock();
    refusal_ = std::move(refusal);
  } while (!ending_.wait_for(lock, kCanaryInterval, [this] { return is_ending_; }));
}

}  // namespace dsl::serving
