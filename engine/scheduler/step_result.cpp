#include "engine/scheduler/step_result.h"

#include <algorithm>
#include <cstring>

namespace dsl::scheduler {
namespace {

/// Wire format of one (token, logprob) pair; ranks of a world have the same byte order.
struct Entry {
  std::int32_t token_id;
  float logprob;
};
static_assert(sizeof(Entry) == 8);

constexpr std::int32_t kNoToken = -1;

std::size_t alternatives(const ResultShape& shape) {
  return static_cast<std::size_t>(std::max(shape.num_logprobs, 0));
}

}  // namespace

std::size_t encoded_size(std::span<const ResultShape> shapes) {
  std::size_t entries = 0;
  for (const ResultShape& shape : shapes) entries += 1 + alternatives(shape);
  return sizeof(std::uint64_t) + entries * sizeof(Entry);
}

std::vector<std::byte> encode_result(std::uint64_t step, std::span<const ResultShape> shapes,
                                     std::span<const sampling::SampledToken> tokens) {
  DSL_CHECK(shapes.size() == tokens.size(), "{} tokens for {} sequences", tokens.size(),
            shapes.size());
  std::vector<std::byte> bytes(encoded_size(shapes));
  std::byte* out = bytes.data();
  const auto put = [&](const auto& value) {
    std::memcpy(out, &value, sizeof(value));
    out += sizeof(value);
  };
  put(step);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    put(Entry{tokens[i].token_id, tokens[i].logprob});
    for (std::size_t k = 0; k < alternatives(shapes[i]); ++k) {
      const bool present = k < tokens[i].top_logprobs.size();
      put(present ? Entry{tokens[i].top_logprobs[k].token_id, tokens[i].top_logprobs[k].logprob}
                  : Entry{kNoToken, 0});
    }
  }
  return bytes;
}

Result<std::vector<sampling::SampledToken>> decode_result(ConstBytes bytes, std::uint64_t step,
                                                          std::span<const ResultShape> shapes,
                                                          std::int64_t vocab_size) {
  const auto reject = [&](std::string_view what) {
    return fail(ErrorCode::kProtocol, "run the same build on every rank",
                "decoding the tokens of step {}: {}", step, what);
  };
  if (bytes.size() != encoded_size(shapes)) return reject("the message has another size");
  const std::byte* in = bytes.data();
  const auto take = [&](auto& value) {
    std::memcpy(&value, in, sizeof(value));
    in += sizeof(value);
  };
  std::uint64_t found_step = 0;
  take(found_step);
  if (found_step != step) return reject("the message is of another step");
  std::vector<sampling::SampledToken> tokens(shapes.size());
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    Entry entry{};
    take(entry);
    if (entry.token_id < 0 || entry.token_id >= vocab_size) {
      return reject("a token lies outside the vocabulary");
    }
    tokens[i].token_id = entry.token_id;
    tokens[i].logprob = entry.logprob;
    for (std::size_t k = 0; k < alternatives(shapes[i]); ++k) {
      take(entry);
      if (entry.token_id >= vocab_size) return reject("a token lies outside the vocabulary");
      if (entry.token_id >= 0) tokens[i].top_logprobs.push_back({entry.token_id, entry.logprob});
    }
  }
  return tokens;
}

}  // namespace dsl::scheduler
