#include "engine/text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

namespace dsl::text {
namespace {

// Below this many bytes a scan for the lowest rank beats the heap.
constexpr std::size_t kScanLimit = 128;
constexpr std::uint32_t kEnd = std::numeric_limits<std::uint32_t>::max();

std::uint64_t mix(std::uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

Bpe::Bpe(Options options) : whole_pieces_(std::move(options.whole_pieces)) {
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = options.byte_ids[byte].value_or(0);
  }
  table_.resize(std::bit_ceil(2 * options.merges.size() + 1));
  std::uint32_t rank = 0;
  for (const MergeRule& rule : options.merges) {
    const std::uint64_t key = pair_key(rule.left, rule.right);
    std::size_t slot = mix(key) & (table_.size() - 1);
    while (table_[slot].rank != kNoMerge && table_[slot].pair != key) {
      slot = (slot + 1) & (table_.size() - 1);
    }
    table_[slot] = {key, rank++,
                    rule.merged};  // of equal pairs the last counts, as in the reference
  }
}

Bpe::Merge Bpe::find_merge(std::int32_t left, std::int32_t right) const {
  const std::uint64_t key = pair_key(left, right);
  std::size_t slot = mix(key) & (table_.size() - 1);
  while (table_[slot].pair != key) {
    if (table_[slot].rank == kNoMerge) return {};
    slot = (slot + 1) & (table_.size() - 1);
  }
  return {table_[slot].rank, table_[slot].merged};
}

void Bpe::encode(std::string_view piece, BpeScratch& scratch,
                 std::vector<std::int32_t>& ids) const {
  using Slot = BpeScratch::Slot;
  if (piece.empty()) return;
  if (piece.size() > BpeScratch::kMaxKey) {
    merge_piece(piece, scratch, ids);
    return;
  }
  std::array<std::uint64_t, 4> words{};
  std::memcpy(words.data(), piece.data(), piece.size());
  std::uint64_t hash = piece.size();
  for (const std::uint64_t word : words) hash = mix(hash ^ word);
  Slot& slot = scratch.cache_[hash % BpeScratch::kCacheSlots];
  if (std::string_view(slot.key.data(), slot.key_size) == piece) {
    ids.insert(ids.end(), slot.ids.begin(), slot.ids.begin() + slot.num_ids);
    return;
  }
  const std::size_t before = ids.size();
  merge_piece(piece, scratch, ids);
  const std::size_t num_ids = ids.size() - before;
  if (num_ids > BpeScratch::kMaxIds) return;
  std::memcpy(slot.key.data(), piece.data(), piece.size());
  slot.key_size = static_cast<std::uint8_t>(piece.size());
  slot.num_ids = static_cast<std::uint8_t>(num_ids);
  std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(before), num_ids, slot.ids.begin());
}

void Bpe::merge_piece(std::string_view piece, BpeScratch& scratch,
                      std::vector<std::int32_t>& ids) const {
  if (whole_pieces_) {
    const auto whole = whole_pieces_->find(std::string(piece));
    if (whole != whole_pieces_->end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  std::vector<BpeScratch::Symbol>& symbols = scratch.symbols_;
  symbols.resize(piece.size());
  for (std::size_t i = 0; i < piece.size(); ++i) {
    symbols[i].id = byte_ids_[static_cast<std::uint8_t>(piece[i])];
  }
  for (std::size_t i = 0; i < piece.size(); ++i) {
    const Merge merge =
        i + 1 < piece.size() ? find_merge(symbols[i].id, symbols[i + 1].id) : Merge{};
    symbols[i].rank = merge.rank;
    symbols[i].merged = merge.merged;
  }
  if (piece.size() <= kScanLimit) {
    merge_by_scan(symbols);
    for (const BpeScratch::Symbol& symbol : symbols) ids.push_back(symbol.id);
    return;
  }
  merge_by_heap(scratch);
  for (std::uint32_t i = 0; i != kEnd; i = symbols[i].next) ids.push_back(symbols[i].id);
}

void Bpe::merge_by_scan(std::vector<BpeScratch::Symbol>& symbols) const {
  while (true) {
    const auto lowest = std::ranges::min_element(
        symbols, {}, [](const BpeScratch::Symbol& symbol) { return symbol.rank; });
    if (lowest->rank == kNoMerge) return;
    lowest->id = lowest->merged;
    symbols.erase(lowest + 1);
    const auto update = [&](auto symbol) {
      const Merge merge =
          symbol + 1 != symbols.end() ? find_merge(symbol->id, (symbol + 1)->id) : Merge{};
      symbol->rank = merge.rank;
      symbol->merged = merge.merged;
    };
    update(lowest);
    if (lowest != symbols.begin()) update(lowest - 1);
  }
}

void Bpe::merge_by_heap(BpeScratch& scratch) const {
  std::vector<BpeScratch::Symbol>& symbols = scratch.symbols_;
  std::vector<std::uint64_t>& heap = scratch.heap_;  // rank << 32 | position, lowest on top
  heap.clear();
  const auto count = static_cast<std::uint32_t>(symbols.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i].previous = i == 0 ? kEnd : i - 1;
    symbols[i].next = i + 1 == count ? kEnd : i + 1;
    if (symbols[i].rank != kNoMerge) heap.push_back(std::uint64_t{symbols[i].rank} << 32 | i);
  }
  std::ranges::make_heap(heap, std::greater());
  while (!heap.empty()) {
    std::ranges::pop_heap(heap, std::greater());
    const auto position = static_cast<std::uint32_t>(heap.back());
    const auto rank = static_cast<std::uint32_t>(heap.back() >> 32);
    heap.pop_back();
    BpeScratch::Symbol& symbol = symbols[position];
    if (symbol.rank != rank) continue;  // the pair has changed since
    BpeScratch::Symbol& taken = symbols[symbol.next];
    symbol.id = symbol.merged;
    symbol.next = taken.next;
    taken.rank = kNoMerge;
    if (symbol.next != kEnd) symbols[symbol.next].previous = position;
    const auto update = [&](std::uint32_t at) {
      BpeScratch::Symbol& changed = symbols[at];
      const Merge merge =
          changed.next != kEnd ? find_merge(changed.id, symbols[changed.next].id) : Merge{};
      changed.rank = merge.rank;
      changed.merged = merge.merged;
      if (merge.rank == kNoMerge) return;
      heap.push_back(std::uint64_t{merge.rank} << 32 | at);
      std::ranges::push_heap(heap, std::greater());
    };
    update(position);
    if (symbol.previous != kEnd) update(symbol.previous);
  }
}

}  // namespace dsl::text
