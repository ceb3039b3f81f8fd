// Texts that the launcher reads from users, ranks, agents and engines: no input may crash it. The
// first byte chooses the reader.
#include <cstdint>
#include <string_view>

#include "launcher/deployment/record.h"
#include "launcher/deployment/spec_reader.h"
#include "launcher/engine_client/messages.h"
#include "launcher/plan/world_plan.h"
#include "launcher/process/error_line.h"
#include "launcher/supervisor/rank_report.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dsl::launcher;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 6) {
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
    default:
      (void)parse_node_plans(text);
  }
  return 0;
}
