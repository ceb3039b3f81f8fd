#include "tests/unit/engine/in_process_world.h"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace dsl::testing {

struct PendingGeneration::State {
  std::mutex mutex;
  std::condition_variable ended;
  bool finished = false;
  Generated result;
};

PendingGeneration::PendingGeneration() : state_(std::make_shared<State>()) {}

Result<PendingGeneration> PendingGeneration::submit(Engine& engine, GenerateRequest request) {
  PendingGeneration pending;
  const auto sink = [state = pending.state_](GenerateEvent event) {
    const std::lock_guard lock(state->mutex);
    for (auto& token : event.tokens) {
      state->result.token_ids.push_back(token.token_id);
      state->result.tokens.push_back(std::move(token));
    }
    if (!event.finished) return;
    state->result.finish_reason = event.finish_reason;
    state->result.timings = event.timings;
    state->result.cached_prompt_tokens = event.cached_prompt_tokens;
    state->result.error = event.error;
    state->finished = true;
    state->ended.notify_all();
  };
  DSL_ASSIGN(pending.id_, engine.submit(std::move(request), sink));
  return pending;
}

Generated PendingGeneration::wait() {
  std::unique_lock lock(state_->mutex);
  state_->ended.wait(lock, [&] { return state_->finished; });
  return state_->result;
}

Result<std::unique_ptr<InProcessWorld>> InProcessWorld::start(const EngineOptions& options) {
  return start_with_silent_rank(options, 0);
}

Result<std::unique_ptr<InProcessWorld>> InProcessWorld::start_over(const EngineOptions& options,
                                                                   const WrapWire& wrap) {
  return start(options, 0, wrap);
}

Result<std::unique_ptr<InProcessWorld>> InProcessWorld::start_with_silent_rank(
    const EngineOptions& options, std::size_t silent_rank) {
  return start(
      options, silent_rank,
      [](std::unique_ptr<wire::Wire> wire) -> std::unique_ptr<wire::Wire> { return wire; });
}

Result<std::unique_ptr<InProcessWorld>> InProcessWorld::start(const EngineOptions& options,
                                                              std::size_t silent_rank,
                                                              const WrapWire& wrap) {
  const int size = options.tp * options.pp;
  std::unique_ptr<InProcessWorld> result(new InProcessWorld(size));
  for (int rank = 0; rank < size; ++rank) {
    result->wires_.push_back(wrap(result->world_.make_wire(rank)));
  }

  std::vector<Result<std::unique_ptr<Engine>>> created(static_cast<std::size_t>(size));
  std::vector<std::thread> creators;
  for (std::size_t rank = 0; rank < created.size(); ++rank) {
    creators.emplace_back([&, rank] {
      created[rank] = Engine::create(options, result->wires_[rank].get(), nullptr);
      if (!created[rank].has_value()) result->wires_[rank].reset();  // its peers need not wait
    });
  }
  for (std::thread& creator : creators) creator.join();
  for (auto& engine : created) {
    if (!engine.has_value() && engine.error().code != ErrorCode::kPeerLost) {
      return tl::unexpected<Error>(std::move(engine).error());
    }
  }
  for (auto& engine : created) {
    DSL_ASSIGN(auto moved, std::move(engine));
    result->engines_.push_back(std::move(moved));
  }

  result->outcomes_.resize(static_cast<std::size_t>(size - 1));
  for (std::size_t rank = 1; rank < result->engines_.size(); ++rank) {
    if (rank == silent_rank) continue;
    result->followers_.emplace_back([world = result.get(), rank] {
      Status& outcome = world->outcomes_[rank - 1];
      outcome = world->engines_[rank]->follow();
      if (!outcome.has_value()) world->spread(outcome.error());
    });
  }
  DSL_TRY(result->leader().start([world = result.get()](const Error& error) {
    world->failure_ = error;
    world->spread(error);
  }));
  return result;
}

InProcessWorld::~InProcessWorld() { shutdown(); }

std::vector<Status> InProcessWorld::shutdown() {
  if (!engines_.empty()) leader().shutdown();
  for (std::thread& follower : followers_) {
    if (follower.joinable()) follower.join();
  }
  return outcomes_;
}

Generated InProcessWorld::generate(GenerateRequest request) {
  auto pending = PendingGeneration::submit(leader(), std::move(request));
  if (!pending.has_value()) {
    Generated refused;
    refused.error = std::move(pending).error();
    return refused;
  }
  return pending->wait();
}

Result<std::vector<float>> InProcessWorld::score(std::span<const std::int32_t> token_ids) {
  std::vector<float> logits;
  DSL_TRY(leader().score(token_ids, [&](std::span<const float> rows) {
    logits.insert(logits.end(), rows.begin(), rows.end());
  }));
  return logits;
}

}  // namespace dsl::testing
