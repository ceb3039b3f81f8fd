#include "launcher/deployment/service_entry.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/deployment/private_files.h"
#include "transport/base/log.h"
#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxEntryBytes = 65536;
constexpr const char* kSettings = "settings.json";
constexpr ServiceRole kRoles[] = {ServiceRole::kEngine, ServiceRole::kPreprocess,
                                  ServiceRole::kPostprocess, ServiceRole::kGateway};
constexpr ServiceState kServiceStates[] = {ServiceState::kReady, ServiceState::kDraining};

tl::unexpected<Error> malformed_entry(std::string_view field) {
  return fail(ErrorCode::kProtocol, "use one version of dslaunch",
              "service entry: the field \"{}\" is missing or wrong", field);
}

template <typename T, std::size_t N>
std::optional<T> named(const T (&values)[N], const std::string& name) {
  const auto found =
      std::find_if(std::begin(values), std::end(values), [&](T v) { return to_string(v) == name; });
  return found == std::end(values) ? std::nullopt : std::optional(*found);
}

bool is_entry(const std::filesystem::path& path) {
  return path.extension() == ".json" && path.filename() != kSettings;
}

}  // namespace

std::string_view to_string(ServiceRole role) {
  switch (role) {
    case ServiceRole::kEngine:
      return "engine";
    case ServiceRole::kPreprocess:
      return "preprocess";
    case ServiceRole::kPostprocess:
      return "postprocess";
    case ServiceRole::kGateway:
      return "gateway";
  }
  return "engine";
}

std::string_view to_string(ServiceState state) {
  return state == ServiceState::kReady ? "ready" : "draining";
}

std::string to_json(const ServiceEntry& entry) {
  nlohmann::ordered_json object = {{"id", entry.id},
                                   {"role", to_string(entry.role)},
                                   {"endpoint", entry.endpoint},
                                   {"state", to_string(entry.state)},
                                   {"version", entry.version},
                                   {"model", entry.model},
                                   {"tp", entry.tp},
                                   {"pp", entry.pp},
                                   {"launch_id", entry.launch_id},
                                   {"pid", entry.owner.pid},
                                   {"start_ticks", entry.owner.start_ticks},
                                   {"host", entry.owner.host}};
  if (!entry.url.empty()) object["url"] = entry.url;
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<ServiceEntry> parse_service_entry(std::string_view text) {
  DSL_ASSIGN(const json object, parse_json(text, "service entry", ErrorCode::kProtocol));
  if (!object.is_object()) return malformed_entry("id");
  for (const char* field :
       {"id", "role", "endpoint", "state", "version", "model", "launch_id", "host"}) {
    if (!object.contains(field) || !object[field].is_string()) return malformed_entry(field);
  }
  for (const char* field : {"tp", "pp", "pid", "start_ticks"}) {
    if (!object.contains(field) || !object[field].is_number_integer())
      return malformed_entry(field);
  }
  if (object.contains("url") && !object["url"].is_string()) return malformed_entry("url");
  ServiceEntry entry;
  entry.id = object["id"].get<std::string>();
  entry.endpoint = object["endpoint"].get<std::string>();
  entry.version = object["version"].get<std::string>();
  entry.model = object["model"].get<std::string>();
  entry.launch_id = object["launch_id"].get<std::string>();
  entry.tp = object["tp"].get<int>();
  entry.pp = object["pp"].get<int>();
  entry.owner = {object["pid"].get<std::int64_t>(), object["start_ticks"].get<std::int64_t>(),
                 object["host"].get<std::string>()};
  entry.url = object.value("url", "");
  const auto role = named(kRoles, object["role"].get<std::string>());
  if (!role) return malformed_entry("role");
  const auto state = named(kServiceStates, object["state"].get<std::string>());
  if (!state) return malformed_entry("state");
  entry.role = *role;
  entry.state = *state;
  return entry;
}

std::vector<ServiceEntry> read_service_entries(const std::filesystem::path& folder) {
  std::vector<ServiceEntry> entries;
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(folder, ignored)) {
    if (!is_entry(file.path())) continue;
    const Result<std::string> text = read_private_file(file.path(), kMaxEntryBytes);
    if (!text && text.error().code == ErrorCode::kNotFound) continue;  // withdrawn meanwhile
    Result<ServiceEntry> entry = text ? parse_service_entry(*text)
                                      : Result<ServiceEntry>(tl::unexpected<Error>(text.error()));
    if (entry) {
      entries.push_back(*std::move(entry));
    } else {
      log(LogLevel::kWarning, "skipped {}: {}", file.path().string(), entry.error().to_string());
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return entries;
}

Result<ServicePublisher> ServicePublisher::open(const std::filesystem::path& folder) {
  DSL_TRY(make_private_folder(folder));
  std::error_code problem;
  for (const auto& file : std::filesystem::directory_iterator(folder, problem)) {
    std::filesystem::remove(file.path(), problem);
  }
  if (problem) {
    return fail(ErrorCode::kIo, "check its permissions", "cannot clear {}: {}", folder.string(),
                problem.message());
  }
  return ServicePublisher(folder);
}

Status ServicePublisher::publish(const ServiceEntry& entry) {
  const auto known = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const ServiceEntry& other) { return other.id == entry.id; });
  if (known != entries_.end() && *known == entry) return {};
  DSL_TRY(write_private_file(folder_ / (entry.id + ".json"), to_json(entry)));
  if (known != entries_.end()) {
    *known = entry;
  } else {
    entries_.push_back(entry);
  }
  return {};
}

void ServicePublisher::withdraw(const std::string& id) {
  const auto known = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const ServiceEntry& entry) { return entry.id == id; });
  if (known == entries_.end()) return;
  std::error_code ignored;
  std::filesystem::remove(folder_ / (id + ".json"), ignored);
  entries_.erase(known);
}

Status ServicePublisher::set_routing_policy(const std::string& policy) {
  if (policy == routing_policy_) return {};
  DSL_TRY(write_private_file(folder_ / kSettings, json{{"routing_policy", policy}}.dump()));
  routing_policy_ = policy;
  return {};
}

}  // namespace dsl::launcher
