#include "tests/ptx_device/fat_binary.h"

#include <cstdint>
#include <cstring>
#include <string>

namespace dsl::test::ptx {
namespace {

// As seen in objects of nvcc 13.0. All is little-endian; a binary's header is followed by entries,
// each a header and what it holds.
constexpr std::uint32_t kRegisteredMagic = 0x466243b1;
constexpr std::uint32_t kBinaryMagic = 0xba55ed50;
constexpr std::uint16_t kPtxKind = 1;
constexpr std::uint32_t kArchitecture = 90;
constexpr std::string_view kTarget = ".target sm_90a";
constexpr std::string_view kRemedy = "compile with nvcc -no-compress for compute_90a";

struct Registered {
  std::uint32_t magic = 0;
  std::uint32_t version = 0;
  const std::byte* binary = nullptr;
  const void* file = nullptr;
};

struct BinaryHeader {
  std::uint32_t magic = 0;
  std::uint16_t version = 0;
  std::uint16_t header_bytes = 0;
  std::uint64_t entries_bytes = 0;
};

struct EntryHeader {
  std::uint16_t kind = 0;
  std::uint16_t version = 0;
  std::uint32_t header_bytes = 0;
  std::uint64_t bytes = 0;             // behind the header, with what fills it up
  std::uint32_t compressed_bytes = 0;  // 0: not compressed
  std::uint32_t options_offset = 0;
  std::uint16_t minor = 0;
  std::uint16_t major = 0;
  std::uint32_t architecture = 0;
};

template <typename Header>
Result<Header> header_of(std::span<const std::byte> bytes, std::string_view what) {
  Header header;
  if (bytes.size() < sizeof(header)) {
    return fail(ErrorCode::kInvalidArgument, kRemedy, "a fat binary's {} is {} of {} bytes", what,
                bytes.size(), sizeof(header));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  return header;
}

/// What follows a header, which says how long itself and the rest are.
template <typename Header>
Result<std::span<const std::byte>> behind(const Header& header, std::uint64_t size,
                                          std::span<const std::byte> bytes, std::string_view what) {
  const std::uint64_t begin = header.header_bytes;
  if (begin < sizeof(header) || begin > bytes.size() || size > bytes.size() - begin) {
    return fail(ErrorCode::kInvalidArgument, kRemedy,
                "a fat binary's {} says {} + {} bytes, and there are {}", what, begin, size,
                bytes.size());
  }
  return bytes.subspan(begin, size);
}

Result<BinaryHeader> binary_header(std::span<const std::byte> binary) {
  DSL_ASSIGN(const BinaryHeader header, header_of<BinaryHeader>(binary, "header"));
  if (header.magic != kBinaryMagic) {
    return fail(ErrorCode::kInvalidArgument, kRemedy, "a fat binary begins with {:#x}, not {:#x}",
                header.magic, kBinaryMagic);
  }
  return header;
}

}  // namespace

Result<std::string_view> ptx_of(std::span<const std::byte> binary) {
  DSL_ASSIGN(const BinaryHeader header, binary_header(binary));
  DSL_ASSIGN(std::span<const std::byte> entries,
             behind(header, header.entries_bytes, binary, "header"));
  std::string others;
  while (!entries.empty()) {
    DSL_ASSIGN(const EntryHeader entry, header_of<EntryHeader>(entries, "entry"));
    DSL_ASSIGN(const std::span<const std::byte> held, behind(entry, entry.bytes, entries, "entry"));
    entries = entries.subspan(entry.header_bytes + held.size());
    others +=
        fmt::format(" {} of sm_{}", entry.kind == kPtxKind ? "PTX" : "code", entry.architecture);
    if (entry.kind != kPtxKind || entry.architecture != kArchitecture) continue;
    if (entry.compressed_bytes != 0) {
      return fail(ErrorCode::kInvalidArgument, kRemedy, "a fat binary's PTX is compressed");
    }
    const std::string_view padded(reinterpret_cast<const char*>(held.data()), held.size());
    const std::string_view text = padded.substr(0, padded.find('\0'));
    if (text.find(kTarget) != std::string_view::npos) return text;
  }
  return fail(ErrorCode::kNotFound, kRemedy, "a fat binary has no PTX for sm_90a, but{}",
              others.empty() ? " nothing" : others);
}

Result<std::string_view> registered_ptx(const void* registered) {
  Registered wrapper;
  std::memcpy(&wrapper, registered, sizeof(wrapper));
  if (wrapper.magic != kRegisteredMagic || wrapper.binary == nullptr) {
    return fail(ErrorCode::kInvalidArgument, kRemedy,
                "what a program registers begins with {:#x}, not {:#x}", wrapper.magic,
                kRegisteredMagic);
  }
  DSL_ASSIGN(const BinaryHeader header, binary_header({wrapper.binary, sizeof(BinaryHeader)}));
  return ptx_of({wrapper.binary, header.header_bytes + header.entries_bytes});
}

}  // namespace dsl::test::ptx
