// Reads the fields of a request's JSON strictly: types and ranges, with errors that name the field.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "transport/base/error.h"

namespace dsl::serving {

/// The fields of one JSON object. Errors are kRequestInvalid, "PATH.FIELD: expected X, found Y",
/// with the path in Error::field too. Absent and null are the same. Non-owning of the object.
class RequestReader {
 public:
  /// `path` names the object in messages; empty for a body whose fields stand for themselves.
  /// `remedy` goes with every error and must outlive the reader.
  static Result<RequestReader> open(const nlohmann::json& value, std::string path,
                                    std::string_view remedy);

  /// The field, or null when it is absent or null.
  const nlohmann::json* find(const char* field);
  bool has(const char* field) { return find(field) != nullptr; }

  Result<std::int64_t> integer(const char* field, std::int64_t absent, std::int64_t min,
                               std::int64_t max);
  Result<float> number(const char* field, float absent);
  Result<bool> boolean(const char* field, bool absent);
  Result<std::optional<std::string>> text(const char* field);
  /// Any 64-bit integer as a seed.
  Result<std::optional<std::uint64_t>> seed(const char* field);
  Result<std::vector<std::int32_t>> token_ids(const char* field);
  /// A string or a list of at most `max_count` strings.
  Result<std::vector<std::string>> texts(const char* field, std::size_t max_count);
  /// An object of token id to number.
  Result<std::vector<std::pair<std::int32_t, float>>> biases(const char* field,
                                                             std::size_t max_count);
  /// A field that is an object; its own errors name it. The field must be there.
  Result<RequestReader> object(const char* field);

  /// The name of a field in messages.
  std::string path_of(std::string_view field) const;
  tl::unexpected<Error> wrong(const char* field, std::string_view expected) const;
  /// An error about a field with a text of its own.
  tl::unexpected<Error> refuse(std::string_view field, std::string message) const;
  /// Refuses fields that were never asked for.
  Status refuse_unknown() const;

 private:
  RequestReader(const nlohmann::json& object, std::string path, std::string_view remedy)
      : object_(&object), path_(std::move(path)), remedy_(remedy) {}

  const nlohmann::json* object_;
  std::string path_;
  std::string_view remedy_;
  std::vector<std::string_view> known_;  // names given as literals
};

/// A list of token ids, or nothing when it is something else.
std::optional<std::vector<std::int32_t>> token_ids_of(const nlohmann::json& value);
/// A JSON value as a message shows it: shortened, always valid UTF-8.
std::string shown(const nlohmann::json& value);

/// A field of a JSON object as its author wrote it, because the order of keys reaches the prompt.
/// `body` is known to be valid JSON and an object; a field that is not there is empty.
std::string_view raw_field(std::string_view body, std::string_view field);
/// The elements of a JSON list, likewise.
std::vector<std::string_view> raw_elements(std::string_view list);

}  // namespace dsl::serving
