#include "launcher/commands/gateway_wait.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/commands/deployments.h"
#include "launcher/commands/service_access.h"
#include "launcher/http_client/http_exchange.h"
#include "launcher/openai_client/openai_endpoint.h"
#include "transport/base/log.h"

namespace dsl::launcher {
namespace {

constexpr std::chrono::seconds kGatewayTime{10};
constexpr std::size_t kMaxAnswerBytes = 1 << 20;

/// How many replicas a gateway that answered /ready gives requests to.
int num_seen(const HttpAnswer& answer) {
  const auto body = nlohmann::json::parse(answer.body, nullptr, false);
  const bool tells = body.is_object() && body.contains("ready") && body["ready"].is_number();
  return tells ? body["ready"].get<int>() : 0;
}

Status wait_for_gateway(const std::string& url, int num_replicas, Deadline deadline,
                        Cancellation& cancellation) {
  DSL_ASSIGN(const OpenAiEndpoint gateway, parse_gateway_url(url, ""));
  int seen = 0;
  while (true) {
    const Result<HttpAnswer> answer =
        fetch(gateway.request("GET", "/ready", ""), deadline, cancellation, kMaxAnswerBytes);
    if (std::optional<Error> reason = cancellation.reason()) {
      return tl::unexpected<Error>(*std::move(reason));
    }
    if (!answer && answer.error().code == ErrorCode::kAuthentication) {
      // A certificate for clients elsewhere is no failure of the deployment.
      log(LogLevel::kWarning, "{}", answer.error().to_string());
      return {};
    }
    if (answer) seen = num_seen(*answer);
    if (seen >= num_replicas) return {};
    if (!deadline.expired()) {
      cancellation.wait(Deadline::after(kStatePollInterval));
      continue;
    }
    if (!answer) return tl::unexpected<Error>(answer.error());
    if (seen == 0) {
      return fail(ErrorCode::kUnreachable, "see its log: dslaunch logs",
                  "the gateway {} sees no replica", url);
    }
    log(LogLevel::kWarning, "the gateway {} sees {} of {} replicas: see dslaunch status", url, seen,
        num_replicas);
    return {};
  }
}

}  // namespace

Status wait_for_gateways(const std::vector<DeploymentRecord>& parts, Cancellation& cancellation) {
  DSL_ASSIGN(const ServiceOverview overview, read_services(parts));
  const auto gets_requests = [&](const DeploymentRecord& part) {
    return is_replica(part) && part.state == DeploymentState::kReady &&
           overview.wanted.draining.count(part.replica) == 0;
  };
  const auto num_replicas =
      static_cast<int>(std::count_if(parts.begin(), parts.end(), gets_requests));
  const Deadline deadline = Deadline::after(kGatewayTime);
  for (const std::string& url : ready_gateways(overview)) {
    DSL_TRY(wait_for_gateway(url, num_replicas, deadline, cancellation));
  }
  return {};
}

}  // namespace dsl::launcher
