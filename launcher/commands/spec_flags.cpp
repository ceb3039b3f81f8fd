#include "launcher/commands/spec_flags.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>

#include "launcher/deployment/spec_reader.h"
#include "launcher/plan/model_shape.h"
#include "launcher/plan/world_plan.h"

namespace dsl::launcher {
namespace {

/// Fields that mean something only for a deployment that stays.
bool is_deployment_only(const SpecField& field) {
  static const std::set<std::string_view> keys = {"name", "cluster"};
  return keys.count(field.key) != 0;
}

bool is_spec_file(const std::string& path) {
  const std::string extension = std::filesystem::path(path).extension().string();
  return extension == ".yaml" || extension == ".yml";
}

/// "tp: expected 1 to 8" is "--tp: expected 1 to 8" to whoever typed it.
Error as_flag(Error error, const SpecField& field) {
  const std::string key = std::string(field.key) + ": ";
  if (error.message.starts_with(key)) error.message.erase(0, key.size());
  return std::move(error).within(field.long_flag());
}

}  // namespace

void SpecFlags::add_fields(Command& command, std::span<const SpecField> fields,
                           const std::string& group, SpecFlagSet set) {
  for (const SpecField& field : fields) {
    if (field.flags[0] == '\0') continue;
    if (set == SpecFlagSet::kWorld && is_deployment_only(field)) continue;
    typed_.push_back(std::make_unique<Typed>(Typed{&field, std::nullopt, false}));
    FlagRules rules;
    rules.group = group;
    if (field.is_number()) {
      const std::string number = field.default_number();
      rules.value_name = number.empty() ? "N" : "N=" + number;
    }
    rules.choices.assign(field.choices.begin(), field.choices.end());
    Typed& typed = *typed_.back();
    const FlagTarget target =
        field.is_switch() ? FlagTarget(&typed.is_set) : FlagTarget(&typed.text);
    command.add_flag(field.flags, target, field.help, rules);
  }
}

void SpecFlags::add_to(Command& command, SpecFlagSet set, bool required) {
  FlagRules positional;
  positional.required = required;
  const bool takes_file = set == SpecFlagSet::kDeployment;
  command.add_positional("MODEL", &model_,
                         takes_file ? "model directory, or a SPEC.yaml" : "model directory",
                         positional);
  for (const SpecSection& section : spec_sections()) {
    const bool of_the_world = section.fields.data() == world_fields().data();
    if (set == SpecFlagSet::kWorld && !of_the_world) continue;
    add_fields(command, section.fields, section.heading, set);
  }
}

std::vector<std::string> SpecFlags::typed() const {
  std::vector<std::string> names;
  for (const auto& typed : typed_) {
    if (typed->text || typed->is_set) names.push_back(typed->field->long_flag());
  }
  return names;
}

/// With the place in the file, unless a flag has set what is wrong.
Error SpecFlags::in_file(Error error) const {
  const bool is_typed = std::any_of(typed_.begin(), typed_.end(), [&](const auto& typed) {
    const bool is_set = typed->text || typed->is_set;
    return is_set && error.field.substr(error.field.rfind('.') + 1) == typed->field->key;
  });
  if (is_typed) return error;
  const std::string place = place_in_spec(model_, error.field);
  return std::move(error).within(place);
}

Result<DeploymentSpec> SpecFlags::resolve() const {
  DeploymentSpec spec;
  if (is_spec_file(model_)) {
    DSL_ASSIGN(spec, read_spec(model_));
  } else {
    spec.model = model_;
  }
  for (const auto& typed : typed_) {
    const std::optional<std::string> text = typed->is_set ? "true" : typed->text;
    if (!text) continue;
    Status assigned = assign(spec, *typed->field, *text, ErrorCode::kInvalidArgument);
    if (!assigned) {
      return tl::unexpected<Error>(as_flag(std::move(assigned).error(), *typed->field));
    }
  }
  std::error_code ignored;
  if (!spec.model.empty()) {
    spec.model = std::filesystem::absolute(spec.model, ignored).lexically_normal().string();
    while (spec.model.size() > 1 && spec.model.back() == '/') spec.model.pop_back();
  }
  for (std::string* named : {&spec.keys, &spec.tls_certificate, &spec.tls_key}) {
    if (!named->empty()) *named = std::filesystem::absolute(*named, ignored).string();
  }
  if (spec.name.empty()) spec.name = default_name(spec.model);
  if (!is_spec_file(model_)) {
    DSL_TRY(validate(spec, ErrorCode::kInvalidArgument));
  } else if (Status valid = validate(spec, ErrorCode::kConfig); !valid) {
    return tl::unexpected<Error>(in_file(std::move(valid).error()));
  }
  DSL_TRY(check_shape(spec.model, spec.tp, spec.pp));
  DSL_TRY(check_nodes_asked_for(spec));
  return spec;
}

}  // namespace dsl::launcher
