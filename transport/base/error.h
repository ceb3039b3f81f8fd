// Expected failures as values: a stable code and a message that names operation, object and remedy.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace dsl {

/// Stable error codes; the catalogue with meanings and exit codes is error_codes.def.
enum class ErrorCode : int {
#define DSL_ERROR(number, name, exit_code, meaning) name = number,
#include "transport/base/error_codes.def"
#undef DSL_ERROR
};

/// The catalogue's name of a code without the leading k, e.g. "PeerLost".
std::string_view error_name(ErrorCode code);
/// One sentence: what the code means.
std::string_view error_meaning(ErrorCode code);
/// The exit code of a process that ends because of this error (docs/errors.md).
int exit_code(ErrorCode code);

/// An expected failure. `message` says operation, object, peer/rank/path, expected and actual;
/// `remedy` says what the reader can do about it. Value type, thread-compatible.
struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::string remedy;
  std::string field = {};  // of a request: the path of the field at fault, such as messages[0].role

  /// "DSL-200 PeerLost: <message>. Remedy: <remedy>" on one line.
  std::string to_string() const;
  /// The same error seen from a caller: `context` is put before the message.
  Error within(std::string_view context) &&;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// fail(code, remedy, format, args...) makes the unexpected value of any Result.
template <typename... Args>
tl::unexpected<Error> fail(ErrorCode code, std::string_view remedy,
                           fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(
      Error{code, fmt::format(format, std::forward<Args>(args)...), std::string(remedy)});
}

/// Ends the process: a broken invariant is a bug, and a rank that goes on could return wrong
/// tokens.
[[noreturn]] void check_failed(const char* file, int line, const char* expression,
                               const std::string& values);

}  // namespace dsl

#define DSL_CONCAT_INNER(a, b) a##b
#define DSL_CONCAT(a, b) DSL_CONCAT_INNER(a, b)

/// Returns the error of a Status or Result from the enclosing function.
#define DSL_TRY(expression)                                                  \
  do {                                                                       \
    if (auto dsl_result_ = (expression); !dsl_result_.has_value())           \
      return ::tl::unexpected<::dsl::Error>(std::move(dsl_result_).error()); \
  } while (false)

/// DSL_ASSIGN(auto x, expression): x = value, or returns the error.
#define DSL_ASSIGN(declaration, expression)                                                      \
  auto DSL_CONCAT(dsl_result_, __LINE__) = (expression);                                         \
  if (!DSL_CONCAT(dsl_result_, __LINE__).has_value())                                            \
    return ::tl::unexpected<::dsl::Error>(std::move(DSL_CONCAT(dsl_result_, __LINE__)).error()); \
  declaration = std::move(*DSL_CONCAT(dsl_result_, __LINE__))

/// Aborts with the formatted values when an invariant is broken; never used to validate input.
#define DSL_CHECK(condition, ...)                                                      \
  do {                                                                                 \
    if (!(condition)) [[unlikely]]                                                     \
      ::dsl::check_failed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)
