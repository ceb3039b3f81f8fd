// Reads tokenizer.json (and the BOS settings of tokenizer_config.json) strictly into plain structs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/pre_tokenizer.h"
#include "transport/base/error.h"

namespace dsl::text {

/// Everything tokenizer.json says, resolved to ids. Ids are below kMaxVocabSize.
struct TokenizerSpec {
  struct VocabEntry {
    std::string token;  // in the byte alphabet
    std::int32_t id = 0;
  };
  std::vector<VocabEntry> vocab;
  std::vector<MergeRule> merges;
  bool ignores_merges = false;
  std::vector<AddedToken> added_tokens;
  std::vector<SplitRule> splits;
  std::vector<std::int32_t> prefix_ids;  // what post-processing puts before a sequence
  std::vector<std::int32_t> suffix_ids;
  std::optional<std::string> bos_token;  // from tokenizer_config.json
  std::optional<std::string> eos_token;
  std::optional<bool> adds_bos;  // overrides prefix_ids
  std::optional<bool> adds_eos;  // overrides suffix_ids
};

inline constexpr std::int32_t kMaxVocabSize = 1 << 21;

/// `config` may be empty. Errors: kTokenizerCorrupt, kTokenizerUnsupported naming the component.
Result<TokenizerSpec> parse_tokenizer_json(std::string_view tokenizer, std::string_view config,
                                           std::string_view origin);

}  // namespace dsl::text
