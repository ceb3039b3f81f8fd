// POST /v1/postprocess: tokens of many answers at once to what is new in each.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/serving/text_service/served_model.h"
#include "engine/serving/text_service/stream_cache.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Thread-compatible.
class Postprocessor {
 public:
  Postprocessor(std::shared_ptr<const ServedModel> model, StreamCache::Limits limits)
      : model_(std::move(model)), cache_(limits) {}

  /// The body of the request to that of the answer (docs/process-contract.md). Errors:
  /// kRequestInvalid.
  Result<std::string> process(std::string_view body);

  const StreamCache& cache() const { return cache_; }
  std::int64_t num_tokens() const { return num_tokens_; }
  /// Answers that had to be rebuilt, or that this service was asked for and did not have.
  std::int64_t num_rebuilds() const { return num_rebuilds_; }
  std::int64_t num_misses() const { return num_misses_; }

 private:
  struct Item;
  Result<std::string> process_item(Item item);

  std::shared_ptr<const ServedModel> model_;
  StreamCache cache_;
  std::int64_t num_tokens_ = 0;
  std::int64_t num_rebuilds_ = 0;
  std::int64_t num_misses_ = 0;
};

}  // namespace dsl::serving
