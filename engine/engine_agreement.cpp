#include "engine/engine_agreement.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine_messages.h"
#include "transport/base/log.h"

namespace dsl::engine {
namespace {

// Lanes of the plan channel that step plans do not use.
constexpr std::uint8_t kOfferLane = 2;
constexpr std::uint8_t kTermsLane = 3;
constexpr std::uint8_t kLoadedLane = 4;

struct OfferMessage {
  RankOffer offer;
  std::uint64_t cpus = 0;  // equal on ranks that share their CPUs
};

struct TermsMessage {
  WorldTerms terms;
  std::int64_t differing_rank = 0;  // 0: all agree
};

/// Identifies the CPUs this process may use: the machine's boot and the affinity mask.
std::uint64_t cpu_identity() {
  std::string identity;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), identity);
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ::sched_getaffinity(0, sizeof(mask), &mask);
  identity.append(reinterpret_cast<const char*>(&mask), sizeof(mask));
  return std::hash<std::string>{}(identity);
}

template <typename T>
SharedBytes to_bytes(const T& message) {
  const auto* begin = reinterpret_cast<const std::byte*>(&message);
  return std::make_shared<const std::vector<std::byte>>(begin, begin + sizeof(T));
}

template <typename T>
Result<T> receive(wire::Wire& wire, int peer, std::uint8_t lane, Deadline deadline) {
  DSL_ASSIGN(PostedReceive posted,
             PostedReceive::post(wire, peer, make_tag(wire::Channel::kPlan, lane, 0), sizeof(T)));
  DSL_ASSIGN(const std::vector<std::byte> bytes, posted.take(deadline));
  T message;
  std::memcpy(&message, bytes.data(), sizeof(T));
  return message;
}

bool same_start(const RankOffer& a, const RankOffer& b) {
  return a.tp == b.tp && a.pp == b.pp && a.compute_dtype == b.compute_dtype &&
         a.max_batch_tokens == b.max_batch_tokens && a.model_digest == b.model_digest;
}

tl::unexpected<Error> differs(std::int64_t rank) {
  return fail(ErrorCode::kConfig, "start every rank with the same model and options",
              "comparing the ranks of the world: rank {} has another model, tp, pp, dtype or step "
              "size than rank 0",
              rank);
}

/// Rank 0: hears all offers, answers all, and returns its own terms.
Result<WorldTerms> lead(wire::Wire& wire, const OfferMessage& own, Deadline deadline) {
  const int world = wire.world_size();
  std::vector<OfferMessage> offers{own};
  for (int rank = 1; rank < world; ++rank) {
    DSL_ASSIGN(const OfferMessage offer, receive<OfferMessage>(wire, rank, kOfferLane, deadline));
    offers.push_back(offer);
  }

  TermsMessage answer;
  answer.terms.kv_tokens = own.offer.kv_tokens;
  bool same_kernels = true;
  for (int rank = 1; rank < world; ++rank) {
    const RankOffer& offer = offers[static_cast<std::size_t>(rank)].offer;
    answer.terms.kv_tokens = std::min(answer.terms.kv_tokens, offer.kv_tokens);
    if (!same_start(offer, own.offer) && answer.differing_rank == 0) answer.differing_rank = rank;
    same_kernels = same_kernels && offer.kernels_digest == own.offer.kernels_digest;
  }
  if (!same_kernels) {
    log(LogLevel::kWarning,
        "the ranks run different kernel variants: results may differ in their last bits from those "
        "of one process");
  }

  Outbox outbox(wire);
  WorldTerms own_terms;
  for (int rank = 0; rank < world; ++rank) {
    const std::uint64_t cpus = offers[static_cast<std::size_t>(rank)].cpus;
    const auto shares = [&](const OfferMessage& other) { return other.cpus == cpus; };
    answer.terms.local_rank =
        static_cast<int>(std::count_if(offers.begin(), offers.begin() + rank, shares));
    answer.terms.local_ranks =
        static_cast<int>(std::count_if(offers.begin(), offers.end(), shares));
    if (rank == 0) {
      own_terms = answer.terms;
    } else {
      DSL_TRY(outbox.send(rank, make_tag(wire::Channel::kPlan, kTermsLane, 0), to_bytes(answer)));
    }
  }
  DSL_TRY(outbox.wait_until_at_most(0, deadline));
  if (answer.differing_rank != 0) return differs(answer.differing_rank);
  return own_terms;
}

Result<WorldTerms> follow(wire::Wire& wire, const OfferMessage& own, Deadline deadline) {
  Outbox outbox(wire);
  DSL_TRY(outbox.send(0, make_tag(wire::Channel::kPlan, kOfferLane, 0), to_bytes(own)));
  DSL_ASSIGN(const TermsMessage answer, receive<TermsMessage>(wire, 0, kTermsLane, deadline));
  DSL_TRY(outbox.wait_until_at_most(0, deadline));
  if (answer.differing_rank != 0) return differs(answer.differing_rank);
  return answer.terms;
}

}  // namespace

Result<WorldTerms> agree(wire::Wire* wire, const RankOffer& offer, Deadline deadline) {
  if (wire == nullptr || wire->world_size() == 1) return WorldTerms{offer.kv_tokens, 0, 1};
  const OfferMessage own{offer, cpu_identity()};
  return wire->rank() == 0 ? lead(*wire, own, deadline) : follow(*wire, own, deadline);
}

Status wait_until_all_loaded(wire::Wire* wire) {
  if (wire == nullptr || wire->world_size() == 1) return {};
  // Loading takes as long as the storage needs; a rank that dies meanwhile ends the wait.
  if (wire->rank() == 0) {
    for (int rank = 1; rank < wire->world_size(); ++rank) {
      DSL_TRY(receive<std::uint64_t>(*wire, rank, kLoadedLane, Deadline::never()));
    }
    return {};
  }
  Outbox outbox(*wire);
  DSL_TRY(
      outbox.send(0, make_tag(wire::Channel::kPlan, kLoadedLane, 0), to_bytes(std::uint64_t{1})));
  return outbox.wait_until_at_most(0, Deadline::never());
}

}  // namespace dsl::engine
