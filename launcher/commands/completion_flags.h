// The flags that chat and complete share.
#pragma once

#include <optional>
#include <string>

#include "launcher/command_line/command_line.h"
#include "launcher/openai_client/openai_client.h"
#include "transport/base/error.h"

namespace dsl::launcher {

inline constexpr const char* kApiKeyFileHelp =
    "file with an API key, for its owner alone; if not given, the deployment's own, else "
    "$OPENAI_API_KEY";

struct CompletionFlags {
  std::string deployment;
  std::optional<std::string> api_key_file;
  CompletionOptions options;

  void add_to(Command& command);
  /// The deployment's first ready gateway; asks it for its model unless --model was given.
  Result<OpenAiClient> connect(Cancellation& cancellation);
};

}  // namespace dsl::launcher
