#include "engine/serving/discovery/identity.h"

#include <algorithm>
#include <span>

#include "transport/base/crypto.h"

namespace dsl::serving {
namespace {

constexpr std::size_t kNonceDigits = 32;

bool is_nonce(std::string_view text) {
  return text.size() == kNonceDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

std::string identity_proof(std::string_view secret, std::string_view endpoint,
                           std::string_view nonce) {
  const std::string message = fmt::format("dslaunch identity\n{}\n{}", endpoint, nonce);
  const Result<Digest> digest = hmac_sha256(secret, std::as_bytes(std::span(message)));
  DSL_CHECK(digest.has_value(), "{}", digest.error().message);
  return to_hex(*digest);
}

Result<std::string> make_nonce() {
  DSL_ASSIGN(const Digest digest, random_digest());
  return to_hex(digest).substr(0, kNonceDigits);
}

HttpResponse identity_response(const HttpHead& head, std::string_view secret) {
  constexpr std::string_view kField = "nonce=";
  const std::string_view query = head.query;
  if (!query.starts_with(kField) || !is_nonce(query.substr(kField.size()))) {
    return error_response({ErrorCode::kRequestInvalid,
                           "the identity challenge has no nonce of 32 hexadecimal digits",
                           "send GET /v1/identity?nonce=<32 hexadecimal digits>"});
  }
  return {200, "application/json",
          fmt::format("{{\"proof\":\"{}\"}}\n",
                      identity_proof(secret, head.server_endpoint, query.substr(kField.size()))),
          nullptr};
}

std::string_view bearer_token(const HttpHead& head) {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view given = head.authorization;
  return given.starts_with(kScheme) ? given.substr(kScheme.size()) : std::string_view();
}

bool carries_secret(const HttpHead& head, std::string_view secret) {
  return !secret.empty() && equal_in_constant_time(bearer_token(head), secret);
}

}  // namespace dsl::serving
