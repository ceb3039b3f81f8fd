// The instances of one kind of service: held at the wanted number, restarted when they end, drained
// before they go.
#pragma once

#include <poll.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "launcher/controller/service_process.h"
#include "launcher/deployment/service_entry.h"
#include "transport/base/error.h"

namespace dsl::launcher {

struct ServicePoolOptions {
  ServiceRole role = ServiceRole::kGateway;
  /// The command of instance `index`, which listened at `last_endpoint` before (empty: nowhere, or
  /// it could not again); an index is free again when its instance has ended.
  std::function<Result<ServiceCommand>(int index, const std::string& last_endpoint)> command;
  /// Where instances of an earlier pool listened.
  std::map<int, std::string> last_endpoints;
  /// The entry of a service that listens at `endpoint`, without id, role, state and owner.
  std::function<ServiceEntry(const std::string& endpoint)> describe;
  /// How long an entry says draining before its service is asked to end: whoever uses services
  /// looks at least that often.
  std::chrono::milliseconds notice{1000};
  /// From the request to end in good order to SIGKILL.
  std::chrono::milliseconds drain_patience{35000};
  /// A service that ends by itself starts again after this, doubled each time up to the limit.
  std::chrono::milliseconds first_pause{500};
  std::chrono::milliseconds last_pause{30000};
};

/// Owns the processes; all calls from one thread, which lives as long as the services.
class ServicePool {
 public:
  using Clock = std::chrono::steady_clock;

  /// `publisher` must outlive the pool.
  ServicePool(ServicePoolOptions options, ServicePublisher& publisher)
      : options_(std::move(options)), publisher_(publisher) {}

  void set_wanted(int wanted) { wanted_ = wanted; }
  /// Does what is due at `now`: reaps, starts, publishes, drains, kills.
  void step(Clock::time_point now);
  /// Asks all to end at once, without notice; step() goes on until is_empty().
  void drain_all(Clock::time_point now);
  void kill_all();

  /// Whether as many are ready as are wanted, and none beside them.
  bool is_settled() const;
  bool is_empty() const { return instances_.empty(); }
  /// Why no instance has ever become ready although several have been started.
  const std::optional<Error>& failure() const { return failure_; }
  /// Adds what a poll should wake up for.
  void add_polled(std::vector<pollfd>& polled) const;

 private:
  struct Instance {
    std::optional<ServiceProcess> process;  // none: waits for its next start
    Clock::time_point start_at;             // of the next start
    Clock::time_point ready_at;             // of this process
    int num_failures = 0;                   // in a row
    std::optional<Clock::time_point> leaving_since;
    std::optional<Clock::time_point> asked_to_end;
    bool killed = false;
  };

  std::string id_of(int index) const;
  int num_staying() const;
  void adjust(Clock::time_point now);
  void start_due(int index, Instance& instance, Clock::time_point now);
  void take_end(int index, Instance& instance, const ExitStatus& status, Clock::time_point now);
  void take_failure(int index, Instance& instance, Error error, Clock::time_point now);
  void publish(int index, const Instance& instance);
  void let_go(int index, Instance& instance, Clock::time_point now);

  ServicePoolOptions options_;
  ServicePublisher& publisher_;
  int wanted_ = 0;
  std::map<int, Instance> instances_;
  bool was_ready_ = false;
  std::optional<Error> failure_;
};

}  // namespace dsl::launcher
