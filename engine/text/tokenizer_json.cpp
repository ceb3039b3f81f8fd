#include "engine/text/tokenizer_json.h"

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "transport/base/strict_json.h"

namespace dsl::text {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kRestore = "restore the file from the model's source";
constexpr std::string_view kUseOther =
    "use a model with a byte-level BPE tokenizer as DeepSeek, Llama 3 and Qwen 2 have it";
// The split that ByteLevel itself makes when asked to (GPT-2's).
constexpr std::string_view kByteLevelPattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
// Digits asks Rust's standard library, which knows two more blocks of numbers than \p{N} of the
// regex engine.
constexpr std::string_view kNumeric = "[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]";

class Reader {
 public:
  explicit Reader(std::string_view origin) : origin_(origin) {}

  Result<TokenizerSpec> read(const Json& root, const Json& config) {
    if (!root.is_object()) return corrupt("", "a JSON object", root);
    DSL_TRY(normalizer(root));
    DSL_TRY(model(root));
    DSL_TRY(added_tokens(root));
    DSL_TRY(pre_tokenizer(root));
    DSL_TRY(post_processor(root));
    DSL_TRY(decoder(root));
    DSL_TRY(tokenizer_config(config));
    return std::move(spec_);
  }

 private:
  tl::unexpected<Error> corrupt(std::string_view field, std::string_view expected,
                                const Json& found) const {
    std::string text = found.is_discarded()
                           ? "nothing"
                           : found.dump(-1, ' ', true, Json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    return fail(ErrorCode::kTokenizerCorrupt, kRestore, "{}: field \"{}\": expected {}, found {}",
                origin_, field, expected, text);
  }
  tl::unexpected<Error> unsupported(std::string_view component) const {
    return fail(ErrorCode::kTokenizerUnsupported, kUseOther, "{}: {} is not implemented", origin_,
                component);
  }

  static const Json& member(const Json& object, const char* key) {
    static const Json kAbsent(Json::value_t::discarded);
    if (!object.is_object()) return kAbsent;
    const auto found = object.find(key);
    return found == object.end() ? kAbsent : *found;
  }
  static bool absent(const Json& value) { return value.is_discarded() || value.is_null(); }

  Result<std::string> string(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (!value.is_string()) return corrupt(key, "a string", value);
    return value.get<std::string>();
  }
  Result<bool> boolean(const Json& object, const char* key, bool otherwise) const {
    const Json& value = member(object, key);
    if (absent(value)) return otherwise;
    if (!value.is_boolean()) return corrupt(key, "true or false", value);
    return value.get<bool>();
  }
  Result<std::int32_t> id(std::string_view field, const Json& value) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= std::uint64_t{kMaxVocabSize}) {
      return corrupt(field, fmt::format("an id below {}", kMaxVocabSize), value);
    }
    return value.get<std::int32_t>();
  }

  Status normalizer(const Json& root) const {
    const Json& value = member(root, "normalizer");
    if (absent(value)) return {};
    DSL_ASSIGN(const std::string type, string(value, "type"));
    if (type != "Sequence") return unsupported("normalizer " + type);
    for (const Json& item : member(value, "normalizers")) {
      DSL_ASSIGN(const std::string item_type, string(item, "type"));
      return unsupported("normalizer " + item_type);
    }
    return {};
  }

