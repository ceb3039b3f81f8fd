#include "transport/bootstrap/handshake.h"

#include "transport/bootstrap/frame.h"

namespace dsl::bootstrap {
namespace {

constexpr std::uint32_t kMagic = 0x314c5344;  // "DSL1": the protocol and its version

}  // namespace

Result<Digest> prove(std::string_view secret, Role role, const Challenge& challenge,
                     const Join& join) {
  PayloadWriter message;
  message.text(role == Role::kServer ? "dslaunch server" : "dslaunch rank")
      .raw(challenge.server_nonce)
      .raw(join.rank_nonce)
      .u32(join.rank)
      .u32(join.world_size);
  const std::string bytes = message.take();
  return hmac_sha256(secret, std::as_bytes(std::span(bytes)));
}

std::string encode(const Challenge& challenge) {
  return PayloadWriter().u32(kMagic).raw(challenge.server_nonce).take();
}

std::string encode(const Join& join) {
  return PayloadWriter()
      .u32(join.rank)
      .u32(join.world_size)
      .raw(join.rank_nonce)
      .raw(join.proof)
      .take();
}

std::string encode_proof(const Digest& proof) { return PayloadWriter().raw(proof).take(); }

Result<Challenge> decode_challenge(std::string_view payload) {
  PayloadReader reader(payload);
  DSL_ASSIGN(const std::uint32_t magic, reader.u32());
  if (magic != kMagic) {
    return fail(ErrorCode::kProtocol,
                "check that the address belongs to a rendezvous server of this version",
                "rendezvous greeting: expected {:#x}, found {:#x}", kMagic, magic);
  }
  Challenge challenge;
  DSL_TRY(reader.raw(challenge.server_nonce));
  DSL_TRY(reader.finish());
  return challenge;
}

Result<Join> decode_join(std::string_view payload) {
  PayloadReader reader(payload);
  Join join;
  DSL_ASSIGN(join.rank, reader.u32());
  DSL_ASSIGN(join.world_size, reader.u32());
  DSL_TRY(reader.raw(join.rank_nonce));
  DSL_TRY(reader.raw(join.proof));
  DSL_TRY(reader.finish());
  return join;
}

Result<Digest> decode_proof(std::string_view payload) {
  PayloadReader reader(payload);
  Digest proof{};
  DSL_TRY(reader.raw(proof));
  DSL_TRY(reader.finish());
  return proof;
}

}  // namespace dsl::bootstrap
