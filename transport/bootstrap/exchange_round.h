// The server's side of Membership::exchange: collects one blob of every rank, round by round.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::bootstrap {

inline constexpr std::size_t kMaxBlobBytes = 64 * 1024;

/// Thread-compatible.
class ExchangeRound {
 public:
  explicit ExchangeRound(int world_size) : blobs_(static_cast<std::size_t>(world_size)) {}

  std::uint32_t number() const { return number_; }

  /// kProtocol when the rank is in another round, has given its blob already, or gives too much.
  Status add(int rank, std::uint32_t round, std::string blob);

  /// The blobs by rank once all are there; the next round begins.
  std::optional<std::vector<std::string>> take_if_complete();

  /// Ranks that others wait for: empty unless someone has given a blob.
  std::vector<int> missing() const;

 private:
  std::uint32_t number_ = 0;
  std::vector<std::optional<std::string>> blobs_;
};

}  // namespace dsl::bootstrap
