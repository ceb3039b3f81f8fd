// The kinds of services that a controller holds: how many are wanted, how they are started and
// announced.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/controller/service_pool.h"
#include "launcher/deployment/deployment_folder.h"
#include "launcher/deployment/spec.h"
#include "launcher/deployment/wanted_services.h"

namespace dsl::launcher {

inline constexpr ServiceRole kPooledRoles[] = {ServiceRole::kGateway, ServiceRole::kPreprocess,
                                               ServiceRole::kPostprocess};

int wanted_number(const WantedServices& wanted, ServiceRole role);

/// Where a deployment's services run and what they are given.
struct ServiceSurroundings {
  DeploymentSpec spec;
  std::string launch_id;
  DeploymentFolder folder;
  std::filesystem::path logs;
  std::string host;  // for addresses that clients use
  std::string secret;
  std::vector<ServiceEntry> left;  // by an earlier controller of the deployment
};

/// `around` and `publisher` must outlive the pool.
ServicePool make_pool(ServiceRole role, const ServiceSurroundings& around,
                      ServicePublisher& publisher);

}  // namespace dsl::launcher
