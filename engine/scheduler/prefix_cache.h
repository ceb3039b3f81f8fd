// The paged latent cache as sequences see it: blocks of their own, and blocks that others have
// computed for the same beginning.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/scheduler/block_pool.h"

namespace dsl::scheduler {

/// The tokens of a sequence and where its prompt ends: together they determine every cached value
/// to the bit (docs/adr/0014-prefix-cache.md).
struct CachedTokens {
  std::span<const std::int32_t> token_ids;
  std::int64_t num_prompt_tokens = 0;
};

/// A position in the tree of published blocks: the beginning that ends with one of them.
enum class PrefixNode : std::uint64_t { kRoot };

struct PrefixMatch {
  std::vector<std::int32_t> blocks;
  PrefixNode end = PrefixNode::kRoot;
};

/// Full blocks that were published can be matched by later sequences; they form a tree in which a
/// block's place is its parent, its tokens and how many of these are of the prompt. Places are
/// compared token by token, never by hash alone. Unused published blocks are kept until free ones
/// run out. A sequence releases its last block first, so the ends of unused beginnings go before
/// what others may share.
///
/// Publishing says that the values are there for every plan after the current one. Ranks execute
/// plans in order, each on its own layers, so when the plan that reads a block reaches a pipeline
/// stage, that stage has executed the plan that wrote it; and a block that is handed on is
/// overwritten only by a later plan than the last one that reads it. Thread-compatible.
class PrefixCache {
 public:
  PrefixCache(std::int64_t num_blocks, std::int64_t block_tokens);

  std::int64_t num_blocks() const { return pool_.num_blocks(); }
  std::int64_t num_free() const { return pool_.num_free(); }
  std::int64_t num_cached() const { return pool_.num_kept(); }
  std::int64_t num_used() const { return pool_.num_used(); }
  /// Blocks that allocate() can still give.
  std::int64_t num_available() const { return num_free() + num_cached(); }

  /// The longest published beginning of `tokens`, of at most `max_tokens` tokens. The caller uses
  /// its blocks and releases them.
  PrefixMatch match(const CachedTokens& tokens, std::int64_t max_tokens);
  /// num_available() must be positive.
  std::int32_t allocate();
  /// Makes `block`, which holds block `index` of `tokens` behind `parent`, matchable. Returns its
  /// place. When another block has that place already, `block` stays its user's alone.
  PrefixNode publish(PrefixNode parent, std::int32_t block, const CachedTokens& tokens,
                     std::int64_t index);
  void release(const std::vector<std::int32_t>& blocks);

 private:
  /// Where a published block hangs in the tree.
  struct Place {
    PrefixNode parent = PrefixNode::kRoot;
    std::int64_t num_prompt_tokens = 0;  // of the block
    std::vector<std::int32_t> token_ids;

    bool operator==(const Place&) const = default;
  };
  struct PublishedBlock {
    PrefixNode node = PrefixNode::kRoot;  // kRoot: not published
    std::uint64_t hash = 0;
    Place place;
  };

  static std::uint64_t hash_of(const Place& place);
  Place place_of(PrefixNode parent, const CachedTokens& tokens, std::int64_t index) const;
  /// The block with this place, or nothing.
  const std::int32_t* find(const Place& place, std::uint64_t hash) const;
  void forget(std::int32_t block);
  PublishedBlock& published(std::int32_t block) {
    return published_[static_cast<std::size_t>(block)];
  }

  std::int64_t block_tokens_;
  BlockPool pool_;
  std::vector<PublishedBlock> published_;                         // by block
  std::unordered_multimap<std::uint64_t, std::int32_t> by_hash_;  // of published blocks
  std::uint64_t next_node_ = 1;  // never reused, so a lost parent is found by nobody
};

}  // namespace dsl::scheduler
