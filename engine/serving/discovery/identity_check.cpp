#include <nlohmann/json.hpp>

#include "engine/serving/discovery/identity.h"
#include "engine/serving/discovery/identity_check_async.h"
#include "transport/base/crypto.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

constexpr std::string_view kNonceField = "?nonce=";

class IdentityCheck final : public ServerCheck {
 public:
  explicit IdentityCheck(std::string secret) : secret_(std::move(secret)) {}

  Result<std::string> question() override {
    DSL_ASSIGN(const std::string nonce, make_nonce());
    return fmt::format("{}{}{}", kIdentityTarget, kNonceField, nonce);
  }

  bool accepts(const std::string& endpoint, const std::string& question,
               const std::string& answer) override {
    const std::string nonce = question.substr(kIdentityTarget.size() + kNonceField.size());
    const auto body = parse_json(answer, endpoint, ErrorCode::kProtocol);
    if (!body || !body->is_object()) return false;
    const auto proof = body->find("proof");
    return proof != body->end() && proof->is_string() &&
           equal_in_constant_time(proof->get_ref<const std::string&>(),
                                  identity_proof(secret_, endpoint, nonce));
  }

 private:
  const std::string secret_;
};

}  // namespace

std::shared_ptr<ServerCheck> identity_check(std::string secret) {
  return std::make_shared<IdentityCheck>(std::move(secret));
}

}  // namespace dsl::serving
