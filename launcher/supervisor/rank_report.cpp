#include "launcher/supervisor/rank_report.h"

#include <nlohmann/json.hpp>

#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

tl::unexpected<Error> malformed(int rank, std::string_view what) {
  return fail(ErrorCode::kProtocol, "use dsengine and dslaunch of one version",
              "the report of rank {} has {}", rank, what);
}

std::string string_or_empty(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::int64_t integer_or_zero(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

}  // namespace

Result<RankReport> parse_report(int rank, std::string_view text) {
  DSL_ASSIGN(const json report,
             parse_json(text, fmt::format("report of rank {}", rank), ErrorCode::kProtocol));
  if (!report.is_object()) return malformed(rank, "no object");
  const std::string event = string_or_empty(report, "event");
  if (event == "load") {
    return LoadReport{integer_or_zero(report, "bytes"), integer_or_zero(report, "total")};
  }
  if (event != "ready") return OtherReport{};
  ReadyReport ready;
  ready.endpoint = string_or_empty(report, "endpoint");
  ready.resident_bytes = integer_or_zero(report, "resident_bytes");
  ready.path = {rank, rank, string_or_empty(report, "pipeline_parallel_path"),
                string_or_empty(report, "tensor_parallel_path")};
  if (rank == 0 && ready.endpoint.empty()) return malformed(rank, "no endpoint");
  const auto links = report.find("links");
  if (links == report.end()) return ready;
  if (!links->is_array()) return malformed(rank, "links that are no list");
  for (const json& link : *links) {
    if (!link.is_object()) return malformed(rank, "a link that is no object");
    ready.links.push_back({rank, static_cast<int>(integer_or_zero(link, "peer")),
                           string_or_empty(link, "transport"), string_or_empty(link, "device")});
  }
  return ready;
}

}  // namespace dsl::launcher
