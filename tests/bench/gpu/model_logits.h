// Logits of steps of the model, in a file that other implementations are compared with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "transport/base/error.h"

namespace dsl::bench {

/// Of a sequence's last token.
struct SequenceLogits {
  std::string name;
  std::vector<std::int32_t> tokens;
  std::vector<float> logits;
};

/// As safetensors: for each sequence `name`.tokens and `name`.logits; the metadata has the fields
/// of config.json that `config` may have cut down, as JSON.
Status write_logits(const std::string& path, const checkpoint::ModelConfig& config,
                    const std::vector<SequenceLogits>& sequences);

}  // namespace dsl::bench
