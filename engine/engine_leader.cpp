#include "engine/engine_leader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/engine_follower.h"
#include "engine/scheduler/step_result.h"

namespace dsl::engine {
namespace {

/// How often an idle engine looks whether the other ranks still live.
constexpr auto kIdleCheck = std::chrono::milliseconds(200);

tl::unexpected<Error> bad_field(std::string_view field, std::string_view expected,
                                std::int64_t found) {
  return fail(ErrorCode::kRequestInvalid, "correct the field",
              "request field {}: expected {}, found {}", field, expected, found);
}

Status validate_tokens(std::span<const std::int32_t> token_ids, std::int64_t vocab_size) {
  if (token_ids.empty()) return bad_field("token_ids", "at least one token", 0);
  for (const std::int32_t id : token_ids) {
    if (id >= 0 && id < vocab_size) continue;
    return bad_field("token_ids", fmt::format("ids from 0 to {}", vocab_size - 1), id);
  }
  return {};
}

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
      scheduler_(scheduler_options(worker)) {
  if (worker.parts().wire != nullptr) {
    plan_sender_.emplace(*worker.parts().wire, worker.outbox());
  }
}

Leader::~Leader() { shutdown(); }

Status Leader::start(std::function<void(const Error&)> on_failure) {
  on_failure_ = std::move(on_failure);
  DSL_TRY(watch_world());
  thread_ = std::thread([this] { run(); });
  return {};
}

// ---- Called from any thread.

Status Leader::check_context(std::int64_t num_tokens) const {
  if (num_tokens <= max_context_) return {};
  return fail(ErrorCode::kContextOverflow, "shorten the prompt or start with more kv tokens",
              "a request needs {} positions: the context of this deployment is {}", num_tokens,
              max_context_);
}

Status Leader::validate(const GenerateRequest& request) const {
  const std::int64_t vocab_size = worker_.parts().config.vocab_size;
  DSL_TRY(validate_tokens(request.prompt_token_ids, vocab_size));
  if (!request.emitted_token_ids.empty()) {
    DSL_TRY(validate_tokens(request.emitted_token_ids, vocab_size));
  }
  if (request.max_tokens < 0) return bad_field("max_tokens", "0 or more", request.max_tokens);
  DSL_TRY(sampling::validate(request.sampling, vocab_size));
  return check_context(static_cast<std::int64_t>(request.prompt_token_ids.size() +
                                                 request.emitted_token_ids.size()) +
                       1);
}

Status Leader::check_open() const {
  if (ended_) return tl::unexpected<Error>(*ended_);
  const auto num_queued = num_waiting_ + static_cast<std::int64_t>(messages_.size());
  if (num_queued >= worker_.parts().options.max_waiting) {
    return fail(ErrorCode::kOverloaded, "try again later or send to another replica",
                "the queue is full: {} requests wait", num_queued);
  }
  return {};
}

void Leader::post(Message message) {
  board_.begin_request();
  messages_.push_back(std::move(message));
  posted_.notify_one();
}

Result<Engine::RequestId> Leader::submit(GenerateRequest request, Engine::EventSink sink) {
  DSL_TRY(validate(request));
  const std::int64_t room =
      max_context_ - static_cast<std::int64_t>(request.prompt_token_ids.size());
  const std::int64_t max_new_tokens =
      request.max_tokens == 0 ? room : std::min(request.max_tokens, room);
  Generation generation(std::move(request), std::move(sink), max_new_tokens,
                        worker_.parts().config.eos_token_ids);

  const std::lock_guard lock(mutex_);
  DSL_TRY(check_open());
  const SequenceId id{next_id_++};
  post(Submission{id, std::move(generation)});
  return static_cast<Engine::RequestId>(id);
}

void Leader::cancel(Engine::RequestId id) {
  const std::lock_guard lock(mutex_);
  messages_.emplace_back(Cancellation{SequenceId{id}});
  posted_.notify_one();
}

Status Leader::score(std::span<const std::int32_t> token_ids,
                     std::function<void(std::span<const float>)> rows) {
  DSL_TRY(validate_tokens(token_ids, worker_.parts().config.vocab_size));
  DSL_TRY(check_context(static_cast<std::int64_t>(token_ids.size())));
  const auto job = std::make_shared<ScoreJob>(std::move(rows));
  {
    const std::lock_guard lock(mutex_);
    DSL_TRY(check_open());
    post(ScoreSubmission{SequenceId{next_id_++}, {token_ids.begin(), token_ids.end()}, job});
  }
  return job->wait();
}

void Leader::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    posted_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

// ---- The engine thread.

void Leader::run() {
  Status status = serve();
  if (status.has_value()) status = end_world();
  Error error{ErrorCode::kCancelled, "the engine was shut down", "submit to another replica"};
  if (!status.has_value()) error = status.error();
  {
    const std::lock_guard lock(mutex_);
    ended_ = error;
  }
  end_all(status.has_value() ? FinishReason::kCancelled : FinishReason::kError, error);
  in_flight_.clear();
  if (!status.has_value()) {
    if (worker_.parts().wire != nullptr) worker_.parts().wire->abort(error);
    farewells_.clear();
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
  std::deque<Message> taken;
  {
    std::unique_lock lock(mutex_);
    num_waiting_ = scheduler_.num_waiting();
    while (idle && messages_.empty() && !stopping_) {
      if (posted_.wait_for(lock, kIdleCheck) == std::cv_status::timeout) {
        lock.unlock();
        DSL_TRY(check_world());
        lock.lock();
      }
    }
    if (stopping_) return false;
    taken.swap(messages_);
    num_waiting_ += static_cast<std::int64_t>(taken.size());
  }
  for (Message& message : taken) {
    std::visit([this](auto& value) { handle(std::move(value)); }, message);
  }
  return true;
}

void Leader::handle(Submission submission) {
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

void Leader::handle(ScoreSubmission submission) {
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

void Leader::handle(Cancellation cancellation) {
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
  StepInFlight step = describe(plan, rows);
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

Leader::StepInFlight Leader::describe(const scheduler::StepPlan& plan,
                                      const scheduler::StepRows& rows) const {
  StepInFlight step;
  step.step = plan.step;
  step.record.num_rows = plan.num_rows();
  step.shapes = results_of(rows).shapes;
  for (std::size_t i = 0; i < plan.segments.size(); ++i) {
    const auto& segment = rows.segments[i];
    const SequenceId id = plan.segments[i].id;
    step.record.has_prompt_rows = step.record.has_prompt_rows || segment.is_prompt;
    if (segment.sequence->goal == scheduler::SequenceGoal::kScore) {
      step.scored.push_back(
          {id, segment.first_position, segment.num_rows, segment.ends_known_tokens});
    } else if (segment.ends_known_tokens) {
      step.sampled.push_back(id);
    }
  }
  return step;
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
  std::deque<Message> unhandled;
  {
    const std::lock_guard lock(mutex_);
    unhandled.swap(messages_);
  }
  for (Message& message : unhandled) {
    if (auto* submission = std::get_if<Submission>(&message)) {
      generations_.emplace(submission->id, std::move(submission->generation));
    } else if (auto* score = std::get_if<ScoreSubmission>(&message)) {
      scores_.emplace(score->id, std::move(score->job));
    }
  }
  for (auto& [id, generation] : generations_) generation.end(reason, error);
  for (auto& [id, job] : scores_) job->end(tl::unexpected<Error>(error));
  generations_.clear();
  scores_.clear();
}

Status Leader::watch_world() {
  if (!plan_sender_) return {};
  for (int rank = 1; rank < worker_.parts().wire->world_size(); ++rank) {
    DSL_ASSIGN(
        PostedReceive farewell,
        PostedReceive::post(*worker_.parts().wire, rank,
                            make_tag(wire::Channel::kTokens, kFarewellLane, 0), kFarewellBytes));
    farewells_.push_back(std::move(farewell));
  }
  return {};
}

Status Leader::check_world() {
  for (std::size_t i = 0; i < farewells_.size(); ++i) {
    DSL_ASSIGN(const bool done, farewells_[i].done());
    if (!done) continue;
    DSL_TRY(farewells_[i].take(Deadline::after(std::chrono::seconds(0))));
    return fail(ErrorCode::kPeerLost, "look at the log of that rank",
                "rank {} left the world while it was in use", i + 1);
  }
  return {};
}

Status Leader::end_world() {
  if (!plan_sender_) return {};
  const auto deadline = Deadline::after(worker_.parts().options.step_deadline);
  scheduler::StepPlan last;
  last.kind = scheduler::StepKind::kShutdown;
  DSL_TRY(plan_sender_->broadcast(num_plans_++, scheduler::encode(last)));
  for (PostedReceive& farewell : farewells_) DSL_TRY(farewell.take(deadline));
  farewells_.clear();
  return worker_.outbox().wait_until_at_most(0, deadline);
}

}  // namespace dsl::engine
