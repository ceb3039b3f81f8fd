// OpenAI request bodies to token ids and parameters.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/serving/text_service/prepared_request.h"
#include "engine/serving/text_service/served_model.h"
#include "transport/base/error.h"

namespace dsl::serving {

/// Immutable, thread-safe. Errors (openai_error.h turns them into answers) name the field at fault
/// in Error::field: kRequestInvalid, kInvalidUtf8, kTemplate, kContextOverflow; kNotFound for
/// another model.
class Preprocessor {
 public:
  explicit Preprocessor(std::shared_ptr<const ServedModel> model);

  /// The body of POST /v1/chat/completions.
  Result<PreparedRequest> prepare_chat(std::string_view body) const;
  /// The body of POST /v1/completions.
  Result<PreparedRequest> prepare_completion(std::string_view body) const;
  /// The body of POST /tokenize to that of its answer.
  Result<std::string> tokenize(std::string_view body) const;
  /// The body of POST /detokenize to that of its answer.
  Result<std::string> detokenize(std::string_view body) const;

 private:
  std::shared_ptr<const ServedModel> model_;
};

}  // namespace dsl::serving
