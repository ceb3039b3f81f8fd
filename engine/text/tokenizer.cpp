#include "engine/text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/file.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/tokenizer_json.h"
#include "engine/text/utf8.h"

namespace dsl::text {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

/// A token id's row in the table of pieces.
struct Piece {
  std::string bytes;
  bool exists = false;
  bool is_special = false;
  bool is_control = false;
};

/// Working memory of one encode call.
struct Scratch {
  RegexScratch regex;
  BpeScratch bpe;
  std::vector<std::string_view> pieces;
};

/// Keeps the working memory of finished calls, with its warm cache, for the next ones. Thread-safe.
class ScratchPool {
 public:
  std::unique_ptr<Scratch> take() {
    const std::scoped_lock lock(mutex_);
    if (idle_.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::scoped_lock lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
};

Status check_utf8(std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    return fail(ErrorCode::kInvalidArgument, "split the text",
                "encode: expected at most {} bytes, found {}", kMaxTextBytes, text.size());
  }
  if (const std::optional<std::size_t> offset = find_invalid_utf8(text)) {
    return fail(ErrorCode::kInvalidUtf8, "send the text as UTF-8",
                "encode: invalid UTF-8 at byte {} of {}: found byte 0x{:02X}", *offset, text.size(),
                static_cast<unsigned char>(text[*offset]));
  }
  return {};
}

/// Every byte that can occur in UTF-8 must have a token.
Status check_bytes(const std::array<std::optional<std::int32_t>, 256>& byte_ids,
                   std::string_view origin) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool occurs = byte < 0xC0 || (byte >= 0xC2 && byte < 0xF5);
    if (occurs && !byte_ids[static_cast<std::size_t>(byte)]) {
      return fail(ErrorCode::kTokenizerUnsupported, "use a tokenizer of the byte-level kind",
                  "{}: the vocabulary has no token for byte 0x{:02X}", origin, byte);
    }
  }
  return {};
}

}  // namespace

struct Tokenizer::State {
  std::vector<Piece> pieces;  // by id
  std::unordered_map<std::string, std::int32_t> ids;
  PreTokenizer pre_tokenizer;
  AddedTokenMatcher added_tokens;
  Bpe bpe;
  std::vector<std::int32_t> prefix_ids;
  std::vector<std::int32_t> suffix_ids;
  std::optional<std::int32_t> bos_id;
  std::optional<std::int32_t> eos_id;
  mutable ScratchPool scratch_pool;

  State(PreTokenizer splits, AddedTokenMatcher matcher, Bpe merges)
      : pre_tokenizer(std::move(splits)),
        added_tokens(std::move(matcher)),
        bpe(std::move(merges)) {}

  void add_piece(std::string_view token, std::int32_t id, Piece piece);
  void apply_config(const TokenizerSpec& spec);
  Status encode_part(std::string_view text, Scratch& scratch, std::vector<std::int32_t>& out) const;
  Result<std::vector<std::int32_t>> encode(std::string_view text,
                                           std::span<const LiteralRange> literals) const;
};

void Tokenizer::State::add_piece(std::string_view token, std::int32_t id, Piece piece) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= pieces.size()) pieces.resize(index + 1);
  pieces[index] = std::move(piece);
  ids.insert_or_assign(std::string(token), id);
}

void Tokenizer::State::apply_config(const TokenizerSpec& spec) {
  const auto find = [&](const std::optional<std::string>& token) -> std::optional<std::int32_t> {
    const auto found = token ? ids.find(*token) : ids.end();
    if (found == ids.end()) return std::nullopt;
    return found->second;
  };
  const auto override_with = [](const std::optional<bool>& adds, std::optional<std::int32_t> id,
                                std::vector<std::int32_t>& target) {
    if (!adds) return;
    target.clear();
    if (*adds && id) target.push_back(*id);
  };
  bos_id = find(spec.bos_token);
  eos_id = find(spec.eos_token);
  prefix_ids = spec.prefix_ids;
  suffix_ids = spec.suffix_ids;
  override_with(spec.adds_bos, bos_id, prefix_ids);
  override_with(spec.adds_eos, eos_id, suffix_ids);
}

Status Tokenizer::State::encode_part(std::string_view text, Scratch& scratch,
                                     std::vector<std::int32_t>& out) const {
  scratch.pieces.clear();
  DSL_TRY(pre_tokenizer.split(text, scratch.regex, scratch.pieces));
  for (const std::string_view piece : scratch.pieces) bpe.encode(piece, scratch.bpe, out);
  return {};
}

Result<std::vector<std::int32_t>> Tokenizer::State::encode(
    std::string_view text, std::span<const LiteralRange> literals) const {
  DSL_TRY(check_utf8(text));
  std::vector<std::int32_t> out;
  out.reserve(text.size() / 3);
  std::unique_ptr<Scratch> scratch = scratch_pool.take();
  for (const TextPart& part : added_tokens.split(text, literals)) {
    if (part.id) {
      out.push_back(*part.id);
    } else {
      DSL_TRY(encode_part(part.text, *scratch, out));
    }
  }
  scratch_pool.give_back(std::move(scratch));
  return out;
}

