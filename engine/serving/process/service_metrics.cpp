#include "engine/serving/process/service_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>

#include "engine/serving/process/process_usage.h"

namespace dsl::serving {

void advance(prometheus::Counter& counter, double total) {
  if (total > counter.Value()) counter.Increment(total - counter.Value());
}

struct ServiceMetrics::State {
  prometheus::Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }

  prometheus::Registry registry;
  prometheus::Counter& cpu = prometheus::BuildCounter()
                                 .Name("process_cpu_seconds_total")
                                 .Help("CPU time of this process, in user and kernel mode.")
                                 .Register(registry)
                                 .Add({});
  prometheus::Gauge& resident =
      gauge("process_resident_memory_bytes", "Physical memory of this process.");
  prometheus::Gauge& open_files = gauge("process_open_fds", "Files and connections that are open.");
  prometheus::Gauge& start =
      gauge("process_start_time_seconds", "When this process started, in Unix time.");
  std::mutex mutex;  // two readers must not advance a counter both
};

ServiceMetrics::ServiceMetrics() : state_(std::make_unique<State>()) {}
ServiceMetrics::~ServiceMetrics() = default;

prometheus::Registry& ServiceMetrics::registry() { return state_->registry; }

std::string ServiceMetrics::text() {
  const ProcessUsage usage = read_process_usage();
  const std::scoped_lock lock(state_->mutex);
  advance(state_->cpu, usage.cpu_s);
  state_->resident.Set(static_cast<double>(usage.resident_bytes));
  state_->open_files.Set(static_cast<double>(usage.num_open_files));
  state_->start.Set(usage.start_unix_s);
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace dsl::serving
