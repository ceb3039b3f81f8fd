// Server-sent events, cut out of a stream of bytes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "launcher/process/line_buffer.h"

namespace dsl::launcher {

/// Delivers the data of each event; other fields and comments are ignored. Thread-compatible.
class SseParser {
 public:
  SseParser();
  void feed(std::string_view bytes, const std::function<void(std::string_view data)>& on_data);

 private:
  LineBuffer lines_;
};

}  // namespace dsl::launcher
