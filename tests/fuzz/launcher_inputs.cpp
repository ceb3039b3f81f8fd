// Texts that the launcher reads from users, ranks, agents and engines: no input may crash it. The
// first byte chooses the reader.
#include <cstdint>
#include <string_view>

#include "launcher/deployment/api_keys.h"
#include "launcher/deployment/record.h"
#include "launcher/deployment/service_entry.h"
#include "launcher/deployment/spec_reader.h"
#include "launcher/deployment/wanted_services.h"
#include "launcher/engine_client/messages.h"
#include "launcher/metrics/prometheus_text.h"
#include "launcher/openai_client/completion_request.h"
#include "launcher/openai_client/openai_endpoint.h"
#include "launcher/openai_client/sse_parser.h"
#include "launcher/plan/world_plan.h"
#include "launcher/process/error_line.h"
#include "launcher/serve_bench/serve_dataset.h"
#include "launcher/supervisor/rank_report.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dsl::launcher;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 10) {
    case 0:
      (void)parse_spec(text, "fuzz.yaml");
      break;
    case 1:
      if (const auto record = parse_record(text)) (void)to_json(*record);
      break;
    case 2:
      (void)parse_report(0, text);
      break;
    case 3: {
      GenerateStream stream;
      (void)stream.take_line(text);
      (void)std::move(stream).finish();
      (void)parse_info(text);
      (void)parse_refusal(400, text);
      break;
    }
    case 4:
      (void)parse_error_line(text);
      break;
    case 5:
      (void)parse_api_keys(text, "fuzz.json");
      (void)parse_wanted(text);
      break;
    case 6:
      if (const auto entry = parse_service_entry(text)) (void)to_json(*entry);
      break;
    case 7:
      (void)parse_metrics(text);
      (void)parse_prompts(text, "fuzz.jsonl", 1);
      break;
    case 8: {
      SseParser events;
      events.feed(text, [](std::string_view event) { (void)parse_chunk(event); });
      (void)parse_openai_error(400, text);
      break;
    }
    default:
      (void)parse_node_plans(text);
  }
  return 0;
}
