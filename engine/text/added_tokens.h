// Finds added tokens in text: leftmost, then longest, control tokens only where the text may hold
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dsl::text {

/// An entry of "added_tokens".
struct AddedToken {
  std::int32_t id = 0;
  std::string content;  // UTF-8
  bool is_special = false;
  bool is_normalized = false;  // matched after the others, in what they left

  /// True unless the token is text: not special and a single character or white space. DeepSeek's
  /// role, reasoning and tool tokens are not marked special, so the mark alone would let users
  /// write them.
  bool is_control() const;
};

/// A byte range [begin, end) of the text whose bytes are all template literals.
struct LiteralRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// A part of a text: an added token, or text between them (no id).
struct TextPart {
  std::string_view text;
  std::optional<std::int32_t> id;
};

/// Immutable, thread-safe.
class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(std::span<const AddedToken> tokens);

  /// The parts of `text` in order. `literals` are ascending and disjoint, with a gap between
  /// neighbours: a control token matches only within one of them.
  std::vector<TextPart> split(std::string_view text, std::span<const LiteralRange> literals) const;

 private:
  /// A trie over bytes; its edges are one hash table.
  class Trie {
   public:
    Trie();
    void insert(const AddedToken& token);
    struct Match {
      std::size_t length = 0;
      std::int32_t id = 0;
    };
    /// The longest token at `position`; one of control kind only if it ends by `control_end`.
    std::optional<Match> longest(std::string_view text, std::size_t position,
                                 std::size_t control_end) const;
    bool may_start(char byte) const { return first_bytes_[static_cast<std::uint8_t>(byte)]; }

   private:
    struct Leaf {
      std::int32_t id = 0;
      bool is_control = false;
    };
    std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 8 | byte -> node
    std::vector<std::optional<Leaf>> leaves_;                 // of each node
    std::vector<bool> first_bytes_;
  };

  void split_part(const Trie& trie, std::string_view whole, TextPart part,
                  std::span<const LiteralRange> literals, std::vector<TextPart>& parts) const;

  Trie plain_;
  Trie normalized_;
};

}  // namespace dsl::text
