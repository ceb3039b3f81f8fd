// The flags of a deployment specification on a command line, over a SPEC.yaml or a model directory.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/command_line/command_line.h"
#include "launcher/deployment/spec.h"
#include "launcher/deployment/spec_fields.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// Which flags a command knows beside those of the world.
enum class SpecFlagSet { kWorld, kDeployment };

/// Holds what was typed until it is resolved. Must outlive the parse.
class SpecFlags {
 public:
  /// kWorld: --tp, --pp, --threads and the like; kDeployment: also --name, --cluster and Slurm's
  /// flags. `required` says whether the positional argument must be there.
  void add_to(Command& command, SpecFlagSet set, bool required);

  bool has_model() const { return !model_.empty(); }
  /// The names of the world's flags that were typed, for commands that must refuse them.
  std::vector<std::string> typed() const;

  /// Reads the SPEC.yaml if one was named, puts the flags over it, makes paths absolute, fills in
  /// the name and validates. Then check_shape().
  Result<DeploymentSpec> resolve() const;

 private:
  struct Typed {
    const SpecField* field;
    std::optional<std::string> text;
    bool is_set = false;  // switches
  };
  Error in_file(Error error) const;
  void add_fields(Command& command, std::span<const SpecField> fields, const std::string& group,
                  SpecFlagSet set);

  std::string model_;
  std::vector<std::unique_ptr<Typed>> typed_;  // stable addresses for the parser
};

}  // namespace dsl::launcher
