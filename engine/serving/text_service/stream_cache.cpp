#include "engine/serving/text_service/stream_cache.h"

#include <utility>

namespace dsl::serving {

std::optional<StreamCache::Entry> StreamCache::take(const std::string& id, std::int64_t position) {
  const auto place = places_.find(id);
  if (place == places_.end()) return std::nullopt;
  std::optional<Entry> taken;
  if (place->second->entry.position == position) taken.emplace(std::move(place->second->entry));
  erase(place->second);
  return taken;
}

void StreamCache::put(const std::string& id, Entry entry) {
  if (const auto place = places_.find(id); place != places_.end()) erase(place->second);
  const std::size_t num_bytes = entry.stream.num_bytes() + 2 * id.size() + sizeof(Kept);
  streams_.push_front({id, std::move(entry), num_bytes});
  places_[id] = streams_.begin();
  num_bytes_ += num_bytes;
  while (!streams_.empty() &&
         (places_.size() > limits_.max_streams || num_bytes_ > limits_.max_bytes)) {
    erase(std::prev(streams_.end()));
    ++num_evictions_;
  }
}

void StreamCache::erase(std::list<Kept>::iterator kept) {
  num_bytes_ -= kept->num_bytes;
  places_.erase(kept->id);
  streams_.erase(kept);
}

}  // namespace dsl::serving
