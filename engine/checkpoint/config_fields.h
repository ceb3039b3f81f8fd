// Typed, range-checked reading of one JSON object of a model's configuration.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "transport/base/error.h"

namespace dsl::checkpoint {

/// Reads fields of a JSON object. A missing or wrong field is kModelConfig and says where, which
/// field, what was expected and what was found; a null field counts as absent. Non-owning: the
/// object must outlive it.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string_view where) : object_(object), where_(where) {}

  /// True when the field is there and not null.
  bool has(const char* name) const;

  Result<std::int64_t> integer(const char* name, std::int64_t min, std::int64_t max) const;
  Result<std::int64_t> integer_or(const char* name, std::int64_t absent, std::int64_t min,
                                  std::int64_t max) const;
  Result<double> number(const char* name, double min, double max) const;
  Result<double> number_or(const char* name, double absent, double min, double max) const;
  Result<bool> boolean_or(const char* name, bool absent) const;
  Result<std::string> text(const char* name) const;
  Result<std::string> text_or(const char* name, std::string_view absent) const;
  /// One integer or a list of them; empty when absent.
  Result<std::vector<std::int64_t>> integers(const char* name) const;
  Result<Fields> object(const char* name) const;

  /// kModelConfig: the field's value is not `expected`.
  tl::unexpected<Error> wrong(const char* name, std::string_view expected) const;
  /// kModelUnsupported: the field's value is legal, but only `supported` is implemented.
  tl::unexpected<Error> unsupported(const char* name, std::string_view supported) const;

 private:
  std::string shown(const char* name) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace dsl::checkpoint
