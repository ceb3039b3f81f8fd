#include "engine/text/detokenizer.h"

#include <utility>

namespace dsl::text {

Detokenizer::Detokenizer(Tokenizer tokenizer, SpecialText special_text)
    : tokenizer_(std::move(tokenizer)), special_text_(special_text) {}

std::string Detokenizer::push(std::int32_t id) {
  if (special_text_ == SpecialText::kSkip && tokenizer_.is_special(id)) return {};
  const std::optional<std::string_view> piece = tokenizer_.id_to_piece(id);
  return piece ? stream_.push(*piece) : std::string();
}

std::string Detokenizer::finish() { return stream_.finish(); }

}  // namespace dsl::text
