#include "engine/engine_follower.h"

#include <utility>

#include "engine/scheduler/step_result.h"

namespace dsl::engine {
namespace {

/// Scored rows on their way to rank 0 at once.
constexpr std::size_t kScoredRowsInFlight = 4;

}  // namespace

Status Follower::run() {
  DSL_TRY(worker_.enter_thread());
  DSL_ASSIGN(receiver_, PlanReceiver::create(wire_));
  while (true) {
    // An idle world waits without limit; the failure detector ends the wait when a rank is lost.
    if (plans_.empty()) DSL_TRY(take_plan());
    const scheduler::StepPlan plan = std::move(plans_.front());
    plans_.pop_front();
    if (plan.kind == scheduler::StepKind::kShutdown) return say_farewell();
    DSL_TRY(run_step(plan));
  }
}

Status Follower::take_plan() {
  const auto patience = worker_.parts().options.step_deadline;
  DSL_ASSIGN(const std::vector<std::byte> bytes, receiver_->take(Deadline::never(), patience));
  DSL_ASSIGN(scheduler::StepPlan plan, scheduler::decode_step_plan(bytes));
  last_plan_received_ = plan.kind == scheduler::StepKind::kShutdown;
  if (!last_plan_received_) {
    DSL_TRY(receiver_->post_next());
    DSL_TRY(worker_.expect(plan));
  }
  plans_.push_back(std::move(plan));
  return {};
}

Status Follower::look_ahead() {
  DSL_TRY(worker_.outbox().reap());
  if (last_plan_received_ || !plans_.empty()) return {};
  DSL_ASSIGN(const bool ready, receiver_->ready());
  return ready ? take_plan() : Status();
}

Status Follower::run_step(const scheduler::StepPlan& plan) {
  DSL_ASSIGN(const scheduler::StepRows rows, worker_.apply(plan));
  DSL_ASSIGN(const std::vector<sampling::SampledToken> tokens,
             worker_.run(
                 plan, rows, [this](std::span<const float> row) { return send_scored_row(row); },
                 [this] { return look_ahead(); }));
  if (!worker_.samples()) return {};
  return worker_.outbox().send(
      0, make_tag(wire::Channel::kTokens, kTokensLane, plan.step),
      std::make_shared<const std::vector<std::byte>>(
          scheduler::encode_result(plan.step, results_of(rows).shapes, tokens)));
}

Status Follower::send_scored_row(std::span<const float> row) {
  const auto patience = step_patience(worker_.parts().options.step_deadline,
                                      worker_.parts().options.max_batch_tokens);
  DSL_TRY(worker_.outbox().wait_until_at_most(kScoredRowsInFlight, Deadline::after(patience)));
  const auto bytes = std::as_bytes(row);
  return worker_.outbox().send(
      0, make_tag(wire::Channel::kTokens, kScoredRowsLane, num_scored_rows_++),
      std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
}

Status Follower::say_farewell() {
  const auto deadline = Deadline::after(worker_.parts().options.step_deadline);
  DSL_TRY(worker_.outbox().send(0, make_tag(wire::Channel::kTokens, kFarewellLane, 0),
                                std::make_shared<const std::vector<std::byte>>(kFarewellBytes)));
  return worker_.outbox().wait_until_at_most(0, deadline);
}

}  // namespace dsl::engine
