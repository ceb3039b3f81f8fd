// The few cryptographic operations of the program, over OpenSSL's libcrypto.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "transport/base/bytes.h"
#include "transport/base/error.h"

namespace dsl {

inline constexpr std::size_t kDigestBytes = 32;
using Digest = std::array<std::byte, kDigestBytes>;

Result<Digest> hmac_sha256(std::string_view key, ConstBytes message);
Result<Digest> sha256(ConstBytes message);
Result<Digest> random_digest();

/// Lower-case hexadecimal, two characters a byte.
std::string to_hex(ConstBytes bytes);

/// Compares in a time that does not depend on where they differ.
bool digests_equal(const Digest& a, const Digest& b);
/// The same for texts; only whether their lengths differ shows.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace dsl
