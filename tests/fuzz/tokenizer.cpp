// Fuzzes tokenizer.json and what it is used for. The first byte chooses: 'j' a whole
// tokenizer.json, then after a NUL the text to encode; otherwise a split pattern, then after a NUL
// the text.
#include "engine/text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/text/byte_alphabet.h"
#include "engine/text/utf8.h"

namespace {

using dsl::text::SpecialTokens;
using dsl::text::Tokenizer;
using Json = nlohmann::json;

/// A tokenizer of all bytes and a few merges, with one Split that isolates `pattern`.
std::string tokenizer_with(const std::string& pattern) {
  Json vocab;
  for (int byte = 0; byte < 256; ++byte) {
    vocab[dsl::text::spell_byte(static_cast<std::uint8_t>(byte))] = byte;
  }
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const Json added = {{"id", 258}, {"content", "<x>"}, {"special", true}, {"normalized", false}};
  const Json root = {
      {"added_tokens", Json::array({added})},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "ab c"}}}}};
  return root.dump();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t end = input.find('\0');
  const std::string_view head = input.substr(0, end);
  const std::string_view text =
      end == std::string_view::npos ? "ab 12\n<x>" : input.substr(end + 1);
  const bool is_json = data[0] == 'j';
  if (!is_json && dsl::text::find_invalid_utf8(head)) return 0;
  const std::string json = is_json ? std::string(head) : tokenizer_with(std::string(head));
  const auto tokenizer = Tokenizer::parse(json, "", "fuzz");
  DSL_CHECK(tokenizer || is_json || head != "x", "{}", tokenizer.error().to_string());
  if (!tokenizer) return 0;
  for (const SpecialTokens special : {SpecialTokens::kIgnore, SpecialTokens::kParse}) {
    const auto ids = tokenizer->encode(text, {.special_tokens = special});
    DSL_CHECK(ids || !dsl::text::find_invalid_utf8(text) ||
                  ids.error().code == dsl::ErrorCode::kInvalidUtf8,
              "invalid text must be refused as such");
    if (!ids) continue;
    const std::string decoded = tokenizer->decode(*ids);
    DSL_CHECK(is_json || decoded == text, "\"{}\" decodes as \"{}\"", text, decoded);
  }
  return 0;
}
