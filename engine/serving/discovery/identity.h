// How a service proves to a client that it knows the deployment's secret, and a client to a
// service. A client asks for the proof before it sends the secret over a new connection, so that
// a stranger who listens at a service's port learns nothing.
#pragma once

#include <string>
#include <string_view>

#include "engine/serving/http/http_message.h"

namespace dsl::serving {

/// Where services answer a challenge; needs no authorization.
inline constexpr std::string_view kIdentityTarget = "/v1/identity";

/// HMAC-SHA256(secret, "dslaunch identity\n" endpoint "\n" nonce) in hexadecimal. `endpoint` is
/// the "HOST:PORT" that the service reported: a proof for another port proves nothing here.
std::string identity_proof(std::string_view secret, std::string_view endpoint,
                           std::string_view nonce);
/// A nonce that was never used: 32 hexadecimal digits.
Result<std::string> make_nonce();

/// The answer to GET /v1/identity?nonce=<32 hexadecimal digits>.
HttpResponse identity_response(const HttpHead& head, std::string_view secret);

/// The token of "Authorization: Bearer <token>"; empty when there is none.
std::string_view bearer_token(const HttpHead& head);
/// True when the request carries the secret. Takes the same time wherever the token differs.
bool carries_secret(const HttpHead& head, std::string_view secret);

}  // namespace dsl::serving
