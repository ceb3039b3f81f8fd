#include "engine/text/split_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>

namespace dsl::text {
namespace {

// The interpreter's heap and the JIT's stack per scratch; DeepSeek's patterns need almost nothing.
constexpr std::size_t kJitStackStart = 32 << 10;
constexpr std::size_t kJitStackMax = 1 << 20;
constexpr std::uint32_t kHeapLimitKib = 64 << 10;
// Backtracking per match: passing over all of the text some times is fine, trying all of its splits
// is not.
constexpr std::uint32_t kMatchLimitBase = 1'000'000;
constexpr std::uint32_t kMatchLimitPerByte = 3;

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct RegexScratch::Impl {
  std::unique_ptr<pcre2_match_data, FreeWith<pcre2_match_data_free>> match_data{
      pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeWith<pcre2_match_context_free>> context{
      pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, FreeWith<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr)};
};

RegexScratch::RegexScratch() : impl_(std::make_unique<Impl>()) {
  DSL_CHECK(impl_->match_data && impl_->context && impl_->stack, "out of memory");
  pcre2_jit_stack_assign(impl_->context.get(), nullptr, impl_->stack.get());
  pcre2_set_heap_limit(impl_->context.get(), kHeapLimitKib);
}
RegexScratch::RegexScratch(RegexScratch&&) noexcept = default;
RegexScratch& RegexScratch::operator=(RegexScratch&&) noexcept = default;
RegexScratch::~RegexScratch() = default;

struct SplitRegex::Impl {
  std::unique_ptr<pcre2_code, FreeWith<pcre2_code_free>> code;
  bool has_jit = false;
};

SplitRegex::SplitRegex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SplitRegex::SplitRegex(SplitRegex&&) noexcept = default;
SplitRegex& SplitRegex::operator=(SplitRegex&&) noexcept = default;
SplitRegex::~SplitRegex() = default;

Result<SplitRegex> SplitRegex::compile(std::string_view pattern, std::string_view source) {
  const std::unique_ptr<pcre2_compile_context, FreeWith<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  DSL_CHECK(context != nullptr, "out of memory");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 50);
  int code = 0;
  PCRE2_SIZE offset = 0;
  auto impl = std::make_unique<Impl>();
  // ^ and $ match at every line in Ruby syntax.
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &code, &offset, context.get()));
  if (!impl->code) {
    return fail(ErrorCode::kTokenizerCorrupt, "restore tokenizer.json from its source",
                "pattern \"{}\": {}", source, error_text(code));
  }
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(impl->code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    return fail(ErrorCode::kTokenizerUnsupported, "use a tokenizer whose patterns match something",
                "pattern \"{}\" can match the empty string", source);
  }
  impl->has_jit = pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return SplitRegex(std::move(impl));
}

Result<std::optional<RegexMatch>> SplitRegex::find(std::string_view subject, std::size_t start,
                                                   RegexScratch& scratch) const {
  RegexScratch::Impl& state = *scratch.impl_;
  const auto* bytes = reinterpret_cast<PCRE2_SPTR>(subject.data());
  // Texts are at most 1 GiB, so this fits.
  pcre2_set_match_limit(
      state.context.get(),
      kMatchLimitBase + kMatchLimitPerByte * static_cast<std::uint32_t>(subject.size()));
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (impl_->has_jit) {
    result = pcre2_jit_match(impl_->code.get(), bytes, subject.size(), start, PCRE2_NO_UTF_CHECK,
                             state.match_data.get(), state.context.get());
  }
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its state on the heap
    result =
        pcre2_match(impl_->code.get(), bytes, subject.size(), start,
                    PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state.match_data.get(), state.context.get());
  }
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    return fail(ErrorCode::kTokenizerUnsupported, "shorten the text or use a simpler tokenizer",
                "matching a pre-tokenizer pattern from byte {} of {}: {}", start, subject.size(),
                error_text(result));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state.match_data.get());
  return RegexMatch{bounds[0], bounds[1]};
}

}  // namespace dsl::text