Tokenizer::Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path file = is_folder ? path / "tokenizer.json" : path;
  const std::filesystem::path config_file = file.parent_path() / "tokenizer_config.json";
  DSL_ASSIGN(const std::string tokenizer_json, read_text_file(file));
  std::string config_json;
  if (std::filesystem::exists(config_file, ignored)) {
    DSL_ASSIGN(config_json, read_text_file(config_file));
  }
  return parse(tokenizer_json, config_json, file.string());
}

Result<Tokenizer> Tokenizer::parse(std::string_view tokenizer_json, std::string_view config_json,
                                   std::string_view origin) {
  DSL_ASSIGN(TokenizerSpec spec, parse_tokenizer_json(tokenizer_json, config_json, origin));
  Bpe::Options options;
  options.merges = std::move(spec.merges);
  if (spec.ignores_merges) options.whole_pieces.emplace();
  std::vector<std::pair<std::string, std::string>> spelled;  // token, bytes
  spelled.reserve(spec.vocab.size());
  for (const TokenizerSpec::VocabEntry& entry : spec.vocab) {
    std::string bytes = spelled_bytes(entry.token).value_or(entry.token);
    if (bytes.size() == 1 && entry.token == spell_byte(static_cast<std::uint8_t>(bytes[0]))) {
      options.byte_ids[static_cast<std::uint8_t>(bytes[0])] = entry.id;
    }
    if (options.whole_pieces) options.whole_pieces->emplace(bytes, entry.id);
    spelled.emplace_back(entry.token, std::move(bytes));
  }
  DSL_TRY(check_bytes(options.byte_ids, origin));
  auto splits = PreTokenizer::create(spec.splits);
  if (!splits) return tl::unexpected(std::move(splits).error().within(origin));
  auto state = std::make_shared<State>(*std::move(splits), AddedTokenMatcher(spec.added_tokens),
                                       Bpe(std::move(options)));
  for (std::size_t i = 0; i < spelled.size(); ++i) {
    state->add_piece(spelled[i].first, spec.vocab[i].id, {std::move(spelled[i].second), true});
  }
  for (const AddedToken& token : spec.added_tokens) {
    state->add_piece(token.content, token.id,
                     {token.content, true, token.is_special, token.is_control()});
  }
  state->apply_config(spec);
  return Tokenizer(std::move(state));
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view utf8,
                                                    const EncodeOptions& options) const {
  const LiteralRange whole{0, utf8.size()};
  const std::span<const LiteralRange> none;
  DSL_ASSIGN(std::vector<std::int32_t> ids,
             state_->encode(utf8, options.special_tokens == SpecialTokens::kParse
                                      ? std::span<const LiteralRange>(&whole, 1)
                                      : none));
  if (options.post_processing == PostProcessing::kApply) {
    ids.insert(ids.begin(), state_->prefix_ids.begin(), state_->prefix_ids.end());
    ids.insert(ids.end(), state_->suffix_ids.begin(), state_->suffix_ids.end());
  }
  return ids;
}

Result<std::vector<std::int32_t>> Tokenizer::encode_prompt(
    std::span<const PromptSegment> prompt) const {
  std::string text;
  std::vector<LiteralRange> literals;
  for (const PromptSegment& segment : prompt) {
    const std::size_t begin = text.size();
    text += segment.text;
    if (!segment.is_template_literal || segment.text.empty()) continue;
    if (!literals.empty() && literals.back().end == begin) {
      literals.back().end = text.size();
    } else {
      literals.push_back({begin, text.size()});
    }
  }
  return state_->encode(text, literals);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, SpecialText special_text) const {
  Utf8Stream stream;
  std::string text;
  for (const std::int32_t id : ids) {
    if (special_text == SpecialText::kSkip && is_special(id)) continue;
    if (const auto piece = id_to_piece(id)) text += stream.push(*piece);
  }
  return text + stream.finish();
}

std::optional<std::string_view> Tokenizer::id_to_piece(std::int32_t id) const {
  if (id < 0 || id >= vocab_size()) return std::nullopt;
  const Piece& piece = state_->pieces[static_cast<std::size_t>(id)];
  if (!piece.exists) return std::nullopt;
  return piece.bytes;
}

std::optional<std::int32_t> Tokenizer::token_id(std::string_view token) const {
  const auto found = state_->ids.find(std::string(token));
  if (found == state_->ids.end()) return std::nullopt;
  return found->second;
}

bool Tokenizer::is_special(std::int32_t id) const {
  return id_to_piece(id) && state_->pieces[static_cast<std::size_t>(id)].is_special;
}

bool Tokenizer::is_control(std::int32_t id) const {
  return id_to_piece(id) && state_->pieces[static_cast<std::size_t>(id)].is_control;
}

std::int32_t Tokenizer::vocab_size() const {
  return static_cast<std::int32_t>(state_->pieces.size());
}

std::optional<std::int32_t> Tokenizer::bos_id() const { return state_->bos_id; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return state_->eos_id; }

}  // namespace dsl::text
