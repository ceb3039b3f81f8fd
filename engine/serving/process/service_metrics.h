// The registry of a program's metrics, and the metrics that every program has.
#pragma once

#include <memory>
#include <string>

namespace prometheus {
class Counter;
class Registry;
}  // namespace prometheus

namespace dsl::serving {

/// Brings a counter up to a total that is counted elsewhere.
void advance(prometheus::Counter& counter, double total);

/// Owns the registry; what is registered there lives as long. Has Prometheus' standard metrics of a
/// process. Thread-safe.
class ServiceMetrics {
 public:
  ServiceMetrics();
  ~ServiceMetrics();

  prometheus::Registry& registry();
  /// All metrics as they are now, in Prometheus' text format.
  std::string text();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsl::serving
