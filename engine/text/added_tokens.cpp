#include "engine/text/added_tokens.h"

#include <algorithm>

#include "engine/text/utf8.h"

namespace dsl::text {

bool AddedToken::is_control() const {
  if (is_special) return true;
  if (content.find_first_not_of(" \t\r\n") == std::string::npos) return false;
  return decode_utf8(content).length != content.size();
}

AddedTokenMatcher::Trie::Trie() : leaves_(1), first_bytes_(256, false) {}

void AddedTokenMatcher::Trie::insert(const AddedToken& token) {
  if (token.content.empty()) return;  // as the reference does
  std::uint32_t node = 0;
  for (const char c : token.content) {
    const std::uint64_t edge = std::uint64_t{node} << 8 | static_cast<std::uint8_t>(c);
    const auto [it, is_new] = edges_.emplace(edge, static_cast<std::uint32_t>(leaves_.size()));
    if (is_new) leaves_.emplace_back();
    node = it->second;
  }
  leaves_[node] = Leaf{token.id, token.is_control()};
  first_bytes_[static_cast<std::uint8_t>(token.content[0])] = true;
}

std::optional<AddedTokenMatcher::Trie::Match> AddedTokenMatcher::Trie::longest(
    std::string_view text, std::size_t position, std::size_t control_end) const {
  std::optional<Match> match;
  std::uint32_t node = 0;
  for (std::size_t i = position; i < text.size(); ++i) {
    const auto edge = edges_.find(std::uint64_t{node} << 8 | static_cast<std::uint8_t>(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    const std::optional<Leaf>& leaf = leaves_[node];
    if (leaf && (!leaf->is_control || i < control_end)) match = Match{i + 1 - position, leaf->id};
  }
  return match;
}

AddedTokenMatcher::AddedTokenMatcher(std::span<const AddedToken> tokens) {
  for (const AddedToken& token : tokens) {
    (token.is_normalized ? normalized_ : plain_).insert(token);
  }
}

std::vector<TextPart> AddedTokenMatcher::split(std::string_view text,
                                               std::span<const LiteralRange> literals) const {
  std::vector<TextPart> parts;
  split_part(plain_, text, {text, std::nullopt}, literals, parts);
  std::vector<TextPart> result;
  for (const TextPart& part : parts) {
    if (part.id) {
      result.push_back(part);
    } else {
      split_part(normalized_, text, part, literals, result);
    }
  }
  return result;
}

void AddedTokenMatcher::split_part(const Trie& trie, std::string_view whole, TextPart part,
                                   std::span<const LiteralRange> literals,
                                   std::vector<TextPart>& parts) const {
  const std::string_view text = part.text;
  const auto offset = static_cast<std::size_t>(text.data() - whole.data());
  auto literal = std::ranges::lower_bound(literals, offset, std::ranges::less_equal(),
                                          [](const LiteralRange& range) { return range.end; });
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (!trie.may_start(text[i])) {
      ++i;
      continue;
    }
    while (literal != literals.end() && literal->end <= offset + i) ++literal;
    const bool in_literal = literal != literals.end() && literal->begin <= offset + i;
    const auto match = trie.longest(text, i, in_literal ? literal->end - offset : 0);
    if (!match) {
      ++i;
      continue;
    }
    if (i > begin) parts.push_back({text.substr(begin, i - begin), std::nullopt});
    parts.push_back({text.substr(i, match->length), match->id});
    i += match->length;
    begin = i;
  }
  if (begin < text.size()) parts.push_back({text.substr(begin), std::nullopt});
}

}  // namespace dsl::text
