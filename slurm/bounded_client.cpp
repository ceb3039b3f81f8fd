#include "slurm/bounded_client.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "transport/base/log.h"

namespace dsl::slurm {
namespace {

/// Where a call stands; guarded by the lane's mutex.
enum class CallState { kQueued, kRunning, kDone, kAbandoned };

/// Runs calls one after another on one thread. The thread and the callers share it, because a call
/// may outlive the client that asked for it.
class CallLane {
 public:
  explicit CallLane(std::unique_ptr<Client> inner) : inner_(std::move(inner)) {}

  /// Runs `body` on the lane's thread. None: `until` came first; `late` then gets the result of a
  /// body that was already running.
  template <typename R>
  std::optional<R> call(Deadline::Clock::time_point until, std::function<R(Client&)> body,
                        std::function<void(Client&, R&)> late) {
    struct Slot {
      CallState state = CallState::kQueued;
      std::optional<R> result;
    };
    const auto slot = std::make_shared<Slot>();
    std::unique_lock lock(mutex_);
    queue_.push_back([this, slot, body = std::move(body), late = std::move(late)] {
      {
        const std::lock_guard guard(mutex_);
        if (slot->state == CallState::kAbandoned) return;
        slot->state = CallState::kRunning;
      }
      R result = body(*inner_);
      {
        const std::lock_guard guard(mutex_);
        if (slot->state != CallState::kAbandoned) {
          slot->state = CallState::kDone;
          slot->result = std::move(result);
          done_.notify_all();
          return;
        }
      }
      if (late) late(*inner_, result);
    });
    work_.notify_one();
    const auto is_done = [&] { return slot->state == CallState::kDone; };
    const bool done = done_.wait_until(lock, until, is_done);
    if (done) return std::move(slot->result);
    slot->state = CallState::kAbandoned;
    return std::nullopt;
  }

  /// The thread's loop; ends after stop() when the call at hand is over.
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) break;
      const std::function<void()> next = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      next();
      lock.lock();
      busy_ = false;
    }
  }

  /// True when the thread is between calls and will end at once.
  bool stop() {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
    work_.notify_one();
    return !busy_;
  }

 private:
  const std::unique_ptr<Client> inner_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  bool busy_ = false;
};

class BoundedClient : public Client {
 public:
  BoundedClient(std::unique_ptr<Client> inner, std::chrono::milliseconds call_limit)
      : call_limit_(call_limit),
        lane_(std::make_shared<CallLane>(std::move(inner))),
        thread_([lane = lane_] { lane->serve(); }) {}

  ~BoundedClient() override {
    if (lane_->stop()) {
      thread_.join();
    } else {
      thread_.detach();  // stuck in a call; it owns its share of the lane and ends with it
    }
  }

  Result<ClusterInfo> cluster(Deadline deadline) override {
    return bounded<Result<ClusterInfo>>("read the cluster's configuration", deadline,
                                        [=](Client& c) { return c.cluster(deadline); });
  }
  Result<std::vector<Node>> nodes(Deadline deadline) override {
    return bounded<Result<std::vector<Node>>>("list nodes", deadline,
                                              [=](Client& c) { return c.nodes(deadline); });
  }
  Result<std::vector<Partition>> partitions(Deadline deadline) override {
    return bounded<Result<std::vector<Partition>>>(
        "list partitions", deadline, [=](Client& c) { return c.partitions(deadline); });
  }
  Result<std::vector<Job>> jobs(const JobFilter& filter, Deadline deadline) override {
    return bounded<Result<std::vector<Job>>>("list jobs", deadline,
                                             [=](Client& c) { return c.jobs(filter, deadline); });
  }
  Result<Job> job(JobId id, Deadline deadline) override {
    return bounded<Result<Job>>(fmt::format("look up job {}", id.value), deadline,
                                [=](Client& c) { return c.job(id, deadline); });
  }
  Result<JobId> submit(const JobSpec& spec, Deadline deadline) override {
    return bounded<Result<JobId>>(
        fmt::format("submit job \"{}\"", spec.name), deadline,
        [=](Client& c) { return c.submit(spec, deadline); },
        [](Client& c, Result<JobId>& id) {
          if (!id) return;
          log(LogLevel::kWarning, "job {} was accepted too late and is cancelled", id->value);
          if (const auto status = c.cancel(*id, Deadline::never()); !status) {
            log(LogLevel::kError, "{}", status.error().to_string());
          }
        });
  }
  Result<StartEstimate> estimate_start(const JobSpec& spec, Deadline deadline) override {
    return bounded<Result<StartEstimate>>(
        fmt::format("plan job \"{}\"", spec.name), deadline,
        [=](Client& c) { return c.estimate_start(spec, deadline); });
  }
  Status cancel(JobId id, Deadline deadline) override {
    return bounded<Status>(fmt::format("cancel job {}", id.value), deadline,
                           [=](Client& c) { return c.cancel(id, deadline); });
  }
  Status signal_batch(JobId id, int signal, Deadline deadline) override {
    return bounded<Status>(fmt::format("signal job {}", id.value), deadline,
                           [=](Client& c) { return c.signal_batch(id, signal, deadline); });
  }
  Status update_comment(JobId id, const std::string& comment, Deadline deadline) override {
    return bounded<Status>(fmt::format("update the comment of job {}", id.value), deadline,
                           [=](Client& c) { return c.update_comment(id, comment, deadline); });
  }

 private:
  template <typename R>
  R bounded(std::string operation, Deadline deadline, std::function<R(Client&)> body,
            std::function<void(Client&, R&)> late = nullptr) {
    const auto begin = Deadline::Clock::now();
    const auto until = std::min(begin + call_limit_, deadline.time_point());
    auto result = lane_->call<R>(until, std::move(body), std::move(late));
    if (result) return std::move(*result);
    const std::chrono::duration<double> waited = Deadline::Clock::now() - begin;
    return fail(ErrorCode::kSlurmController,
                "see that slurmctld runs and can be reached (scontrol ping), then try again",
                "Slurm: cannot {}: no answer within {:.1f} s", operation, waited.count());
  }

  const std::chrono::milliseconds call_limit_;
  const std::shared_ptr<CallLane> lane_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Client> make_bounded_client(std::unique_ptr<Client> inner,
                                            std::chrono::milliseconds call_limit) {
  return std::make_unique<BoundedClient>(std::move(inner), call_limit);
}

}  // namespace dsl::slurm
