// Byte-pair merges within one piece of text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "transport/base/error.h"

namespace dsl::text {

/// A merge of two neighbouring tokens into one; the position in the list of merges is its rank,
/// lowest first.
struct MergeRule {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t merged = 0;
};

/// Memory that encoding reuses, with a cache of short pieces. One per thread at a time.
class BpeScratch {
 public:
  BpeScratch() : cache_(kCacheSlots) {}

 private:
  friend class Bpe;
  static constexpr std::size_t kCacheSlots = 1 << 14;  // 1 MiB: within a core's L2
  static constexpr std::size_t kMaxKey = 26;
  static constexpr std::size_t kMaxIds = 9;
  /// A cached piece in one cache line.
  struct alignas(64) Slot {
    std::array<char, kMaxKey> key{};
    std::uint8_t key_size = 0;  // 0: empty
    std::uint8_t num_ids = 0;
    std::array<std::int32_t, kMaxIds> ids{};
  };
  /// A token in the making. Merged symbols leave the list.
  struct Symbol {
    std::int32_t id = 0;
    std::uint32_t rank = 0;      // of the merge with the next symbol
    std::int32_t merged = 0;     // what that merge gives
    std::uint32_t previous = 0;  // of long pieces
    std::uint32_t next = 0;      // of long pieces
  };
  std::vector<Slot> cache_;
  std::vector<Symbol> symbols_;
  std::vector<std::uint64_t> heap_;
};

/// The merges of a vocabulary. Immutable; thread-safe with one scratch per thread.
class Bpe {
 public:
  /// `byte_ids` holds the token of each byte that may occur in UTF-8 text. `whole_pieces`, when
  /// given, maps pieces that are tokens to them before any merge ("ignore_merges").
  struct Options {
    std::array<std::optional<std::int32_t>, 256> byte_ids;
    std::vector<MergeRule> merges;
    std::optional<std::unordered_map<std::string, std::int32_t>> whole_pieces;
  };
  explicit Bpe(Options options);

  /// Appends the tokens of a piece of valid UTF-8 shorter than 4 GiB. O(n log n) in the piece's
  /// length.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<std::int32_t>& ids) const;

 private:
  static constexpr std::uint32_t kNoMerge = 0xFFFFFFFF;
  struct MergeSlot {
    std::uint64_t pair = ~std::uint64_t{0};  // left << 32 | right; all ones: empty
    std::uint32_t rank = kNoMerge;
    std::int32_t merged = 0;
  };
  struct Merge {
    std::uint32_t rank = kNoMerge;
    std::int32_t merged = 0;
  };
  Merge find_merge(std::int32_t left, std::int32_t right) const;
  void merge_piece(std::string_view piece, BpeScratch& scratch,
                   std::vector<std::int32_t>& ids) const;
  void merge_by_scan(std::vector<BpeScratch::Symbol>& symbols) const;
  void merge_by_heap(BpeScratch& scratch) const;

  std::array<std::int32_t, 256> byte_ids_{};
  std::vector<MergeSlot> table_;  // open addressing, a power of two
  std::optional<std::unordered_map<std::string, std::int32_t>> whole_pieces_;
};

}  // namespace dsl::text
