#include "engine/serving/engine_port/rank_report.h"

#include <nlohmann/json.hpp>

#include "engine/serving/process/process_usage.h"

namespace dsl::serving {

using nlohmann::ordered_json;

std::string load_report(const LoadProgress& progress) {
  return ordered_json{
      {"event", "load"}, {"bytes", progress.bytes_loaded}, {"total", progress.bytes_total}}
      .dump();
}

std::string ready_report(const ReadyReport& ready) {
  ordered_json report{{"event", "ready"}};
  if (!ready.endpoint.empty()) report["endpoint"] = ready.endpoint;
  report["links"] = ordered_json::array();
  for (const wire::LinkReport& link : ready.links) {
    report["links"].push_back(
        {{"peer", link.peer}, {"transport", link.transport}, {"device", link.device}});
  }
  report["resident_bytes"] = resident_bytes();
  report["shard_bytes"] = ready.info.shard_bytes;
  report["kv_tokens"] = ready.info.kv_tokens;
  report["kernels"] = ready.info.kernels;
  report["tensor_parallel_path"] = ready.info.tensor_path;
  report["pipeline_parallel_path"] = ready.info.hop_path;
  return report.dump();
}

std::string error_report(const Error& error) {
  return ordered_json{{"event", "error"},
                      {"code", fmt::format("DSL-{}", static_cast<int>(error.code))},
                      {"message", error.message},
                      {"remedy", error.remedy}}
      .dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace dsl::serving
