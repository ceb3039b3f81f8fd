#include "launcher/commands/service_access.h"

#include <algorithm>
#include <cstdlib>

#include "launcher/commands/deployments.h"
#include "launcher/deployment/private_files.h"

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxApiKeyBytes = 4096;

/// Editors and echo end a file with a newline.
Result<std::string> read_key_file(const std::filesystem::path& path) {
  DSL_ASSIGN(std::string key, read_private_file(path, kMaxApiKeyBytes));
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r')) key.pop_back();
  if (!key.empty()) return key;
  return fail(ErrorCode::kNotFound, "write the key into it", "{} is empty", path.string());
}

}  // namespace

Result<ServiceOverview> read_services(const std::vector<DeploymentRecord>& parts) {
  ServiceOverview overview;
  const auto services = std::find_if(parts.begin(), parts.end(), is_services);
  if (services != parts.end()) overview.controller = *services;
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(parts.front().name));
  Result<WantedServices> wanted = read_wanted(folder);
  if (wanted) {
    overview.wanted = *std::move(wanted);
  } else if (wanted.error().code != ErrorCode::kNotFound) {
    return tl::unexpected<Error>(std::move(wanted).error());
  }
  // Without a controller the entries are what a dead one has left.
  if (overview.controller) overview.entries = read_service_entries(folder.services());
  return overview;
}

std::vector<std::string> ready_gateways(const ServiceOverview& overview) {
  std::vector<std::string> urls;
  for (const ServiceEntry& entry : overview.entries) {
    if (entry.role == ServiceRole::kGateway && entry.state == ServiceState::kReady) {
      urls.push_back(entry.url);
    }
  }
  // Another login node need not see the folder; the record is everywhere.
  if (urls.empty() && overview.controller && !overview.controller->endpoint.empty()) {
    urls.push_back(overview.controller->endpoint);
  }
  return urls;
}

Result<std::vector<std::string>> gateway_urls(const std::string& deployment) {
  DSL_ASSIGN(const std::vector<DeploymentRecord> parts, find_parts(deployment));
  DSL_ASSIGN(const ServiceOverview overview, read_services(parts));
  std::vector<std::string> urls = ready_gateways(overview);
  if (!urls.empty()) return urls;
  if (overview.controller_is_lost()) {
    return fail(ErrorCode::kUnreachable, "bring it back with the same: dslaunch up",
                "the controller of \"{}\" has gone, and the gateways with it", deployment);
  }
  return fail(ErrorCode::kUnreachable,
              overview.controller
                  ? fmt::format("wait, see: dslaunch status {}", deployment)
                  : "add one with: dslaunch up, the same model and name, and --gateways 1",
              "the deployment \"{}\" has no gateway that is ready", deployment);
}

std::string openai_base_url(const std::string& gateway_url) {
  return gateway_url.starts_with("unix:") ? gateway_url : gateway_url + "/v1";
}

Result<std::string> own_api_key(const std::string& deployment) {
  DSL_ASSIGN(const DeploymentFolder folder, DeploymentFolder::of(deployment));
  Result<std::string> key = read_key_file(folder.api_key());
  if (key || key.error().code != ErrorCode::kNotFound) return key;
  return fail(ErrorCode::kNotFound,
              fmt::format("make one with: dslaunch keys {} add default", deployment),
              "this machine has no API key of \"{}\": {}", deployment, key.error().message);
}

Result<std::string> find_api_key(const std::string& deployment,
                                 const std::optional<std::string>& file) {
  if (file) return read_key_file(*file);
  Result<std::string> key = own_api_key(deployment);
  if (key || key.error().code != ErrorCode::kNotFound) return key;
  const char* given = std::getenv("OPENAI_API_KEY");
  if (given != nullptr && given[0] != '\0') return std::string(given);
  Error missing = std::move(key).error();
  missing.remedy += ", or set OPENAI_API_KEY to a key of the deployment";
  return tl::unexpected<Error>(std::move(missing));
}

}  // namespace dsl::launcher
