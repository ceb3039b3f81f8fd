// Whether tokens advance: the heartbeat of an engine with work, a canary for an idle one.
#pragma once

#include <chrono>
#include <optional>

#include "engine/engine.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Whoever asks an idle engine makes it generate a token now and then, at the lowest priority; an
/// engine that nobody asks rests. Asked every second, it knows of a wedged engine within 5 s.
/// Non-owning of the engine, which must outlive it. Thread-compatible.
class HealthCheck {
 public:
  explicit HealthCheck(Engine& engine) : engine_(engine) {}

  /// Why no token advances, or nothing.
  std::optional<Error> problem();

 private:
  using Clock = std::chrono::steady_clock;

  Engine& engine_;
  Clock::time_point next_canary_{};
};

}  // namespace dsl::serving
