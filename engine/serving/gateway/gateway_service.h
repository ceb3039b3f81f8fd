// The gateway's HTTP interface: OpenAI's API and what operators need (docs/openapi/gateway.yaml).
#pragma once

#include <memory>
#include <string>

#include "engine/serving/gateway/admission.h"
#include "engine/serving/http/http_server.h"

namespace dsl::serving {

struct GatewayCore;

/// Belongs to the loop's thread.
class GatewayService final : public HttpHandler {
 public:
  GatewayService(std::shared_ptr<GatewayCore> core, std::string secret, std::size_t max_body_bytes);

  void set_keys(const std::vector<ApiKey>& keys);
  /// No new requests from now on; /ready says so.
  void begin_drain() { is_draining_ = true; }
  std::size_t num_running() const;

  std::optional<HttpResponse> refuse(const HttpHead& head) override;
  HttpResponse handle(const HttpRequest& request) override;
  std::optional<std::size_t> body_limit(const HttpHead& head) override;
  HttpResponse describe(const Error& error) override;

 private:
  struct Route;
  static const Route* find_route(const HttpHead& head);
  HttpResponse answer(const Route& route, const HttpRequest& request);
  HttpResponse complete(const Route& route, const HttpRequest& request);
  HttpResponse models(std::string_view target) const;
  HttpResponse ready() const;
  HttpResponse status(std::string_view query) const;
  HttpResponse metrics(const HttpHead& head);
  HttpResponse refusal(const HttpHead& head, const Route* route, HttpResponse response);

  const std::shared_ptr<GatewayCore> core_;
  const std::string secret_;
  const std::size_t max_body_bytes_;
  Admission admission_;
  bool is_draining_ = false;
};

}  // namespace dsl::serving
