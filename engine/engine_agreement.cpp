#include "engine/engine_agreement.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine_messages.h"
#include "engine/runtime/boot_id.h"
#include "transport/base/log.h"

namespace dsl::engine {
namespace {

// Lanes of the plan channel that step plans do not use.
constexpr std::uint8_t kOfferLane = 2;
constexpr std::uint8_t kAnswerLane = 3;
constexpr std::uint8_t kLoadedLane = 4;

/// The exchanges of a start, in order.
enum class Exchange : std::uint8_t { kStart, kDevice, kCache };

struct StartMessage {
  RankOffer offer;
  std::uint64_t cpus = 0;  // equal on ranks that share their CPUs
  std::uint64_t node = 0;  // equal on ranks of a node that see the same devices
};

struct DeviceMessage {
  std::uint64_t device = 0;
  std::uint64_t kernels = 0;
};

std::uint64_t digest(const std::string& text) { return std::hash<std::string>{}(text); }

/// Identifies the CPUs this process may use: the machine's boot and the affinity mask.
std::uint64_t cpu_identity() {
  std::string identity = boot_id();
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ::sched_getaffinity(0, sizeof(mask), &mask);
  identity.append(reinterpret_cast<const char*>(&mask), sizeof(mask));
  return digest(identity);
}

/// A rank that was given devices of its own counts for itself.
std::uint64_t node_identity() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return digest(boot_id() + " " + (visible == nullptr ? "" : visible));
}

template <typename T>
SharedBytes to_bytes(const std::vector<T>& values) {
  const auto* begin = reinterpret_cast<const std::byte*>(values.data());
  return std::make_shared<const std::vector<std::byte>>(begin, begin + values.size() * sizeof(T));
}

template <typename T>
Result<std::vector<T>> receive(wire::Wire& wire, int peer, std::uint8_t lane, Exchange exchange,
                               std::size_t count, Deadline deadline) {
  const auto tag = make_tag(wire::Channel::kPlan, lane, static_cast<std::uint64_t>(exchange));
  DSL_ASSIGN(PostedReceive posted, PostedReceive::post(wire, peer, tag, count * sizeof(T)));
  DSL_ASSIGN(const std::vector<std::byte> bytes, posted.take(deadline));
  std::vector<T> values(count);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// What every rank says, in their order, through rank 0.
template <typename T>
Result<std::vector<T>> exchange_all(wire::Wire* wire, Exchange exchange, const T& own,
                                    Deadline deadline) {
  std::vector<T> all{own};
  if (wire == nullptr || wire->world_size() == 1) return all;
  const auto world = static_cast<std::size_t>(wire->world_size());
  const auto tag = [&](std::uint8_t lane) {
    return make_tag(wire::Channel::kPlan, lane, static_cast<std::uint64_t>(exchange));
  };
  Outbox outbox(*wire);
  if (wire->rank() != 0) {
    DSL_TRY(outbox.send(0, tag(kOfferLane), to_bytes(all)));
    DSL_ASSIGN(all, receive<T>(*wire, 0, kAnswerLane, exchange, world, deadline));
    DSL_TRY(outbox.wait_until_at_most(0, deadline));
    return all;
  }
  for (int rank = 1; rank < wire->world_size(); ++rank) {
    DSL_ASSIGN(const std::vector<T> offer,
               receive<T>(*wire, rank, kOfferLane, exchange, 1, deadline));
    all.push_back(offer.front());
  }
  for (int rank = 1; rank < wire->world_size(); ++rank) {
    DSL_TRY(outbox.send(rank, tag(kAnswerLane), to_bytes(all)));
  }
  DSL_TRY(outbox.wait_until_at_most(0, deadline));
  return all;
}

bool same_start(const RankOffer& a, const RankOffer& b) {
  return a.tp == b.tp && a.pp == b.pp && a.compute_dtype == b.compute_dtype &&
         a.fp8_activations == b.fp8_activations && a.fp8_cache == b.fp8_cache &&
         a.max_batch_tokens == b.max_batch_tokens && a.model_digest == b.model_digest;
}

tl::unexpected<Error> differs(std::int64_t rank) {
  return fail(ErrorCode::kConfig, "start every rank with the same model and options",
              "comparing the ranks of the world: rank {} has another model, tp, pp, dtype, "
              "choice of FP8 activations or cache or step size than rank 0",
              rank);
}

int rank_in(const wire::Wire* wire) { return wire == nullptr ? 0 : wire->rank(); }

}  // namespace

Result<RankPlace> agree(wire::Wire* wire, const RankOffer& offer, Deadline deadline) {
  const StartMessage own{offer, cpu_identity(), node_identity()};
  DSL_ASSIGN(const std::vector<StartMessage> all,
             exchange_all(wire, Exchange::kStart, own, deadline));
  const auto differing = std::find_if(all.begin(), all.end(), [&](const StartMessage& other) {
    return !same_start(other.offer, all.front().offer);
  });
  if (differing != all.end()) return differs(differing - all.begin());
  const auto shares_cpus = [&](const StartMessage& other) { return other.cpus == own.cpus; };
  const auto shares_node = [&](const StartMessage& other) { return other.node == own.node; };
  const auto self = all.begin() + rank_in(wire);
  return RankPlace{static_cast<int>(std::count_if(all.begin(), self, shares_cpus)),
                   static_cast<int>(std::count_if(all.begin(), all.end(), shares_cpus)),
                   static_cast<int>(std::count_if(all.begin(), self, shares_node))};
}

Result<int> count_device_ranks(wire::Wire* wire, std::string_view identifier,
                               std::string_view kernels, Deadline deadline) {
  const DeviceMessage own{digest(boot_id() + " " + std::string(identifier)),
                          digest(std::string(kernels))};
  DSL_ASSIGN(const std::vector<DeviceMessage> all,
             exchange_all(wire, Exchange::kDevice, own, deadline));
  const auto has_other_kernels = [&](const DeviceMessage& other) {
    return other.kernels != own.kernels;
  };
  if (rank_in(wire) == 0 && std::any_of(all.begin(), all.end(), has_other_kernels)) {
    log(LogLevel::kWarning,
        "the ranks run different kernel variants: results may differ in their last bits from those "
        "of one process");
  }
  if (identifier.empty()) return 1;
  return static_cast<int>(std::count_if(all.begin(), all.end(), [&](const DeviceMessage& other) {
    return other.device == own.device;
  }));
}

Result<std::int64_t> agree_on_cache(wire::Wire* wire, std::int64_t kv_tokens, Deadline deadline) {
  DSL_ASSIGN(const std::vector<std::int64_t> all,
             exchange_all(wire, Exchange::kCache, kv_tokens, deadline));
  return *std::min_element(all.begin(), all.end());
}

Status wait_until_all_loaded(wire::Wire* wire) {
  if (wire == nullptr || wire->world_size() == 1) return {};
  // Loading takes as long as the storage needs; a rank that dies meanwhile ends the wait.
  if (wire->rank() == 0) {
    for (int rank = 1; rank < wire->world_size(); ++rank) {
      DSL_TRY(
          receive<std::uint64_t>(*wire, rank, kLoadedLane, Exchange::kStart, 1, Deadline::never()));
    }
    return {};
  }
  Outbox outbox(*wire);
  DSL_TRY(outbox.send(0, make_tag(wire::Channel::kPlan, kLoadedLane, 0),
                      to_bytes(std::vector<std::uint64_t>{1})));
  return outbox.wait_until_at_most(0, Deadline::never());
}

}  // namespace dsl::engine
