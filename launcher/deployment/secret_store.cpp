#include "launcher/deployment/secret_store.h"

#include <sys/random.h>

#include <algorithm>
#include <cstdint>
#include <sstream>

#include "launcher/deployment/private_files.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxSecretBytes = 1 << 16;
constexpr std::string_view kDeploymentWord = "deployment ";
constexpr std::string_view kOwnerWord = "owner ";

/// A launch id comes from a record, hence from outside, and becomes part of a path.
bool is_launch_id(const std::string& text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), is_hex);
}

Result<std::filesystem::path> path_of(const std::filesystem::path& folder,
                                      const std::string& launch_id) {
  if (is_launch_id(launch_id)) return folder / launch_id;
  return fail(ErrorCode::kProtocol, "", "\"{}\" is not a launch id", launch_id);
}

/// The secret stands alone in the first line, so that scripts find it there.
std::string to_text(const LaunchSecret& secret) {
  std::string text = fmt::format("{}\n{}{}\n", secret.secret, kDeploymentWord, secret.deployment);
  for (const AllocationName& owner : secret.owners) {
    text += fmt::format("{}{}\n", kOwnerWord, to_line(owner));
  }
  return text;
}

Result<LaunchSecret> parse_secret(const std::string& text) {
  LaunchSecret secret;
  std::istringstream lines(text);
  std::getline(lines, secret.secret);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kDeploymentWord)) {
      secret.deployment = line.substr(kDeploymentWord.size());
    } else if (line.starts_with(kOwnerWord)) {
      DSL_ASSIGN(AllocationName owner, parse_allocation_name(line.substr(kOwnerWord.size())));
      secret.owners.push_back(std::move(owner));
    } else {
      return fail(ErrorCode::kProtocol, "use the dslaunch that wrote it", "unknown line \"{}\"",
                  line);
    }
  }
  return secret;
}

}  // namespace

Result<SecretStore> SecretStore::open() {
  DSL_ASSIGN(const std::filesystem::path state, state_folder());
  DSL_TRY(make_private_folder(state));
  DSL_TRY(make_private_folder(state / "secrets"));
  return SecretStore(state / "secrets");
}

Result<LaunchSecret> SecretStore::read(const std::string& launch_id) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  DSL_ASSIGN(const std::string text, read_private_file(path, kMaxSecretBytes));
  return parse_secret(text);
}

std::vector<std::string> SecretStore::launch_ids() const {
  std::vector<std::string> ids;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, ignored)) {
    std::string name = entry.path().filename().string();
    if (is_launch_id(name)) ids.push_back(std::move(name));
  }
  return ids;
}

Status SecretStore::save(const std::string& launch_id, const LaunchSecret& secret) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  DSL_ASSIGN(const UniqueFd lock, lock_file(lock_path()));
  return write_private_file(path, to_text(secret));
}

Result<std::string> SecretStore::load(const std::string& launch_id) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  const Result<std::string> text = read_private_file(path, kMaxSecretBytes);
  if (text) return text->substr(0, text->find('\n'));
  if (text.error().code != ErrorCode::kNotFound) return tl::unexpected<Error>(text.error());
  return fail(ErrorCode::kNotFound,
              "use the home that brought the deployment up, or take it down and bring it up again",
              "the secret of launch {} is not here: there is no {}", launch_id, path.string());
}

Status SecretStore::change(
    const std::string& launch_id,
    const std::function<void(std::vector<AllocationName>&)>& change_owners) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  DSL_ASSIGN(const UniqueFd lock, lock_file(lock_path()));
  Result<LaunchSecret> secret = read(launch_id);
  if (!secret && secret.error().code == ErrorCode::kNotFound) return {};
  if (!secret) return tl::unexpected<Error>(std::move(secret).error().within(path.string()));
  change_owners(secret->owners);
  return write_private_file(path, to_text(*secret));
}

Status SecretStore::add_owner(const std::string& launch_id, const AllocationName& owner) const {
  return change(launch_id, [&](auto& owners) { owners.push_back(owner); });
}

Status SecretStore::remove_owner(const std::string& launch_id, const AllocationName& owner) const {
  return change(launch_id, [&](auto& owners) { std::erase(owners, owner); });
}

Status SecretStore::remove(const std::string& launch_id) const {
  DSL_ASSIGN(const std::filesystem::path path, path_of(folder_, launch_id));
  std::error_code ignored;  // gone already is as good
  std::filesystem::remove(path, ignored);
  return {};
}

Status SecretStore::sweep(const std::function<bool(const AllocationName&)>& have_ended,
                          const std::function<void(const std::string& deployment)>& on_last) const {
  // Asked without the lock, because an answer may take its time. Who has ended stays so; who has
  // come meanwhile is seen under the lock.
  std::vector<std::pair<std::string, std::vector<AllocationName>>> abandoned;
  for (const std::string& id : launch_ids()) {
    const Result<LaunchSecret> secret = read(id);
    if (!secret || secret->owners.empty()) continue;
    if (!std::all_of(secret->owners.begin(), secret->owners.end(), have_ended)) continue;
    abandoned.emplace_back(id, secret->owners);
  }
  if (abandoned.empty()) return {};
  DSL_ASSIGN(const UniqueFd lock, lock_file(lock_path()));
  for (const auto& [id, owners] : abandoned) {
    const Result<LaunchSecret> secret = read(id);
    if (!secret || secret->owners != owners) continue;
    DSL_TRY(remove(id));
    const std::vector<std::string> left = launch_ids();
    const bool has_others = std::any_of(left.begin(), left.end(), [&](const std::string& other) {
      const Result<LaunchSecret> kept = read(other);
      return !kept || kept->deployment.empty() || kept->deployment == secret->deployment;
    });
    if (!has_others) on_last(secret->deployment);
  }
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