  Status model(const Json& root) {
    const Json& value = member(root, "model");
    if (!value.is_object()) return corrupt("model", "an object", value);
    const Json& type = member(value, "type");  // absent in old files of this kind
    if (!absent(type) && type != "BPE") return unsupported("model " + type.dump());
    const Json& dropout = member(value, "dropout");
    if (!absent(dropout) && dropout != 0.0) return unsupported("BPE dropout");
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& text = member(value, affix);
      if (!absent(text) && text != Json("")) return unsupported(std::string("BPE ") + affix);
    }
    DSL_ASSIGN(const bool byte_fallback, boolean(value, "byte_fallback", false));
    if (byte_fallback) return unsupported("BPE byte_fallback");
    DSL_ASSIGN(spec_.ignores_merges, boolean(value, "ignore_merges", false));
    DSL_TRY(vocab(value));
    return merges(value);
  }

  Status vocab(const Json& model) {
    const Json& value = member(model, "vocab");
    if (!value.is_object()) return corrupt("model.vocab", "an object", value);
    ids_.reserve(value.size());
    std::unordered_map<std::int32_t, std::string_view> tokens;
    tokens.reserve(value.size());
    for (const auto& [token, id_value] : value.items()) {
      DSL_ASSIGN(const std::int32_t token_id, id("model.vocab." + token, id_value));
      if (token.empty()) return corrupt("model.vocab", "tokens that are not empty", id_value);
      if (!tokens.emplace(token_id, token).second) {
        return corrupt("model.vocab." + token, "an id of its own", id_value);
      }
      ids_.emplace(token, token_id);
      spec_.vocab.push_back({token, token_id});
    }
    return {};
  }

  Status merges(const Json& model) {
    const Json& value = member(model, "merges");
    if (!value.is_array()) return corrupt("model.merges", "a list", value);
    spec_.merges.reserve(value.size());
    for (const Json& item : value) {
      std::string left;
      std::string right;
      if (item.is_string()) {
        const auto& text = item.get_ref<const std::string&>();
        const std::size_t space = text.find(' ');
        if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
          return corrupt("model.merges", "two tokens with a space between them", item);
        }
        left = text.substr(0, space);
        right = text.substr(space + 1);
      } else if (item.is_array() && item.size() == 2 && item[0].is_string() &&
                 item[1].is_string()) {
        left = item[0].get<std::string>();
        right = item[1].get<std::string>();
      } else {
        return corrupt("model.merges", "strings \"left right\" or pairs", item);
      }
      MergeRule rule;
      const std::pair<std::string, std::int32_t*> parts[] = {
          {left, &rule.left}, {right, &rule.right}, {left + right, &rule.merged}};
      for (const auto& [token, target] : parts) {
        const auto found = ids_.find(token);
        if (found == ids_.end()) {
          return corrupt("model.merges", "tokens of the vocabulary, also when joined", item);
        }
        *target = found->second;
      }
      spec_.merges.push_back(rule);
    }
    return {};
  }

  Status added_tokens(const Json& root) {
    const Json& value = member(root, "added_tokens");
    if (absent(value)) return {};
    if (!value.is_array()) return corrupt("added_tokens", "a list", value);
    for (const Json& item : value) {
      AddedToken token;
      DSL_ASSIGN(token.content, string(item, "content"));
      DSL_ASSIGN(token.id, id("added_tokens.id", member(item, "id")));
      DSL_ASSIGN(token.is_special, boolean(item, "special", false));
      DSL_ASSIGN(token.is_normalized, boolean(item, "normalized", !token.is_special));
      for (const char* option : {"single_word", "lstrip", "rstrip"}) {
        DSL_ASSIGN(const bool is_on, boolean(item, option, false));
        if (is_on)
          return unsupported(fmt::format("{} of added token \"{}\"", option, token.content));
      }
      const auto [known, is_new] = ids_.emplace(token.content, token.id);
      if (known->second != token.id) {
        return corrupt("added_tokens.id", fmt::format("{} as in the vocabulary", known->second),
                       item);
      }
      spec_.added_tokens.push_back(std::move(token));
    }
    return {};
  }

  Status pre_tokenizer(const Json& root) {
    const Json& value = member(root, "pre_tokenizer");
    if (absent(value)) return unsupported("a tokenizer without pre_tokenizer ByteLevel");
    DSL_ASSIGN(const std::string type, string(value, "type"));
    if (type == "Sequence") {
      const Json& items = member(value, "pretokenizers");
      if (!items.is_array()) return corrupt("pre_tokenizer.pretokenizers", "a list", items);
      for (const Json& item : items) DSL_TRY(pre_tokenizer_item(item));
    } else {
      DSL_TRY(pre_tokenizer_item(value));
    }
    if (!byte_level_) return unsupported("a pre_tokenizer that does not end with ByteLevel");
    return {};
  }

  Status pre_tokenizer_item(const Json& item) {
    DSL_ASSIGN(const std::string type, string(item, "type"));
    if (byte_level_) return unsupported("pre_tokenizer " + type + " after ByteLevel");
    if (type == "Split") return split(item);
    if (type == "Digits") {
      DSL_ASSIGN(const bool individual, boolean(item, "individual_digits", false));
      SplitRule rule;
      rule.pattern = kNumeric;
      rule.behavior = individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
      spec_.splits.push_back(std::move(rule));
      return {};
    }
    if (type != "ByteLevel") return unsupported("pre_tokenizer " + type);
    byte_level_ = true;
    DSL_ASSIGN(const bool add_prefix_space, boolean(item, "add_prefix_space", true));
    if (add_prefix_space) return unsupported("add_prefix_space of pre_tokenizer ByteLevel");
    DSL_ASSIGN(const bool use_regex, boolean(item, "use_regex", true));
    if (use_regex) {
      SplitRule rule;
      rule.pattern = kByteLevelPattern;
      spec_.splits.push_back(std::move(rule));
    }
    return {};
  }

  Status split(const Json& item) {
    static const std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
        {"Removed", SplitBehavior::kRemoved},
        {"Isolated", SplitBehavior::kIsolated},
        {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
        {"MergedWithNext", SplitBehavior::kMergedWithNext},
        {"Contiguous", SplitBehavior::kContiguous}};
    SplitRule rule;
    const Json& pattern = member(item, "pattern");
    if (member(pattern, "Regex").is_string()) {
      DSL_ASSIGN(rule.pattern, string(pattern, "Regex"));
    } else if (member(pattern, "String").is_string()) {
      DSL_ASSIGN(rule.pattern, string(pattern, "String"));
      rule.pattern_kind = SplitRule::Pattern::kLiteral;
    } else {
      return corrupt("pre_tokenizer.pattern", "{\"Regex\": ...} or {\"String\": ...}", pattern);
    }
    DSL_ASSIGN(const bool invert, boolean(item, "invert", false));
    if (invert) rule.delimiter = SplitRule::Delimiter::kGaps;
    DSL_ASSIGN(const std::string behavior, string(item, "behavior"));
    for (const auto& [name, known] : kBehaviors) {
      if (behavior != name) continue;
      rule.behavior = known;
      spec_.splits.push_back(std::move(rule));
      return {};
    }
    return unsupported("behavior " + behavior + " of pre_tokenizer Split");
  }

  Status post_processor(const Json& root) {
    const Json& value = member(root, "post_processor");
    if (absent(value)) return {};
    DSL_ASSIGN(const std::string type, string(value, "type"));
    if (type != "Sequence") return post_processor_item(value, type);
    const Json& items = member(value, "processors");
    if (!items.is_array()) return corrupt("post_processor.processors", "a list", items);
    for (const Json& item : items) {
      DSL_ASSIGN(const std::string item_type, string(item, "type"));
      DSL_TRY(post_processor_item(item, item_type));
    }
    return {};
  }

  Status post_processor_item(const Json& item, std::string_view type) {
    if (type == "ByteLevel") return {};  // concerns offsets only
    if (type != "TemplateProcessing") return unsupported(fmt::format("post_processor {}", type));
    const Json& single = member(item, "single");
    if (!single.is_array()) return corrupt("post_processor.single", "a list", single);
    bool after_text = false;
    for (const Json& part : single) {
      if (!member(part, "Sequence").is_discarded()) {
        if (after_text) return unsupported("post_processor with the text twice");
        after_text = true;
        continue;
      }
      DSL_ASSIGN(const std::string name, string(member(part, "SpecialToken"), "id"));
      const Json& ids = member(member(member(item, "special_tokens"), name.c_str()), "ids");
      if (!ids.is_array()) return corrupt("post_processor.special_tokens", "ids of " + name, ids);
      for (const Json& value : ids) {
        DSL_ASSIGN(const std::int32_t token_id, id("post_processor.special_tokens.ids", value));
        (after_text ? spec_.suffix_ids : spec_.prefix_ids).push_back(token_id);
      }
    }
    return {};
  }

  Status decoder(const Json& root) const {
    const Json& value = member(root, "decoder");
    if (absent(value)) return {};
    DSL_ASSIGN(const std::string type, string(value, "type"));
    if (type != "ByteLevel") return unsupported("decoder " + type);
    return {};
  }

  Status tokenizer_config(const Json& config) {
    if (config.is_discarded()) return {};
    if (!config.is_object()) return corrupt("", "a JSON object", config);
    const auto token = [&](const char* key) -> std::optional<std::string> {
      const Json& value = member(config, key);
      const Json& text = value.is_object() ? member(value, "content") : value;
      if (!text.is_string()) return std::nullopt;
      return text.get<std::string>();
    };
    spec_.bos_token = token("bos_token");
    spec_.eos_token = token("eos_token");
    const auto flag = [&](const char* key) -> std::optional<bool> {
      const Json& value = member(config, key);
      if (!value.is_boolean()) return std::nullopt;
      return value.get<bool>();
    };
    spec_.adds_bos = flag("add_bos_token");
    spec_.adds_eos = flag("add_eos_token");
    return {};
  }

  std::string_view origin_;
  TokenizerSpec spec_;
  std::unordered_map<std::string, std::int32_t> ids_;  // of all spellings
  bool byte_level_ = false;
};

}  // namespace

Result<TokenizerSpec> parse_tokenizer_json(std::string_view tokenizer, std::string_view config,
                                           std::string_view origin) {
  DSL_ASSIGN(const Json root, parse_json(tokenizer, origin, ErrorCode::kTokenizerCorrupt));
  Json config_root(Json::value_t::discarded);
  if (!config.empty()) {
    const std::string config_origin = fmt::format("tokenizer_config.json of {}", origin);
    DSL_ASSIGN(config_root, parse_json(config, config_origin, ErrorCode::kTokenizerCorrupt));
  }
  return Reader(origin).read(root, config_root);
}

}  // namespace dsl::text
