// The header of a weight file: whatever parses must cover its data section exactly.
#include "engine/checkpoint/safetensors.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dsl::checkpoint;
  const dsl::ConstBytes file(reinterpret_cast<const std::byte*>(data), size);
  const auto length = read_header_length(file, size, "fuzz");
  if (!length) return 0;
  const std::string_view header(reinterpret_cast<const char*>(data) + kHeaderPrefixBytes, *length);
  const std::uint64_t data_bytes = size - kHeaderPrefixBytes - *length;
  const auto parsed = parse_safetensors_header(header, data_bytes, "fuzz");
  if (!parsed) return 0;
  std::uint64_t covered = 0;
  for (const SafetensorsEntry& entry : parsed->entries) {
    if (entry.begin != covered || entry.end < entry.begin || entry.end > data_bytes) std::abort();
    covered = entry.end;
  }
  if (covered != data_bytes) std::abort();
  return 0;
}
