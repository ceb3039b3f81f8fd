#include "transport/base/crypto.h"
#include "transport/bootstrap/rendezvous.h"

namespace dsl::bootstrap {

Result<std::string> make_secret() {
  DSL_ASSIGN(const Digest digest, random_digest());
  return to_hex(digest);
}

}  // namespace dsl::bootstrap
