#include "transport/bootstrap/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "transport/bootstrap/rendezvous.h"

namespace dsl::bootstrap {

Result<Digest> hmac_sha256(std::string_view key, ConstBytes message) {
  Digest digest{};
  unsigned int length = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(message.data());
  auto* out = reinterpret_cast<unsigned char*>(digest.data());
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data, message.size(), out,
           &length) == nullptr ||
      length != kDigestBytes) {
    return fail(ErrorCode::kInternal, "check the OpenSSL installation", "HMAC-SHA256 failed");
  }
  return digest;
}

Result<Digest> random_digest() {
  Digest digest{};
  if (RAND_bytes(reinterpret_cast<unsigned char*>(digest.data()), kDigestBytes) != 1) {
    return fail(ErrorCode::kIo, "check the system's entropy source",
                "no random bytes from OpenSSL");
  }
  return digest;
}

bool digests_equal(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), kDigestBytes) == 0;
}

Result<std::string> make_secret() {
  DSL_ASSIGN(const Digest digest, random_digest());
  std::string text;
  for (const std::byte value : digest) text += fmt::format("{:02x}", static_cast<int>(value));
  return text;
}

}  // namespace dsl::bootstrap
