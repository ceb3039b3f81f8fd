#include "launcher/deployment/secret_store.h"

#include <sys/random.h>

#include <algorithm>
#include <cstdint>

#include "launcher/deployment/private_files.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxSecretBytes = 4096;

/// A launch id comes from a record, hence from outside, and becomes part of a path.
Result<std::filesystem::path> path_of(const std::filesystem::path& folder,
                                      const std::string& launch_id) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (launch_id.empty() || launch_id.size() > 64 ||
      !std::all_of(launch_id.begin(), launch_id.end(), is_hex)) {
    return fail(ErrorCode::kProtocol, "", "\"{}\" is not a launch id", launch_id);
  }
  return folder / launch_id;
}

}  // namespace

Result<SecretStore> SecretStore::open() {
  DSL_ASSIGN(const std::filesystem::path state, state_folder());
  DSL_TRY(make_private_folder(state));
  DSL_TRY(make_private_folder(state / "secrets"));
  return SecretStore(state / "secrets");
}

Status SecretStore::save(const std::string& launch_id, const std::string& secret) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  return write_private_file(path, secret);
}

Result<std::string> SecretStore::load(const std::string& launch_id) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  return read_private_file(path, kMaxSecretBytes);
}

Status SecretStore::remove(const std::string& launch_id) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  std::error_code ignored;  // gone already is as good
  std::filesystem::remove(path, ignored);
  return {};
}

Result<std::string> make_launch_id() {
  std::uint64_t bits = 0;
  if (::getrandom(&bits, sizeof(bits), 0) != static_cast<ssize_t>(sizeof(bits))) {
    return fail(ErrorCode::kIo, "", "the system gives no random numbers");
  }
  return fmt::format("{:016x}", bits);
}

}  // namespace dsl::launcher
