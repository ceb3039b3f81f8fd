#include "engine/checkpoint/config_fields.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace dsl::checkpoint {

using nlohmann::json;

bool Fields::has(const char* name) const {
  const auto found = object_.find(name);
  return found != object_.end() && !found->is_null();
}

std::string Fields::shown(const char* name) const {
  const auto found = object_.find(name);
  if (found == object_.end()) return "nothing";
  std::string text = found->dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 120) text = text.substr(0, 117) + "...";
  return text;
}

tl::unexpected<Error> Fields::wrong(const char* name, std::string_view expected) const {
  return fail(ErrorCode::kModelConfig, "correct the field, or fetch the model's config.json again",
              "{}: field {}: expected {}, found {}", where_, name, expected, shown(name));
}

tl::unexpected<Error> Fields::unsupported(const char* name, std::string_view supported) const {
  return fail(ErrorCode::kModelUnsupported,
              "use a model whose configuration stays within what docs/numerics.md lists",
              "{}: field {}: {} is not supported, only {} is", where_, name, shown(name),
              supported);
}

Result<std::int64_t> Fields::integer(const char* name, std::int64_t min, std::int64_t max) const {
  const auto expected = [&] { return fmt::format("an integer from {} to {}", min, max); };
  if (!has(name)) return wrong(name, expected());
  const json& value = object_[name];
  if (!value.is_number_integer()) return wrong(name, expected());
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{INT64_MAX}) {
    return wrong(name, expected());
  }
  const auto integer = value.get<std::int64_t>();
  if (integer < min || integer > max) return wrong(name, expected());
  return integer;
}

Result<std::int64_t> Fields::integer_or(const char* name, std::int64_t absent, std::int64_t min,
                                        std::int64_t max) const {
  if (!has(name)) return absent;
  return integer(name, min, max);
}

Result<double> Fields::number(const char* name, double min, double max) const {
  const auto expected = [&] { return fmt::format("a number from {} to {}", min, max); };
  if (!has(name) || !object_[name].is_number()) return wrong(name, expected());
  const double value = object_[name].get<double>();
  if (!std::isfinite(value) || value < min || value > max) return wrong(name, expected());
  return value;
}

Result<double> Fields::number_or(const char* name, double absent, double min, double max) const {
  if (!has(name)) return absent;
  return number(name, min, max);
}

Result<bool> Fields::boolean_or(const char* name, bool absent) const {
  if (!has(name)) return absent;
  if (!object_[name].is_boolean()) return wrong(name, "true or false");
  return object_[name].get<bool>();
}

Result<std::string> Fields::text(const char* name) const {
  if (!has(name) || !object_[name].is_string()) return wrong(name, "a string");
  return object_[name].get<std::string>();
}

Result<std::string> Fields::text_or(const char* name, std::string_view absent) const {
  if (!has(name)) return std::string(absent);
  return text(name);
}

Result<std::vector<std::int64_t>> Fields::integers(const char* name) const {
  std::vector<std::int64_t> values;
  if (!has(name)) return values;
  const json& field = object_[name];
  const auto append = [&](const json& value) {
    if (!value.is_number_integer()) return false;
    values.push_back(value.get<std::int64_t>());
    return true;
  };
  bool is_right = true;
  if (field.is_array()) {
    for (const json& value : field) is_right = is_right && append(value);
  } else {
    is_right = append(field);
  }
  if (!is_right) return wrong(name, "an integer or a list of integers");
  return values;
}

Result<Fields> Fields::object(const char* name) const {
  if (!has(name) || !object_[name].is_object()) return wrong(name, "an object");
  return Fields(object_[name], fmt::format("{}: {}", where_, name));
}

}  // namespace dsl::checkpoint
