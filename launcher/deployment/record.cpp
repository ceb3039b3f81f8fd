#include "launcher/deployment/record.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "transport/base/strict_json.h"

namespace dsl::launcher {
namespace {

using nlohmann::json;

constexpr std::string_view kRecordRemedy = "take the deployment down and bring it up again";
constexpr DeploymentState kDeploymentStates[] = {
    DeploymentState::kPending, DeploymentState::kStarting, DeploymentState::kReady,
    DeploymentState::kStopping, DeploymentState::kFailed};

json links_to_json(const std::vector<LinkRecord>& links) {
  json list = json::array();
  for (const LinkRecord& link : links) {
    list.push_back(json::array({link.rank, link.peer, link.transport, link.device}));
  }
  return list;
}

json paths_to_json(const std::vector<PathRecord>& paths) {
  json list = json::array();
  for (const PathRecord& path : paths) {
    list.push_back(json::array({path.first_rank, path.last_rank, path.hops, path.tensor_sums}));
  }
  return list;
}

/// Typed reading of a record's fields; the first problem wins.
class Reader {
 public:
  explicit Reader(const json& object) : object_(object) {}

  template <typename T>
  void read(const char* key, T& value) {
    const auto found = object_.find(key);
    if (found == object_.end()) return problem(key, "missing");
    if (!holds<T>(*found)) return problem(key, "of another type");
    value = found->template get<T>();
  }
  void read_optional_object(const char* key, const std::function<void(Reader&)>& read_fields) {
    const auto found = object_.find(key);
    if (found == object_.end()) return;
    if (!found->is_object()) return problem(key, "of another type");
    Reader inner(*found);
    read_fields(inner);
    if (!inner.problem_.empty()) problem(key, inner.problem_);
  }
  void problem(std::string_view key, std::string_view what) {
    if (problem_.empty()) problem_ = fmt::format("field \"{}\" is {}", key, what);
  }
  const std::string& problem() const { return problem_; }
  const json& object() const { return object_; }

 private:
  template <typename T>
  static bool holds(const json& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      return value.is_string();
    } else {
      return value.is_number_integer();
    }
  }

  const json& object_;
  std::string problem_;
};

/// Links and paths alike are two numbers and two texts.
template <typename Entry>
bool read_entry(const json& entry, Entry& into) {
  if (!entry.is_array() || entry.size() != 4 || !entry[0].is_number_integer() ||
      !entry[1].is_number_integer() || !entry[2].is_string() || !entry[3].is_string()) {
    return false;
  }
  into = {entry[0].get<int>(), entry[1].get<int>(), entry[2].get<std::string>(),
          entry[3].get<std::string>()};
  return true;
}

template <typename Entry>
void read_entries(Reader& reader, const char* key, std::vector<Entry>& entries) {
  const auto list = reader.object().find(key);
  if (list == reader.object().end() || !list->is_array()) return;
  for (const json& entry : *list) {
    Entry read;
    if (!read_entry(entry, read)) return reader.problem(key, "of another type");
    entries.push_back(std::move(read));
  }
}

void read_lists(Reader& reader, DeploymentRecord& record) {
  const json& object = reader.object();
  if (const auto nodes = object.find("nodes"); nodes != object.end() && nodes->is_array()) {
    for (const json& node : *nodes) {
      if (!node.is_string()) return reader.problem("nodes", "of another type");
      record.nodes.push_back(node.get<std::string>());
    }
  }
  read_entries(reader, "links", record.links);
  read_entries(reader, "paths", record.paths);
}

}  // namespace

std::string_view to_string(DeploymentState state) {
  switch (state) {
    case DeploymentState::kPending:
      return "pending";
    case DeploymentState::kStarting:
      return "starting";
    case DeploymentState::kReady:
      return "ready";
    case DeploymentState::kStopping:
      return "stopping";
    case DeploymentState::kFailed:
      return "failed";
  }
  return "failed";
}

void add_path(std::vector<PathRecord>& paths, PathRecord path) {
  const bool is_as_before = !paths.empty() && paths.back().last_rank + 1 == path.first_rank &&
                            paths.back().hops == path.hops &&
                            paths.back().tensor_sums == path.tensor_sums;
  if (is_as_before) {
    paths.back().last_rank = path.last_rank;
  } else {
    paths.push_back(std::move(path));
  }
}

std::string_view to_string(ClusterKind cluster) {
  return cluster == ClusterKind::kSlurm ? "slurm" : "local";
}

DeploymentRecord make_record(const DeploymentSpec& spec, DeploymentPart part, int replica,
                             const std::string& launch_id) {
  DeploymentRecord record;
  record.name = spec.name;
  record.part = part;
  record.replica = replica;
  record.launch_id = launch_id;
  record.cluster = spec.cluster;
  record.model = spec.model;
  record.tp = spec.tp;
  record.pp = spec.pp;
  record.deadline_ms = spec.deadline_ms;
  record.version = DSL_VERSION;
  record.started_unix_s = std::time(nullptr);
  return record;
}

