// A compiled template: where the engine's failures become errors.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/text/jinja/interpreter.h"
#include "transport/base/error.h"

namespace dsl::text::jinja {

/// Immutable, thread-safe. Move-only.
class Template {
 public:
  /// Compiles valid UTF-8. `origin` is what messages call the template. Errors: kTemplate naming
  /// construct and line.
  static Result<Template> compile(std::string_view source, std::string origin);

  /// Renders with variables. Errors: kTemplate naming the line.
  Result<SourcedText> render(const Variables& variables) const;

 private:
  std::string origin_;
  std::shared_ptr<const Block> block_;
};

}  // namespace dsl::text::jinja
