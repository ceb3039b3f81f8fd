// How a command speaks: for people or for programs.
#pragma once

#include "launcher/command_line/command_line.h"

namespace dsl::launcher {

/// One per program run; main() reads it to print errors in the same form.
struct OutputOptions {
  bool json = false;

  void add_to(Command& command) {
    command.add_flag("--json", &json, "print one JSON object, and errors as JSON");
  }
};

}  // namespace dsl::launcher
