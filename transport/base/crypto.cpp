#include "transport/base/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

namespace dsl {
namespace {

constexpr std::string_view kCheckOpenSsl = "check the OpenSSL installation";

unsigned char* data_of(Digest& digest) { return reinterpret_cast<unsigned char*>(digest.data()); }

}  // namespace

Result<Digest> hmac_sha256(std::string_view key, ConstBytes message) {
  Digest digest{};
  unsigned int length = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(message.data());
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data, message.size(),
           data_of(digest), &length) == nullptr ||
      length != kDigestBytes) {
    return fail(ErrorCode::kInternal, kCheckOpenSsl, "HMAC-SHA256 failed");
  }
  return digest;
}

Result<Digest> sha256(ConstBytes message) {
  Digest digest{};
  unsigned int length = 0;
  if (EVP_Digest(message.data(), message.size(), data_of(digest), &length, EVP_sha256(), nullptr) !=
          1 ||
      length != kDigestBytes) {
    return fail(ErrorCode::kInternal, kCheckOpenSsl, "SHA256 failed");
  }
  return digest;
}

Result<Digest> random_digest() {
  Digest digest{};
  if (RAND_bytes(data_of(digest), kDigestBytes) != 1) {
    return fail(ErrorCode::kIo, "check the system's entropy source",
                "no random bytes from OpenSSL");
  }
  return digest;
}

std::string to_hex(ConstBytes bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte value : bytes) {
    text += kDigits[static_cast<unsigned>(value) >> 4];
    text += kDigits[static_cast<unsigned>(value) & 15];
  }
  return text;
}

bool digests_equal(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), kDigestBytes) == 0;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace dsl
