#include <algorithm>

#include "engine/serving/gateway/engine_visit_async.h"

namespace dsl::serving {

EngineVisit::EngineVisit(EnginePool& pool, const EngineKey& engine, OutstandingTokens outstanding,
                         ClientCall& call, ClientCall*& active)
    : pool_(pool), engine_(engine), outstanding_(outstanding), call_(call), active_(active) {
  pool_.router().add_work(engine_, outstanding_.num_prefill + outstanding_.num_expected);
  pool_.enter(engine_, &call_);
  active_ = &call_;
}

EngineVisit::~EngineVisit() {
  active_ = nullptr;
  pool_.leave(engine_, &call_);
  pool_.router().add_work(engine_, -(outstanding_.num_prefill + outstanding_.num_expected));
}

/// The first token says that the prompt is done.
void EngineVisit::note_tokens(std::int64_t num_tokens) {
  const std::int64_t num_done = std::min(outstanding_.num_expected, num_tokens);
  pool_.router().add_work(engine_, -(outstanding_.num_prefill + num_done));
  outstanding_.num_prefill = 0;
  outstanding_.num_expected -= num_done;
}

}  // namespace dsl::serving
