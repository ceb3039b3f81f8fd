#include "engine/serving/engine_port/rank_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include "engine/serving/process/service_metrics.h"

namespace dsl::serving {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Labels;

struct RankMetrics::State {
  State(prometheus::Registry& own_registry, const std::string& own_model_name)
      : registry(own_registry), model_name(own_model_name) {}

  Family<Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }

  prometheus::Registry& registry;
  const std::string model_name;
  Family<Counter>& sent =
      counters("dslaunch_hop_sent_bytes_total", "Bytes that a rank has sent to a peer.");
  Family<Counter>& received =
      counters("dslaunch_hop_received_bytes_total", "Bytes that a rank has got from a peer.");
  Family<Counter>& wait = counters(
      "dslaunch_hop_wait_seconds_total",
      "Time that a rank stood still for a peer; that for plans is also the time without work.");
};

RankMetrics::RankMetrics(prometheus::Registry& registry, const std::string& model_name)
    : state_(std::make_unique<State>(registry, model_name)) {}
RankMetrics::~RankMetrics() = default;

void RankMetrics::update(int rank, const std::vector<wire::HopTraffic>& traffic) {
  for (const wire::HopTraffic& hop : traffic) {
    const Labels labels{{"model_name", state_->model_name},
                        {"rank", std::to_string(rank)},
                        {"peer", std::to_string(hop.peer)},
                        {"purpose", std::string(purpose_of(hop.channel))}};
    advance(state_->sent.Add(labels), static_cast<double>(hop.sent_bytes));
    advance(state_->received.Add(labels), static_cast<double>(hop.received_bytes));
    advance(state_->wait.Add(labels), hop.wait_s);
  }
}

}  // namespace dsl::serving
