#include "launcher/controller/service_command.h"

#include "launcher/deployment/gateway_address.h"
#include "launcher/process/program_paths.h"

namespace dsl::launcher {
namespace {

/// Gateways and text services finish what they have begun; the controller waits a little longer.
constexpr const char* kDrainTimeout = "30";

/// Text services ask no engine what it holds, and a gateway's first request comes before its
/// answer.
void add_context_limit(const DeploymentSpec& spec, std::vector<std::string>& argv) {
  if (spec.kv_tokens == 0) return;  // the engine decides
  argv.insert(argv.end(), {"--max-context", std::to_string(spec.kv_tokens)});
}

}  // namespace

Result<std::vector<std::string>> gateway_command(const DeploymentSpec& spec,
                                                 const DeploymentFolder& folder,
                                                 const std::string& host, int index,
                                                 const std::string& last_endpoint) {
  DSL_ASSIGN(const std::string program, find_gateway());
  DSL_ASSIGN(std::string listen, gateway_address(spec, host, index, ErrorCode::kInvalidArgument));
  if (listen.ends_with(":0") && !last_endpoint.empty()) {
    listen = listen.substr(0, listen.size() - 2) + last_endpoint.substr(last_endpoint.rfind(':'));
  }
  std::vector<std::string> argv = {program,
                                   "--model",
                                   spec.model,
                                   "--served-model-name",
                                   spec.model_name(),
                                   "--services",
                                   folder.services().string(),
                                   "--keys",
                                   folder.keys().string(),
                                   "--listen",
                                   listen,
                                   "--drain-timeout-s",
                                   kDrainTimeout};
  add_context_limit(spec, argv);
  if (!spec.tls_certificate.empty()) {
    argv.insert(argv.end(), {"--tls-certificate", spec.tls_certificate, "--tls-key", spec.tls_key});
  }
  return argv;
}

Result<std::vector<std::string>> text_service_command(const DeploymentSpec& spec,
                                                      ServiceRole role) {
  DSL_ASSIGN(const std::string program, find_text_service());
  std::vector<std::string> argv = {program,
                                   "--role",
                                   std::string(to_string(role)),
                                   "--model",
                                   spec.model,
                                   "--served-model-name",
                                   spec.model_name(),
                                   "--listen",
                                   "127.0.0.1:0",
                                   "--drain-timeout-s",
                                   kDrainTimeout};
  add_context_limit(spec, argv);
  return argv;
}

std::string public_url(const DeploymentSpec& spec, const std::string& endpoint,
                       const std::string& host) {
  if (endpoint.starts_with("unix:")) return endpoint;
  const std::size_t colon = endpoint.rfind(':');
  const std::string bound = endpoint.substr(0, colon);
  const bool all_addresses = bound == "0.0.0.0" || bound == "[::]" || bound == "*";
  return fmt::format("{}://{}{}", spec.tls_certificate.empty() ? "http" : "https",
                     all_addresses ? bracketed(host) : bound, endpoint.substr(colon));
}

}  // namespace dsl::launcher
