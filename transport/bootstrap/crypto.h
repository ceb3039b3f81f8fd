// The few cryptographic operations of the rendezvous, over OpenSSL's libcrypto.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "transport/base/bytes.h"
#include "transport/base/error.h"

namespace dsl::bootstrap {

inline constexpr std::size_t kDigestBytes = 32;
using Digest = std::array<std::byte, kDigestBytes>;

Result<Digest> hmac_sha256(std::string_view key, ConstBytes message);
Result<Digest> random_digest();

/// Compares in a time that does not depend on where they differ.
bool digests_equal(const Digest& a, const Digest& b);

}  // namespace dsl::bootstrap
