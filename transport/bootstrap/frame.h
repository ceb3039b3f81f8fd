// The rendezvous protocol's frames: a length, a type and a payload of little-endian fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "transport/base/bytes.h"
#include "transport/base/error.h"

namespace dsl::bootstrap {

enum class FrameType : std::uint8_t {
  kChallenge = 1,  // server -> rank: the handshake, see handshake.h
  kJoin,           // rank -> server
  kWelcome,        // server -> rank
  kRefused,        // server -> rank: error
  kBeat,  // both ways; from the server: round, count, ranks missing in that round of the exchange
  kExchange,  // rank -> server: round, blob
  kGathered,  // server -> rank: round, world_size blobs
  kReport,    // rank -> server: JSON text
  kFailed,    // server -> rank: rank, error
  kShutdown,  // server -> rank
  kGoodbye,   // rank -> server: what follows is no failure
  kState,     // rank -> server: text; server -> rank 0: rank, text
};
inline constexpr std::uint8_t kLastFrameType = static_cast<std::uint8_t>(FrameType::kState);

struct Frame {
  FrameType type{};
  std::string payload;
};

/// Length (4 bytes: type and payload), type (1 byte), payload.
std::string encode_frame(FrameType type, std::string_view payload);

/// Takes the first whole frame from the front of `buffer`; nullopt when there is none yet.
/// kProtocol for a length of zero or above `max_bytes`, or an unknown type.
Result<std::optional<Frame>> take_frame(std::string& buffer, std::size_t max_bytes);

/// Appends fields to a payload.
class PayloadWriter {
 public:
  PayloadWriter& u32(std::uint32_t value);
  PayloadWriter& raw(ConstBytes bytes);
  /// Length (4 bytes) and bytes.
  PayloadWriter& text(std::string_view value);
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads fields from a payload; kProtocol when they do not fit. Non-owning: the payload must
/// outlive it.
class PayloadReader {
 public:
  explicit PayloadReader(std::string_view payload) : rest_(payload) {}
  Result<std::uint32_t> u32();
  Status raw(MutableBytes out);
  Result<std::string> text();
  /// kProtocol unless everything was read.
  Status finish() const;

 private:
  std::string_view rest_;
};

/// An error inside a payload: code, message, remedy.
void write_error(PayloadWriter& writer, const Error& error);
Result<Error> read_error(PayloadReader& reader);

}  // namespace dsl::bootstrap
