// The HTTP face of a text service (docs/process-contract.md).
#pragma once

#include <memory>
#include <string>

#include "engine/serving/http/http_server.h"
#include "engine/serving/text_service/postprocessor.h"
#include "engine/serving/text_service/preprocessor.h"
#include "engine/serving/text_service/text_metrics.h"

namespace dsl::serving {

enum class TextRole { kPreprocess, kPostprocess };

/// All but health and identity need the deployment's secret. Lives in the server's thread.
class TextService final : public HttpHandler {
 public:
  TextService(TextRole role, const std::shared_ptr<const ServedModel>& model,
              StreamCache::Limits limits, std::string secret);

  std::optional<HttpResponse> refuse(const HttpHead& head) override;
  HttpResponse handle(const HttpRequest& request) override;

 private:
  HttpResponse answer(const HttpRequest& request);
  Result<std::string> preprocess(const HttpRequest& request);
  HttpResponse metrics();

  const TextRole role_;
  const std::string secret_;
  Preprocessor preprocessor_;
  Postprocessor postprocessor_;
  TextMetrics metrics_;
};

}  // namespace dsl::serving
