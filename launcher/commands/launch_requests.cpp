#include "launcher/commands/launch_requests.h"

#include "launcher/deployment/log_folder.h"
#include "launcher/deployment/spec_fields.h"
#include "launcher/deployment/wanted_services.h"
#include "launcher/process/program_paths.h"

namespace dsl::launcher {
namespace {

Result<LaunchRequest> make_request(const DeploymentSpec& spec, const std::string& launch_id,
                                   DeploymentPart part, int replica) {
  LaunchRequest request;
  request.spec = spec;
  request.record = make_record(spec, part, replica, launch_id);
  DSL_ASSIGN(const std::filesystem::path logs, log_folder(request.record));
  request.log = logs / part_log_name(request.record);
  DSL_ASSIGN(const std::string self, own_path());
  const bool is_replica = part == DeploymentPart::kReplica;
  request.command = {self, is_replica ? "supervise" : "control"};
  if (!launch_id.empty()) request.command.push_back("--launch-id=" + launch_id);
  if (replica > 0) request.command.push_back(fmt::format("--replica={}", replica));
  const std::vector<std::string> arguments = to_arguments(spec);
  request.command.insert(request.command.end(), arguments.begin(), arguments.end());
  return request;
}

}  // namespace

Status check_programs(const DeploymentSpec& spec) {
  if (spec.gateways > 0) {
    Result<std::string> gateway = find_gateway();
    if (!gateway) {
      Error error = std::move(gateway).error();
      error.remedy += "; --gateways 0 brings it up without the OpenAI interface";
      return tl::unexpected<Error>(std::move(error));
    }
  }
  if (spec.preprocess_replicas + spec.postprocess_replicas > 0) {
    const Result<std::string> text_service = find_text_service();
    if (!text_service) return tl::unexpected<Error>(text_service.error());
  }
  return {};
}

Result<std::vector<LaunchRequest>> make_launch_requests(const DeploymentSpec& spec,
                                                        const std::string& launch_id) {
  std::vector<LaunchRequest> requests;
  for (int replica = 0; replica < spec.replicas; ++replica) {
    DSL_ASSIGN(LaunchRequest request,
               make_request(spec, launch_id, DeploymentPart::kReplica, replica));
    requests.push_back(std::move(request));
  }
  if (wanted_of(spec).total() > 0) {
    DSL_ASSIGN(LaunchRequest request, make_request(spec, launch_id, DeploymentPart::kServices, 0));
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace dsl::launcher
