// Sampling on the device: what crosses to the host is tokens and the logprobs asked for.
#pragma once

#include <memory>

#include "engine/kernels/token_choice.h"
#include "engine/runtime/cuda/stream.h"

namespace dsl::cuda {

/// In order with the ops on `stream`.
std::unique_ptr<TokenChooser> make_token_chooser(std::shared_ptr<const Stream> stream);

}  // namespace dsl::cuda
