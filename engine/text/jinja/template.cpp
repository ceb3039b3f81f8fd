#include "engine/text/jinja/template.h"

#include <utility>

#include "engine/text/jinja/failure.h"
#include "engine/text/jinja/parser.h"
#include "engine/text/utf8.h"

namespace dsl::text::jinja {

Result<Template> Template::compile(std::string_view source, std::string origin) {
  if (const auto offset = find_invalid_utf8(source)) {
    return fail(ErrorCode::kTemplate, "restore the template from the model's source",
                "{}: invalid UTF-8 at byte {}", origin, *offset);
  }
  Template result;
  try {
    result.block_ = std::make_shared<const Block>(parse(source));
  } catch (const Failure& failure) {
    return fail(ErrorCode::kTemplate, "use a template that keeps to the supported subset of Jinja",
                "{}, line {}: {}", origin, failure.line, failure.message);
  }
  result.origin_ = std::move(origin);
  return result;
}

Result<SourcedText> Template::render(const Variables& variables) const {
  Interpreter interpreter(variables);
  try {
    return interpreter.render(*block_);
  } catch (const Failure& failure) {
    return fail(ErrorCode::kTemplate, "send messages of the form that the model's template expects",
                "{}, line {}: {}", origin_, failure.line != 0 ? failure.line : interpreter.line(),
                failure.message);
  }
}

}  // namespace dsl::text::jinja
