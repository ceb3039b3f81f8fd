// The tokens of a step on their way from the sampling rank to rank 0.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampling/sampler.h"
#include "transport/base/bytes.h"
#include "transport/base/error.h"

namespace dsl::scheduler {

/// Logprobs that a sampled token carries beside its own; both sides know it from the request.
struct ResultShape {
  std::int32_t num_logprobs = 0;
};

/// Bytes of the message of a step, known to both sides before it is sent: the step's number, then
/// per sampled token its id, logprob and alternatives.
std::size_t encoded_size(std::span<const ResultShape> shapes);

/// `tokens` in the order of `shapes`; each is padded with or cut to its number of alternatives.
std::vector<std::byte> encode_result(std::uint64_t step, std::span<const ResultShape> shapes,
                                     std::span<const sampling::SampledToken> tokens);

/// kProtocol when the message is of another step or names a token outside the vocabulary.
Result<std::vector<sampling::SampledToken>> decode_result(ConstBytes bytes, std::uint64_t step,
                                                          std::span<const ResultShape> shapes,
                                                          std::int64_t vocab_size);

}  // namespace dsl::scheduler
