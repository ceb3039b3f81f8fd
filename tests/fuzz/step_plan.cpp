// Step plans come from another process: decoding and applying them must be safe whatever the bytes
// are.
#include "engine/scheduler/step_plan.h"

#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/scheduler/sequence_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dsl::scheduler;
  const auto plan = decode_step_plan(std::as_bytes(std::span(data, size)));
  if (!plan.has_value()) return 0;
  if (!decode_step_plan(encode(*plan)).has_value()) std::abort();
  SequenceTable table({64, 4, 8, 1000});
  const auto rows = table.apply(*plan);
  if (!rows.has_value()) return 0;
  for (const auto slot : rows->slots) {
    if (slot < 0 || slot >= 8 * 4) std::abort();
  }
  return 0;
}