bool is_replica(const DeploymentRecord& record) { return record.part == DeploymentPart::kReplica; }

bool is_services(const DeploymentRecord& record) {
  return record.part == DeploymentPart::kServices;
}

bool is_same_part(const DeploymentRecord& a, const DeploymentRecord& b) {
  return a.name == b.name && a.part == b.part && a.replica == b.replica;
}

std::string describe_part(const DeploymentRecord& record) {
  if (record.part == DeploymentPart::kServices) return record.name + ", services";
  return fmt::format("{}, replica {}", record.name, record.replica);
}

std::string to_json(const DeploymentRecord& record, std::size_t max_bytes) {
  json object = {
      {"dslaunch", record.version},
      {"name", record.name},
      {"launch", record.launch_id},
      {"cluster", to_string(record.cluster)},
      {"state", to_string(record.state)},
      {"model", record.model},
      {"tp", record.tp},
      {"pp", record.pp},
      {"started", record.started_unix_s},
      {"endpoint", record.endpoint},
      {"owner",
       {{"pid", record.owner.pid},
        {"ticks", record.owner.start_ticks},
        {"host", record.owner.host}}},
      {"allocation", record.allocation_id},
      {"nodes", record.nodes},
      {"loaded", record.bytes_loaded},
      {"bytes", record.bytes_total},
  };
  // Left out where they are the usual: a job's comment is short.
  if (record.part == DeploymentPart::kServices) object["part"] = "services";
  if (record.replica > 0) object["replica"] = record.replica;
  if (record.deadline_ms != DeploymentSpec{}.deadline_ms) object["deadline"] = record.deadline_ms;
  if (record.state == DeploymentState::kFailed) {
    object["error"] = {{"code", static_cast<int>(record.error.code)},
                       {"message", record.error.message},
                       {"remedy", record.error.remedy}};
  }
  const auto dump = [&] { return object.dump(-1, ' ', false, json::error_handler_t::replace); };
  std::string text = dump();
  const auto add_if_it_fits = [&](const char* key, json list) {
    if (list.empty()) return;
    object[key] = std::move(list);
    std::string longer = dump();
    if (longer.size() <= max_bytes) {
      text = std::move(longer);
    } else {
      object.erase(key);
    }
  };
  add_if_it_fits("paths", paths_to_json(record.paths));
  add_if_it_fits("links", links_to_json(record.links));
  return text;
}

Result<DeploymentRecord> parse_record(std::string_view text) {
  DSL_ASSIGN(const json object, parse_json(text, "deployment record", ErrorCode::kProtocol));
  if (!object.is_object()) {
    return fail(ErrorCode::kProtocol, kRecordRemedy, "deployment record: not an object");
  }
  DeploymentRecord record;
  std::string part;
  std::string cluster;
  std::string state;
  Reader reader(object);
  reader.read("dslaunch", record.version);
  reader.read("name", record.name);
  if (object.contains("part")) reader.read("part", part);
  if (object.contains("replica")) reader.read("replica", record.replica);
  if (object.contains("deadline")) reader.read("deadline", record.deadline_ms);
  reader.read("launch", record.launch_id);
  reader.read("cluster", cluster);
  reader.read("state", state);
  reader.read("model", record.model);
  reader.read("tp", record.tp);
  reader.read("pp", record.pp);
  reader.read("started", record.started_unix_s);
  reader.read("endpoint", record.endpoint);
  reader.read("allocation", record.allocation_id);
  reader.read("loaded", record.bytes_loaded);
  reader.read("bytes", record.bytes_total);
  reader.read_optional_object("owner", [&](Reader& owner) {
    owner.read("pid", record.owner.pid);
    owner.read("ticks", record.owner.start_ticks);
    owner.read("host", record.owner.host);
  });
  reader.read_optional_object("error", [&](Reader& error) {
    int code = 0;
    error.read("code", code);
    error.read("message", record.error.message);
    error.read("remedy", record.error.remedy);
    record.error.code = static_cast<ErrorCode>(code);
  });
  read_lists(reader, record);

  if (!part.empty() && part != "services") reader.problem("part", "not services");
  if (part == "services") record.part = DeploymentPart::kServices;
  if (record.replica < 0) reader.problem("replica", "negative");
  if (record.deadline_ms < 0) reader.problem("deadline", "negative");
  record.cluster = cluster == "slurm" ? ClusterKind::kSlurm : ClusterKind::kLocal;
  if (cluster != "slurm" && cluster != "local")
    reader.problem("cluster", "neither slurm nor local");
  bool known_state = false;
  for (const DeploymentState candidate : kDeploymentStates) {
    if (to_string(candidate) != state) continue;
    record.state = candidate;
    known_state = true;
  }
  if (!known_state) reader.problem("state", "unknown");
  if (!reader.problem().empty()) {
    return fail(ErrorCode::kProtocol, kRecordRemedy, "deployment record: {}", reader.problem());
  }
  return record;
}

}  // namespace dsl::launcher
