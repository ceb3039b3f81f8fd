// The header of a safetensors file: which tensor lies where. Untrusted input, checked completely.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor/dtype.h"
#include "transport/base/bytes.h"
#include "transport/base/error.h"

namespace dsl::checkpoint {

/// As in the format's own reader: a longer header is refused before it is read.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
/// The length prefix in front of the JSON header.
inline constexpr std::uint64_t kHeaderPrefixBytes = 8;

/// One tensor; its data is [begin, end) relative to the file's data section.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in file order
  std::uint64_t data_offset = 0;          // of the data section in the file
};

/// Length of the JSON header, from the first bytes of a file of `file_bytes` bytes.
/// kCheckpointCorrupt when the file is too short for it or it exceeds kMaxHeaderBytes. `origin`
/// names the file in errors.
Result<std::uint64_t> read_header_length(ConstBytes prefix, std::uint64_t file_bytes,
                                         std::string_view origin);

/// Parses the JSON header of a file whose data section has `data_bytes` bytes. Holds on success:
/// names are unique and not empty; dtype x shape is the size of every range; the ranges cover the
/// data section without gap or overlap. Otherwise kCheckpointCorrupt names the tensor.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, std::uint64_t data_bytes,
                                                   std::string_view origin);

}  // namespace dsl::checkpoint
