#include "launcher/controller/service_pool.h"

#include <algorithm>

#include "launcher/process/process_identity.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

/// Ends in a row, without one service having been ready, after which another try is no use.
constexpr int kHopeless = 3;
/// A service that was ready for so long starts again without a pause.
constexpr std::chrono::seconds kHealthyTime{60};

}  // namespace

std::string ServicePool::id_of(int index) const {
  return fmt::format("{}-{}", to_string(options_.role), index);
}

int ServicePool::num_staying() const {
  return static_cast<int>(
      std::count_if(instances_.begin(), instances_.end(),
                    [](const auto& entry) { return !entry.second.leaving_since.has_value(); }));
}

/// Makes or sends away instances until the number is right. The highest numbers go first.
void ServicePool::adjust(Clock::time_point now) {
  for (int index = 0; num_staying() < wanted_; ++index) {
    if (instances_.count(index) == 0) instances_[index].start_at = now;
  }
  for (auto entry = instances_.rbegin(); entry != instances_.rend(); ++entry) {
    if (num_staying() <= wanted_) break;
    if (!entry->second.leaving_since) entry->second.leaving_since = now;
  }
}

void ServicePool::publish(int index, const Instance& instance) {
  if (!instance.process || !instance.process->endpoint()) return;
  ServiceEntry entry = options_.describe(*instance.process->endpoint());
  entry.id = id_of(index);
  entry.role = options_.role;
  entry.state = instance.leaving_since ? ServiceState::kDraining : ServiceState::kReady;
  const Result<ProcessIdentity> owner = identify_process(instance.process->pid());
  if (!owner) return;  // has just ended
  entry.owner = *owner;
  const Status published = publisher_.publish(entry);
  if (!published) log(LogLevel::kError, "{}: {}", entry.id, published.error().to_string());
}

void ServicePool::take_failure(int index, Instance& instance, Error error, Clock::time_point now) {
  ++instance.num_failures;
  const auto pause = std::min(
      options_.last_pause, options_.first_pause * (1 << std::min(instance.num_failures - 1, 16)));
  instance.process.reset();
  instance.start_at = now + pause;
  error = std::move(error).within(id_of(index));
  log(LogLevel::kWarning, "{} (next start in {} ms)", error.to_string(), pause.count());
  if (!was_ready_ && instance.num_failures >= kHopeless) failure_ = std::move(error);
}

void ServicePool::take_end(int index, Instance& instance, const ExitStatus& status,
                           Clock::time_point now) {
  publisher_.withdraw(id_of(index));
  // Its old port may be another's by now.
  if (!instance.process->endpoint()) options_.last_endpoints.erase(index);
  if (instance.process->endpoint() && now - instance.ready_at > kHealthyTime) {
    instance.num_failures = 0;
  }
  take_failure(index, instance, instance.process->reason_of_end(status), now);
}

void ServicePool::start_due(int index, Instance& instance, Clock::time_point now) {
  if (instance.process || now < instance.start_at) return;
  const auto last = options_.last_endpoints.find(index);
  Result<ServiceCommand> command =
      options_.command(index, last == options_.last_endpoints.end() ? "" : last->second);
  if (!command) return take_failure(index, instance, std::move(command).error(), now);
  Result<ServiceProcess> process = ServiceProcess::start(*command);
  if (!process) return take_failure(index, instance, std::move(process).error(), now);
  instance.process.emplace(*std::move(process));
  log(LogLevel::kInfo, "{} started as process {}", id_of(index), instance.process->pid());
}

void ServicePool::let_go(int index, Instance& instance, Clock::time_point now) {
  const bool has_users = instance.process->endpoint().has_value();
  if (!instance.asked_to_end) {
    if (has_users && now < *instance.leaving_since + options_.notice) return;
    log(LogLevel::kInfo, "{} drains", id_of(index));
    instance.process->drain();
    instance.asked_to_end = now;
  } else if (!instance.killed && now > *instance.asked_to_end + options_.drain_patience) {
    log(LogLevel::kWarning, "{} did not end in good order and was killed", id_of(index));
    instance.process->kill();
    instance.killed = true;
  }
}

void ServicePool::step(Clock::time_point now) {
  adjust(now);
  for (auto entry = instances_.begin(); entry != instances_.end();) {
    auto& [index, instance] = *entry;
    if (instance.process) {
      if (instance.process->read_output()) {
        instance.ready_at = now;
        was_ready_ = true;
        options_.last_endpoints[index] = *instance.process->endpoint();
        log(LogLevel::kInfo, "{} is ready at {}", id_of(index), *instance.process->endpoint());
      }
      if (const std::optional<ExitStatus> status = instance.process->try_wait()) {
        if (instance.leaving_since) {
          publisher_.withdraw(id_of(index));
          log(LogLevel::kInfo, "{} {}", id_of(index), status->to_string());
          entry = instances_.erase(entry);
          continue;
        }
        take_end(index, instance, *status, now);
      } else {
        publish(index, instance);
        if (instance.leaving_since) let_go(index, instance, now);
      }
    } else if (instance.leaving_since) {
      entry = instances_.erase(entry);
      continue;
    }
    start_due(index, instance, now);
    ++entry;
  }
}

void ServicePool::drain_all(Clock::time_point now) {
  wanted_ = 0;
  for (auto& [index, instance] : instances_) {
    if (!instance.leaving_since) instance.leaving_since = now;
    if (!instance.process || instance.asked_to_end) continue;
    instance.process->drain();
    instance.asked_to_end = now;
  }
}

void ServicePool::kill_all() {
  for (auto& [index, instance] : instances_) {
    if (instance.process) instance.process->kill();
  }
}

bool ServicePool::is_settled() const {
  const auto is_ready = [](const auto& entry) {
    const Instance& instance = entry.second;
    return !instance.leaving_since && instance.process && instance.process->endpoint();
  };
  return static_cast<int>(instances_.size()) == wanted_ &&
         std::all_of(instances_.begin(), instances_.end(), is_ready);
}

void ServicePool::add_polled(std::vector<pollfd>& polled) const {
  for (const auto& [index, instance] : instances_) {
    if (!instance.process) continue;
    polled.push_back({instance.process->pidfd(), POLLIN, 0});
    if (instance.process->output_fd() >= 0) {
      polled.push_back({instance.process->output_fd(), POLLIN, 0});
    }
  }
}

}  // namespace dsl::launcher
