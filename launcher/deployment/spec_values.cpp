// Values of the table's fields, from text and back.
#include <charconv>
#include <string_view>

#include "launcher/deployment/spec_fields.h"

namespace dsl::launcher {
namespace {

/// The value of a member as flag text; none when it equals the default.
struct ToText {
  const DeploymentSpec& spec;
  const DeploymentSpec& defaults;

  std::optional<std::string> operator()(std::string DeploymentSpec::*m) const {
    return spec.*m == defaults.*m ? std::nullopt : std::optional(spec.*m);
  }
  std::optional<std::string> operator()(int DeploymentSpec::*m) const {
    return spec.*m == defaults.*m ? std::nullopt : std::optional(std::to_string(spec.*m));
  }
  std::optional<std::string> operator()(std::int64_t DeploymentSpec::*m) const {
    return spec.*m == defaults.*m ? std::nullopt : std::optional(std::to_string(spec.*m));
  }
  std::optional<std::string> operator()(ClusterKind DeploymentSpec::*m) const {
    return spec.*m == ClusterKind::kSlurm ? "slurm" : "local";
  }
  std::optional<std::string> operator()(std::optional<std::string> SlurmOptions::*m) const {
    return spec.slurm.*m;
  }
  std::optional<std::string> operator()(std::optional<int> SlurmOptions::*m) const {
    const std::optional<int>& value = spec.slurm.*m;
    return value ? std::optional(std::to_string(*value)) : std::nullopt;
  }
  std::optional<std::string> operator()(bool DeploymentSpec::*m) const {
    return spec.*m ? std::optional<std::string>("") : std::nullopt;
  }
  std::optional<std::string> operator()(bool SlurmOptions::*m) const {
    return spec.slurm.*m ? std::optional<std::string>("") : std::nullopt;
  }
};

constexpr std::string_view kValueRemedy = "correct the value";

Result<std::int64_t> parse_number(const SpecField& field, const std::string& text, ErrorCode code) {
  std::int64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) {
    return fail(code, kValueRemedy, "{}: expected an integer, found \"{}\"", field.key, text);
  }
  const double upper = field.max == 0 ? 2147483647.0 : field.max;
  if (static_cast<double>(value) < field.min || static_cast<double>(value) > upper) {
    return fail(code, kValueRemedy, "{}: expected {:.0f} to {:.0f}, found {}", field.key, field.min,
                upper, value);
  }
  return value;
}

Status check_choice(const SpecField& field, const std::string& text, ErrorCode code) {
  if (field.choices.empty()) return {};
  std::string known;
  for (const char* choice : field.choices) {
    if (text == choice) return {};
    known += known.empty() ? choice : std::string(", ") + choice;
  }
  return fail(code, kValueRemedy, "{}: expected one of {}, found \"{}\"", field.key, known, text);
}

/// Sets a member from text that check_choice() has passed.
struct FromText {
  DeploymentSpec& spec;
  const SpecField& field;
  const std::string& text;
  ErrorCode code;

  Status operator()(std::string DeploymentSpec::*m) const {
    spec.*m = text;
    return {};
  }
  Status operator()(int DeploymentSpec::*m) const {
    DSL_ASSIGN(const std::int64_t value, parse_number(field, text, code));
    spec.*m = static_cast<int>(value);
    return {};
  }
  Status operator()(std::int64_t DeploymentSpec::*m) const {
    DSL_ASSIGN(spec.*m, parse_number(field, text, code));
    return {};
  }
  Status operator()(ClusterKind DeploymentSpec::*m) const {
    spec.*m = text == "slurm" ? ClusterKind::kSlurm : ClusterKind::kLocal;
    return {};
  }
  Status operator()(std::optional<std::string> SlurmOptions::*m) const {
    if (text.empty()) return fail(code, kValueRemedy, "{}: the value is empty", field.key);
    spec.slurm.*m = text;
    return {};
  }
  Status operator()(std::optional<int> SlurmOptions::*m) const {
    DSL_ASSIGN(const std::int64_t value, parse_number(field, text, code));
    spec.slurm.*m = static_cast<int>(value);
    return {};
  }
  Status operator()(bool DeploymentSpec::*m) const {
    DSL_ASSIGN(spec.*m, parse_switch());
    return {};
  }
  Status operator()(bool SlurmOptions::*m) const {
    DSL_ASSIGN(spec.slurm.*m, parse_switch());
    return {};
  }

  Result<bool> parse_switch() const {
    if (text == "true") return true;
    if (text == "false") return false;
    return fail(code, kValueRemedy, "{}: expected true or false, found \"{}\"", field.key, text);
  }
};

}  // namespace

bool SpecField::is_number() const {
  return std::holds_alternative<int DeploymentSpec::*>(member) ||
         std::holds_alternative<std::int64_t DeploymentSpec::*>(member) ||
         std::holds_alternative<std::optional<int> SlurmOptions::*>(member);
}

std::string SpecField::default_number() const {
  const DeploymentSpec defaults;
  if (const auto* number = std::get_if<int DeploymentSpec::*>(&member)) {
    return std::to_string(defaults.**number);
  }
  if (const auto* number = std::get_if<std::int64_t DeploymentSpec::*>(&member)) {
    return std::to_string(defaults.**number);
  }
  return "";
}

Status assign(DeploymentSpec& spec, const SpecField& field, const std::string& text,
              ErrorCode code) {
  if (text.find_first_of(std::string("\n\r\0", 3)) != std::string::npos) {
    return fail(code, kValueRemedy, "{}: the value has a line break or a NUL", field.key);
  }
  DSL_TRY(check_choice(field, text, code));
  return std::visit(FromText{spec, field, text, code}, field.member);
}

std::vector<std::string> to_arguments(const DeploymentSpec& spec) {
  const DeploymentSpec defaults;
  std::vector<std::string> arguments = {spec.model};
  for (const SpecSection& section : spec_sections()) {
    for (const SpecField& field : section.fields) {
      if (field.flags[0] == '\0') continue;
      const std::optional<std::string> text = std::visit(ToText{spec, defaults}, field.member);
      if (!text) continue;
      arguments.push_back(field.is_switch() ? field.long_flag() : field.long_flag() + "=" + *text);
    }
  }
  return arguments;
}

}  // namespace dsl::launcher
