#include "transport/bootstrap/frame.h"

#include <cstring>

namespace dsl::bootstrap {
namespace {

constexpr std::size_t kLengthBytes = 4;

void append_u32(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

std::uint32_t load_u32(const char* data) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    value |= std::uint32_t{static_cast<std::uint8_t>(data[i])} << (8 * i);
  }
  return value;
}

tl::unexpected<Error> malformed(std::string_view what, std::size_t expected, std::size_t found) {
  return fail(ErrorCode::kProtocol, "check that both ends run the same version",
              "rendezvous message: {}: expected {}, found {}", what, expected, found);
}

}  // namespace

std::string encode_frame(FrameType type, std::string_view payload) {
  std::string out;
  out.reserve(kLengthBytes + 1 + payload.size());
  append_u32(out, static_cast<std::uint32_t>(payload.size() + 1));
  out.push_back(static_cast<char>(type));
  out.append(payload);
  return out;
}

Result<std::optional<Frame>> take_frame(std::string& buffer, std::size_t max_bytes) {
  if (buffer.size() < kLengthBytes) return std::nullopt;
  const std::size_t length = load_u32(buffer.data());
  if (length < 1 || length > max_bytes) return malformed("length of at most", max_bytes, length);
  if (buffer.size() > kLengthBytes) {
    const auto type = static_cast<std::uint8_t>(buffer[kLengthBytes]);
    if (type < 1 || type > kLastFrameType)
      return malformed("type of at most", kLastFrameType, type);
  }
  if (buffer.size() - kLengthBytes < length) return std::nullopt;
  Frame frame{static_cast<FrameType>(buffer[kLengthBytes]),
              buffer.substr(kLengthBytes + 1, length - 1)};
  buffer.erase(0, kLengthBytes + length);
  return frame;
}

PayloadWriter& PayloadWriter::u32(std::uint32_t value) {
  append_u32(bytes_, value);
  return *this;
}

PayloadWriter& PayloadWriter::raw(ConstBytes bytes) {
  bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return *this;
}

PayloadWriter& PayloadWriter::text(std::string_view value) {
  u32(static_cast<std::uint32_t>(value.size()));
  bytes_.append(value);
  return *this;
}

Result<std::uint32_t> PayloadReader::u32() {
  if (rest_.size() < 4) return malformed("bytes of a number", 4, rest_.size());
  const std::uint32_t value = load_u32(rest_.data());
  rest_.remove_prefix(4);
  return value;
}

Status PayloadReader::raw(MutableBytes out) {
  if (rest_.size() < out.size()) return malformed("bytes of a field", out.size(), rest_.size());
  std::memcpy(out.data(), rest_.data(), out.size());
  rest_.remove_prefix(out.size());
  return {};
}

Result<std::string> PayloadReader::text() {
  DSL_ASSIGN(const std::uint32_t length, u32());
  if (rest_.size() < length) return malformed("bytes of a text", length, rest_.size());
  std::string value(rest_.substr(0, length));
  rest_.remove_prefix(length);
  return value;
}

Status PayloadReader::finish() const {
  if (!rest_.empty()) return malformed("bytes left", 0, rest_.size());
  return {};
}

void write_error(PayloadWriter& writer, const Error& error) {
  writer.u32(static_cast<std::uint32_t>(error.code)).text(error.message).text(error.remedy);
}

Result<Error> read_error(PayloadReader& reader) {
  DSL_ASSIGN(const std::uint32_t code, reader.u32());
  DSL_ASSIGN(std::string message, reader.text());
  DSL_ASSIGN(std::string remedy, reader.text());
  return Error{static_cast<ErrorCode>(code), std::move(message), std::move(remedy)};
}

}  // namespace dsl::bootstrap
