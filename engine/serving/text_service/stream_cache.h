// The open answers of a postprocess service, bounded: what is dropped is rebuilt when it is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

#include "engine/serving/text_service/answer_stream.h"

namespace dsl::serving {

/// Keeps the most recently used. Thread-compatible.
class StreamCache {
 public:
  struct Limits {
    std::size_t max_streams = 65'536;
    std::size_t max_bytes = std::size_t{256} << 20;
  };
  /// An answer and how many tokens went into it.
  struct Entry {
    AnswerStream stream;
    std::int64_t position = 0;
  };

  explicit StreamCache(Limits limits) : limits_(limits) {}

  /// Takes the answer out if it is there and at `position`.
  std::optional<Entry> take(const std::string& id, std::int64_t position);
  /// Puts an answer in, the oldest out if need be.
  void put(const std::string& id, Entry entry);

  std::size_t num_streams() const { return places_.size(); }
  std::size_t num_bytes() const { return num_bytes_; }
  std::int64_t num_evictions() const { return num_evictions_; }

 private:
  struct Kept {
    std::string id;
    Entry entry;
    std::size_t num_bytes = 0;
  };
  void erase(std::list<Kept>::iterator kept);

  Limits limits_;
  std::list<Kept> streams_;  // the most recently used first
  std::unordered_map<std::string, std::list<Kept>::iterator> places_;
  std::size_t num_bytes_ = 0;
  std::int64_t num_evictions_ = 0;
};

}  // namespace dsl::serving
