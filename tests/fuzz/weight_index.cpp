// model.safetensors.index.json: no file name may leave the model's directory.
#include "engine/checkpoint/weight_index.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto index = dsl::checkpoint::parse_weight_index(text, "fuzz");
  if (!index) return 0;
  for (const auto& [tensor, file] : *index) {
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos)
      std::abort();
  }
  return 0;
}
