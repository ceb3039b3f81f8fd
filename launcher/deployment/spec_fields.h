// The one table of what a deployment can be asked: SPEC.yaml keys, flags, ranges and help come from
// it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "launcher/deployment/spec.h"
#include "transport/base/error.h"

namespace dsl::launcher {

/// A member of DeploymentSpec or SlurmOptions, by type.
using SpecMember = std::variant<std::string DeploymentSpec::*, int DeploymentSpec::*,
                                std::int64_t DeploymentSpec::*, ClusterKind DeploymentSpec::*,
                                bool DeploymentSpec::*, std::optional<std::string> SlurmOptions::*,
                                std::optional<int> SlurmOptions::*, bool SlurmOptions::*>;

struct SpecField {
  const char* key;    // in SPEC.yaml
  const char* flags;  // on the command line, e.g. "-N,--nodes"; empty: the positional argument
  SpecMember member;
  const char* help;
  double min = 0;                    // numbers only
  double max = 0;                    // numbers only; 0: no upper limit
  std::vector<const char*> choices;  // strings only; empty: any

  /// The long flag without a value, e.g. "--nodes".
  std::string long_flag() const;
  bool is_switch() const {
    return std::holds_alternative<bool SlurmOptions::*>(member) ||
           std::holds_alternative<bool DeploymentSpec::*>(member);
  }
  bool is_number() const;
  /// What a number is where nobody sets it; empty where there is no default, or no number.
  std::string default_number() const;
};

/// Sets the member from text: "true" or "false" for a switch, digits for a number. The message of
/// an error says what was expected and found; the caller says where.
Status assign(DeploymentSpec& spec, const SpecField& field, const std::string& text,
              ErrorCode code);

/// Fields that stand together under one key of SPEC.yaml, and under one heading of --help.
struct SpecSection {
  const char* key;      // in SPEC.yaml; empty: at its top
  const char* heading;  // "World", "Services", "Slurm"
  std::span<const SpecField> fields;
};

/// The fields of the world: what commands without a deployment know too.
std::span<const SpecField> world_fields();
std::span<const SpecField> slurm_fields();
/// All sections, the world's first. On the command line their flags stand beside each other.
std::span<const SpecSection> spec_sections();

/// Checks what no single field can: name syntax, tensor parallel degree, half of a pair, Slurm
/// options without Slurm. Error::field is the key at fault, "gateway.tls_key". kConfig or
/// kInvalidArgument as given, because the caller knows whether a file or a flag was wrong.
Status validate(const DeploymentSpec& spec, ErrorCode code);

/// "models/DeepSeek-V3" gives "deepseek-v3": the name of a deployment that was given none.
std::string default_name(const std::string& model);

/// The command line that parses back to `spec`: {"MODEL", "--tp", "2", …}; default values are left
/// out.
std::vector<std::string> to_arguments(const DeploymentSpec& spec);

}  // namespace dsl::launcher
