#include "engine/engine_leader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/engine_follower.h"
#include "engine/request_checks.h"
#include "engine/scheduler/step_result.h"

namespace dsl::engine {
namespace {

scheduler::SchedulerOptions scheduler_options(const RankWorker& worker) {
  const auto& parts = worker.parts();
  return {parts.options.max_batch_tokens, model::kBlockTokens, parts.num_blocks, parts.plan.pp(),
          parts.options.prefix_cache};
}

}  // namespace

Leader::Leader(RankWorker& worker, std::int64_t max_context, double read_bytes_per_s)
    : worker_(worker),
      max_context_(max_context),
      board_(worker.parts().options.max_waiting, read_bytes_per_s),
      inbox_(worker.parts().options.max_waiting, board_),
      scheduler_(scheduler_options(worker)) {
  if (worker.parts().wire != nullptr) {
    plan_sender_.emplace(*worker.parts().wire, worker.outbox());
  }
}

Leader::~Leader() { shutdown(); }

Status Leader::start(std::function<void(const Error&)> on_failure) {
  on_failure_ = std::move(on_failure);
  if (plan_sender_) {
    DSL_ASSIGN(farewells_, Farewells::await(*worker_.parts().wire));
  }
  thread_ = std::thread([this] { run(); });
  return {};
}

// ---- Called from any thread.

Result<Engine::RequestId> Leader::submit(GenerateRequest request, Engine::EventSink sink) {
  DSL_TRY(check_request(request, worker_.parts().config.vocab_size, context_limit()));
  const std::int64_t room =
      max_context_ - static_cast<std::int64_t>(request.prompt_token_ids.size());
  const std::int64_t max_new_tokens =
      request.max_tokens == 0 ? room : std::min(request.max_tokens, room);
  DSL_ASSIGN(const SequenceId id,
             inbox_.submit(Generation(std::move(request), std::move(sink), max_new_tokens,
                                      worker_.parts().config.eos_token_ids)));
  return static_cast<Engine::RequestId>(id);
}

ContextLimit Leader::context_limit() const {
  return {max_context_, worker_.parts().config.max_position_embeddings};
}

void Leader::cancel(Engine::RequestId id) { inbox_.cancel(SequenceId{id}); }

Status Leader::score(std::span<const std::int32_t> token_ids,
                     std::function<void(std::span<const float>)> rows) {
  DSL_TRY(check_scored_tokens(token_ids, worker_.parts().config.vocab_size, context_limit()));
  const auto job = std::make_shared<ScoreJob>(std::move(rows));
  DSL_TRY(inbox_.score({token_ids.begin(), token_ids.end()}, job));
  return job->wait();
}

void Leader::shutdown() {
  inbox_.stop();
  if (thread_.joinable()) thread_.join();
}

// ---- The engine thread.

void Leader::run() {
  Status status = serve();
  if (status.has_value()) status = end_world();
  Error error{ErrorCode::kCancelled, "the engine was shut down", "submit to another replica"};
  if (!status.has_value()) error = status.error();
  end_all(status.has_value() ? FinishReason::kCancelled : FinishReason::kError, error);
  in_flight_.clear();
  if (!status.has_value()) {
    if (worker_.parts().wire != nullptr) worker_.parts().wire->abort(error);
    farewells_.drop();
    if (on_failure_) on_failure_(error);
  }
}

Status Leader::serve() {
  DSL_TRY(worker_.enter_thread());
  const auto pipeline = static_cast<std::size_t>(worker_.parts().plan.pp());
  while (true) {
    publish_stats();
    DSL_ASSIGN(const bool go_on,
               take_messages(/*idle=*/in_flight_.empty() && !scheduler_.has_work()));
    if (!go_on) break;
    if (in_flight_.size() < pipeline) {
      if (auto plan = scheduler_.next_plan()) {
        DSL_TRY(launch(std::move(*plan)));
        continue;
      }
    }
    if (!in_flight_.empty()) {
      DSL_TRY(collect());
    } else {
      DSL_CHECK(!scheduler_.has_work(), "{} sequences wait and {} run, but no step can be formed",
                scheduler_.num_waiting(), scheduler_.num_running());
    }
  }
  while (!in_flight_.empty()) DSL_TRY(collect());
  return {};
}

Result<bool> Leader::take_messages(bool idle) {
  DSL_ASSIGN(auto taken,
             inbox_.take(scheduler_.num_waiting(), idle, [this] { return farewells_.check(); }));
  if (!taken) return false;
  for (RequestInbox::Message& message : *taken) {
    std::visit([this](auto& value) { handle(std::move(value)); }, message);
  }
  return true;
}

void Leader::handle(RequestInbox::Submission submission) {
  Generation& generation = submission.generation;
  if (const auto reason = generation.reason_to_end_at_once()) {
    board_.end_request();
    return generation.end(*reason);
  }
  const Status queued = scheduler_.add(generation.sequence(submission.id), generation.terms());
  if (!queued.has_value()) {
    board_.end_request();
    return generation.end(FinishReason::kError, queued.error());
  }
  if (generation.is_canary()) canary_ = submission.id;
  generations_.emplace(submission.id, std::move(generation));
}

void Leader::handle(RequestInbox::ScoreSubmission submission) {
  scheduler::SequenceStart start;
  start.id = submission.id;
  start.goal = scheduler::SequenceGoal::kScore;
  start.num_prompt_tokens = static_cast<std::int64_t>(submission.token_ids.size());
  start.token_ids = std::move(submission.token_ids);
  const std::int64_t num_tokens = start.num_prompt_tokens;
  Status queued = scheduler_.add(std::move(start), {num_tokens});
  if (!queued.has_value()) {
    board_.end_request();
    return submission.job->end(std::move(queued));
  }
  scores_.emplace(submission.id, std::move(submission.job));
}

void Leader::handle(RequestInbox::Cancellation cancellation) {
  auto cancelled = generations_.extract(cancellation.id);
  if (cancelled.empty()) return;
  scheduler_.remove(cancellation.id);
  board_.end_request();
  cancelled.mapped().end(FinishReason::kCancelled);
}

void Leader::publish_stats() {
  std::int64_t num_canaries_running = 0;
  std::int64_t num_canaries_waiting = 0;
  if (canary_) {
    const auto found = generations_.find(*canary_);
    if (found == generations_.end()) {
      canary_.reset();
    } else {
      ++(found->second.has_started() ? num_canaries_running : num_canaries_waiting);
    }
  }
  board_.note(scheduler_, num_canaries_running, num_canaries_waiting);
}

Status Leader::launch(scheduler::StepPlan plan) {
  const auto begin = StatsBoard::Clock::now();
  for (const auto& start : plan.started) {
    const auto found = generations_.find(start.id);
    if (found != generations_.end())
      found->second.mark_started(static_cast<std::int64_t>(start.cached_blocks.size()) *
                                 model::kBlockTokens);
  }
  if (plan_sender_) {
    DSL_TRY(worker_.outbox().reap());
    DSL_TRY(plan_sender_->broadcast(num_plans_++, scheduler::encode(plan)));
  }
  DSL_ASSIGN(const scheduler::StepRows rows, worker_.apply(plan));
  StepInFlight step(plan, rows);
  if (!worker_.samples()) {
    DSL_ASSIGN(step.tokens_receive,
               PostedReceive::post(*worker_.parts().wire, worker_.parts().plan.sampling_rank(),
                                   make_tag(wire::Channel::kTokens, kTokensLane, step.step),
                                   scheduler::encoded_size(step.shapes)));
  }

  std::size_t entry = 0;
  std::int64_t row_of_entry = 0;
  const auto scored = [&](std::span<const float> row) -> Status {
    const ScoredRows& rows_of = step.scored[entry];
    deliver_scored(rows_of.id, rows_of.first_position + row_of_entry, row);
    if (++row_of_entry == rows_of.num_rows) {
      ++entry;
      row_of_entry = 0;
    }
    return {};
  };
  const auto progress = [&]() -> Status {
    board_.beat();
    return plan_sender_ ? worker_.outbox().reap() : Status();
  };
  step.begin = begin;
  const auto compute_begin = StatsBoard::Clock::now();
  DSL_ASSIGN(step.tokens, worker_.run(plan, rows, scored, progress));
  step.record.compute = StatsBoard::Clock::now() - compute_begin;
  DSL_ASSIGN(step.record.weight_bytes, worker_.take_bytes_read());
  in_flight_.push_back(std::move(step));
  return {};
}

Status Leader::collect() {
  StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (step.tokens_receive) {
    std::int64_t num_rows = step.record.num_rows;
    for (const StepInFlight& behind : in_flight_) num_rows += behind.record.num_rows;
    board_.await_rows(num_rows);
    DSL_TRY(receive_results(step));
    board_.await_rows(0);
  }
  step.record.total = StatsBoard::Clock::now() - step.begin;
  board_.note(step.record);
  finish_scored(step);
  for (std::size_t i = 0; i < step.sampled.size(); ++i) {
    deliver_token(step.sampled[i], std::move(step.tokens[i]));
  }
  return {};
}

Status Leader::receive_results(StepInFlight& step) {
  const auto patience = step_patience(worker_.parts().options.step_deadline, step.record.num_rows);
  const int source = worker_.parts().plan.sampling_rank();
  const auto row_bytes =
      static_cast<std::size_t>(worker_.parts().config.vocab_size) * sizeof(float);
  for (const ScoredRows& rows : step.scored) {
    for (std::int64_t i = 0; i < rows.num_rows; ++i) {
      DSL_ASSIGN(PostedReceive receive,
                 PostedReceive::post(
                     *worker_.parts().wire, source,
                     make_tag(wire::Channel::kTokens, kScoredRowsLane, num_scored_rows_received_++),
                     row_bytes));
      DSL_ASSIGN(const std::vector<std::byte> bytes, receive.take(Deadline::after(patience)));
      std::vector<float> row(bytes.size() / sizeof(float));
      std::memcpy(row.data(), bytes.data(), bytes.size());
      deliver_scored(rows.id, rows.first_position + i, row);
    }
  }
  DSL_ASSIGN(const std::vector<std::byte> bytes,
             step.tokens_receive->take(Deadline::after(patience)));
  DSL_ASSIGN(step.tokens, scheduler::decode_result(bytes, step.step, step.shapes,
                                                   worker_.parts().config.vocab_size));
  return {};
}

void Leader::deliver_scored(SequenceId id, std::int64_t position, std::span<const float> row) {
  const auto found = scores_.find(id);
  if (found != scores_.end()) found->second->deliver(position, row);
}

void Leader::finish_scored(const StepInFlight& step) {
  for (const ScoredRows& rows : step.scored) {
    if (!rows.is_last) continue;
    auto finished = scores_.extract(rows.id);
    if (finished.empty()) continue;
    scheduler_.remove(rows.id);
    board_.end_request();
    finished.mapped()->end({});
  }
}

void Leader::deliver_token(SequenceId id, sampling::SampledToken token) {
  const auto found = generations_.find(id);
  if (found == generations_.end()) return;  // cancelled while the step ran
  const std::int32_t token_id = token.token_id;
  if (!found->second.deliver(std::move(token))) return scheduler_.append(id, token_id);
  scheduler_.remove(id);
  board_.end_request();
  generations_.erase(found);
}

// ---- The end of requests and of the world.

void Leader::end_all(FinishReason reason, const Error& error) {
  for (RequestInbox::Message& message : inbox_.close(error)) {
    if (auto* submission = std::get_if<RequestInbox::Submission>(&message)) {
      generations_.emplace(submission->id, std::move(submission->generation));
    } else if (auto* score = std::get_if<RequestInbox::ScoreSubmission>(&message)) {
      scores_.emplace(score->id, std::move(score->job));
    }
  }
  for (auto& [id, generation] : generations_) generation.end(reason, error);
  for (auto& [id, job] : scores_) job->end(tl::unexpected<Error>(error));
  generations_.clear();
  scores_.clear();
}

Status Leader::end_world() {
  if (!plan_sender_) return {};
  const auto deadline = Deadline::after(worker_.parts().options.step_deadline);
  scheduler::StepPlan last;
  last.kind = scheduler::StepKind::kShutdown;
  DSL_TRY(plan_sender_->broadcast(num_plans_++, scheduler::encode(last)));
  DSL_TRY(farewells_.take(deadline));
  return worker_.outbox().wait_until_at_most(0, deadline);
}

}  // namespace dsl::engine
