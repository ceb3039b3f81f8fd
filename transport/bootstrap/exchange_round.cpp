#include "transport/bootstrap/exchange_round.h"

#include <utility>

namespace dsl::bootstrap {

Status ExchangeRound::add(int rank, std::uint32_t round, std::string blob) {
  auto& slot = blobs_[static_cast<std::size_t>(rank)];
  if (round != number_ || slot.has_value()) {
    return fail(ErrorCode::kProtocol, "run the same build on every rank",
                "rank {} is in round {} of the exchange, the world in round {}", rank, round,
                number_);
  }
  if (blob.size() > kMaxBlobBytes) {
    return fail(ErrorCode::kProtocol, "run the same build on every rank",
                "rank {} gave {} bytes to the exchange: expected at most {}", rank, blob.size(),
                kMaxBlobBytes);
  }
  slot = std::move(blob);
  return {};
}

std::optional<std::vector<std::string>> ExchangeRound::take_if_complete() {
  for (const auto& blob : blobs_) {
    if (!blob) return std::nullopt;
  }
  std::vector<std::string> all;
  all.reserve(blobs_.size());
  for (auto& blob : blobs_) all.push_back(*std::exchange(blob, std::nullopt));
  ++number_;
  return all;
}

std::vector<int> ExchangeRound::missing() const {
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < blobs_.size(); ++rank) {
    if (!blobs_[rank]) ranks.push_back(static_cast<int>(rank));
  }
  if (ranks.size() == blobs_.size()) ranks.clear();
  return ranks;
}

}  // namespace dsl::bootstrap
