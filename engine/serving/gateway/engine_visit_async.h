// A request's stay at an engine. For .cpp files: holds coroutines.
#pragma once

#include <cstdint>

#include "engine/serving/gateway/engine_pool_async.h"

namespace dsl::serving {

/// Tokens that an engine has yet to compute for a request, as far as one can know.
struct OutstandingTokens {
  std::int64_t num_prefill = 0;
  std::int64_t num_expected = 0;
};

/// Keeps the engine's accounts, whatever way the stay ends. Belongs to the loop's thread.
class EngineVisit {
 public:
  /// Non-owning of all. `active` is where others find the call to cancel it.
  EngineVisit(EnginePool& pool, const EngineKey& engine, OutstandingTokens outstanding,
              ClientCall& call, ClientCall*& active);
  EngineVisit(const EngineVisit&) = delete;
  EngineVisit& operator=(const EngineVisit&) = delete;
  ~EngineVisit();

  const EngineKey& engine() const { return engine_; }
  void note_tokens(std::int64_t num_tokens);

 private:
  EnginePool& pool_;
  const EngineKey& engine_;
  OutstandingTokens outstanding_;
  ClientCall& call_;
  ClientCall*& active_;
};

}  // namespace dsl::serving
