#include "launcher/controller/service_kinds.h"

#include <cstdlib>

#include "launcher/controller/service_command.h"

namespace dsl::launcher {
namespace {

/// 2 of "gateway-2".
int index_of(const ServiceEntry& entry) {
  return std::atoi(entry.id.c_str() + entry.id.rfind('-') + 1);
}

}  // namespace

int wanted_number(const WantedServices& wanted, ServiceRole role) {
  switch (role) {
    case ServiceRole::kGateway:
      return wanted.gateways;
    case ServiceRole::kPreprocess:
      return wanted.preprocess;
    default:
      return wanted.postprocess;
  }
}

ServicePool make_pool(ServiceRole role, const ServiceSurroundings& around,
                      ServicePublisher& publisher) {
  ServicePoolOptions options;
  options.role = role;
  for (const ServiceEntry& entry : around.left) {
    if (entry.role == role) options.last_endpoints[index_of(entry)] = entry.endpoint;
  }
  options.command = [role, &around](int index, const std::string& last) -> Result<ServiceCommand> {
    ServiceCommand command;
    if (role == ServiceRole::kGateway) {
      DSL_ASSIGN(command.argv,
                 gateway_command(around.spec, around.folder, around.host, index, last));
    } else {
      DSL_ASSIGN(command.argv, text_service_command(around.spec, role));
    }
    command.environment = {"DSLAUNCH_SECRET=" + around.secret};
    command.log = around.logs / fmt::format("{}-{}.log", to_string(role), index);
    return command;
  };
  options.describe = [role, &around](const std::string& endpoint) {
    ServiceEntry entry;
    entry.endpoint = endpoint;
    entry.version = DSL_VERSION;
    entry.model = around.spec.model;
    entry.tp = around.spec.tp;
    entry.pp = around.spec.pp;
    entry.launch_id = around.launch_id;
    if (role == ServiceRole::kGateway) entry.url = public_url(around.spec, endpoint, around.host);
    return entry;
  };
  return ServicePool(std::move(options), publisher);
}

}  // namespace dsl::launcher
