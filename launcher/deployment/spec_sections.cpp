// The sections of a specification, and the fields of the services beside the replicas.
#include "launcher/deployment/spec_fields.h"

namespace dsl::launcher {
namespace {

constexpr int kMaxInstances = 64;

SpecField number(const char* key, const char* flag, int DeploymentSpec::*member, const char* help,
                 int min) {
  return {key, flag, member, help, static_cast<double>(min), kMaxInstances, {}};
}

SpecField text(const char* key, const char* flag, std::string DeploymentSpec::*member,
               const char* help, std::vector<const char*> choices = {}) {
  return {key, flag, member, help, 0, 0, std::move(choices)};
}

std::span<const SpecField> service_fields() {
  using S = DeploymentSpec;
  static const std::vector<SpecField> fields = {
      number("replicas", "--replicas", &S::replicas, "copies of the model", 1),
      number("gateways", "--gateways", &S::gateways, "gateways with the OpenAI interface; 0: none",
             0),
      text("routing_policy", "--routing-policy", &S::routing_policy,
           "how gateways choose a replica", {"least-work", "prefix", "round-robin"}),
      text("served_model_name", "--served-model-name", &S::served_model_name,
           "what clients call the model; the deployment's name if not given"),
      text("keys", "--keys", &S::keys, "file of API keys that hold beside the generated one"),
  };
  return fields;
}

std::span<const SpecField> gateway_fields() {
  using S = DeploymentSpec;
  static const std::vector<SpecField> fields = {
      text("listen", "--gateway-listen", &S::gateway_listen,
           "HOST, HOST:PORT or unix:PATH of the gateways"),
      text("tls_certificate", "--tls-certificate", &S::tls_certificate,
           "PEM file: gateways speak TLS"),
      text("tls_key", "--tls-key", &S::tls_key, "PEM file of its key"),
  };
  return fields;
}

std::span<const SpecField> preprocess_fields() {
  static const std::vector<SpecField> fields = {
      number("replicas", "--preprocess", &DeploymentSpec::preprocess_replicas,
             "preprocess services; 0: gateways do it themselves", 0),
  };
  return fields;
}

std::span<const SpecField> postprocess_fields() {
  static const std::vector<SpecField> fields = {
      number("replicas", "--postprocess", &DeploymentSpec::postprocess_replicas,
             "postprocess services; 0: gateways do it themselves", 0),
  };
  return fields;
}

}  // namespace

std::span<const SpecSection> spec_sections() {
  static const std::vector<SpecSection> sections = {
      {"", "World", world_fields()},
      {"", "Services", service_fields()},
      {"gateway", "Services", gateway_fields()},
      {"preprocess", "Services", preprocess_fields()},
      {"postprocess", "Services", postprocess_fields()},
      {"slurm", "Slurm", slurm_fields()},
  };
  return sections;
}

}  // namespace dsl::launcher
