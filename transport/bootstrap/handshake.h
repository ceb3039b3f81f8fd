// Mutual proof of the per-launch secret: both sides answer the other's random challenge with an
// HMAC.
//
//   server -> rank  kChallenge  magic, server nonce
//   rank -> server  kJoin       rank, world size, rank nonce, HMAC(secret, "rank", both nonces,
//   rank, world size) server -> rank  kWelcome    HMAC(secret, "server", both nonces, rank, world
//   size)   or kRefused: error
//
// The roles inside the HMACs keep one side's answer from being reflected as the other's. Later
// frames are not signed: the rendezvous trusts the network not to alter connections, but nobody
// joins who lacks the secret.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "transport/base/crypto.h"
#include "transport/base/error.h"

namespace dsl::bootstrap {

/// The largest frame that is accepted before the other side has proved itself.
inline constexpr std::size_t kMaxHandshakeFrame = 4096;

struct Challenge {
  Digest server_nonce{};
};

struct Join {
  std::uint32_t rank = 0;
  std::uint32_t world_size = 0;
  Digest rank_nonce{};
  Digest proof{};
};

enum class Role { kServer, kRank };

/// What `role` answers to the nonces of a handshake; join.proof is not used.
Result<Digest> prove(std::string_view secret, Role role, const Challenge& challenge,
                     const Join& join);

std::string encode(const Challenge& challenge);
std::string encode(const Join& join);
std::string encode_proof(const Digest& proof);
Result<Challenge> decode_challenge(std::string_view payload);
Result<Join> decode_join(std::string_view payload);
Result<Digest> decode_proof(std::string_view payload);

}  // namespace dsl::bootstrap
