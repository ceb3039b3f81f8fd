// config.json: what parses can be planned, counted and scaled without overflow.
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor_plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dsl::checkpoint;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = parse_model_config(text, "fuzz");
  if (!config) {
    if (config.error().message.empty() || config.error().remedy.empty()) std::abort();
    return 0;
  }
  if (!std::isfinite(config->softmax_scale())) std::abort();
  // Legal but huge models would only cost time here.
  if (config->num_hidden_layers * (config->routing.n_routed_experts + 16) > 10'000) return 0;
  std::int64_t elements = 0;
  for (const PlannedTensor& tensor : plan_tensors(*config)) {
    if (__builtin_add_overflow(elements, tensor.num_elements(), &elements)) std::abort();
  }
  if (elements <= 0) std::abort();
  return 0;
}
