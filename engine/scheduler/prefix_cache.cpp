#include "engine/scheduler/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace dsl::scheduler {
namespace {

/// Mixes a value into a hash (the finaliser of SplitMix64).
std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash += value + 0x9e3779b97f4a7c15u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

}  // namespace

PrefixCache::PrefixCache(std::int64_t num_blocks, std::int64_t block_tokens)
    : block_tokens_(block_tokens),
      pool_(num_blocks),
      published_(static_cast<std::size_t>(num_blocks)) {}

PrefixMatch PrefixCache::match(const CachedTokens& tokens, std::int64_t max_tokens) {
  PrefixMatch match;
  for (std::int64_t index = 0; (index + 1) * block_tokens_ <= max_tokens; ++index) {
    const Place place = place_of(match.end, tokens, index);
    const std::int32_t* block = find(place, hash_of(place));
    if (block == nullptr) break;
    pool_.retain(*block);
    match.blocks.push_back(*block);
    match.end = published(*block).node;
  }
  return match;
}

std::int32_t PrefixCache::allocate() {
  const BlockPool::Allocation allocation = pool_.allocate();
  if (allocation.was_kept) forget(allocation.block);
  return allocation.block;
}

PrefixNode PrefixCache::publish(PrefixNode parent, std::int32_t block, const CachedTokens& tokens,
                                std::int64_t index) {
  Place place = place_of(parent, tokens, index);
  const std::uint64_t hash = hash_of(place);
  if (const std::int32_t* same = find(place, hash)) return published(*same).node;
  by_hash_.emplace(hash, block);
  published(block) = {PrefixNode{next_node_++}, hash, std::move(place)};
  return published(block).node;
}

void PrefixCache::release(const std::vector<std::int32_t>& blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const bool is_published = published(*block).node != PrefixNode::kRoot;
    pool_.release(*block, is_published ? BlockPool::AfterUse::kKeep : BlockPool::AfterUse::kFree);
  }
}

PrefixCache::Place PrefixCache::place_of(PrefixNode parent, const CachedTokens& tokens,
                                         std::int64_t index) const {
  const std::int64_t first = index * block_tokens_;
  const auto begin = tokens.token_ids.begin() + first;
  return {parent,
          std::clamp<std::int64_t>(tokens.num_prompt_tokens - first, 0, block_tokens_),
          {begin, begin + block_tokens_}};
}

std::uint64_t PrefixCache::hash_of(const Place& place) {
  std::uint64_t hash = mix(static_cast<std::uint64_t>(place.parent),
                           static_cast<std::uint64_t>(place.num_prompt_tokens));
  for (const std::int32_t id : place.token_ids) hash = mix(hash, static_cast<std::uint64_t>(id));
  return hash;
}

const std::int32_t* PrefixCache::find(const Place& place, std::uint64_t hash) const {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (published_[static_cast<std::size_t>(it->second)].place == place) return &it->second;
  }
  return nullptr;
}

void PrefixCache::forget(std::int32_t block) {
  const auto [begin, end] = by_hash_.equal_range(published(block).hash);
  by_hash_.erase(
      std::find_if(begin, end, [&](const auto& entry) { return entry.second == block; }));
  published(block) = {};
}

}  // namespace dsl::scheduler
