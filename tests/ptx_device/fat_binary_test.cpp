#include "tests/ptx_device/fat_binary.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/emulated_cuda/runtime_layout.h"  // holds for NVIDIA's header, which is in the path

namespace dsl::test::ptx {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kEntryHeaderBytes = 80;
constexpr std::uint16_t kPtx = 1;
constexpr std::uint16_t kElf = 2;

template <typename T>
void put(Bytes& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

Bytes entry_of(std::uint16_t kind, std::uint32_t architecture, std::string_view text) {
  const std::size_t padded = (text.size() / 8 + 1) * 8;
  Bytes entry(kEntryHeaderBytes + padded);
  put(entry, 0, kind);
  put<std::uint32_t>(entry, 4, kEntryHeaderBytes);
  put<std::uint64_t>(entry, 8, padded);
  put(entry, 28, architecture);
  std::memcpy(entry.data() + kEntryHeaderBytes, text.data(), text.size());
  return entry;
}

Bytes binary_of(const std::vector<Bytes>& entries) {
  Bytes binary(kHeaderBytes);
  for (const Bytes& entry : entries) binary.insert(binary.end(), entry.begin(), entry.end());
  put<std::uint32_t>(binary, 0, 0xba55ed50);
  put<std::uint16_t>(binary, 6, kHeaderBytes);
  put<std::uint64_t>(binary, 8, binary.size() - kHeaderBytes);
  return binary;
}

const std::string kText = "\n.version 9.0\n.target sm_90a\n.address_size 64\n";
const std::string kPlainText = "\n.version 9.0\n.target sm_90\n.address_size 64\n";

ErrorCode code_of(const Result<std::string_view>& result) {
  return result ? ErrorCode{} : result.error().code;
}

TEST(FatBinaryTest, FindsThePtxOfTheArchitecture) {
  const Bytes binary = binary_of({entry_of(kPtx, 80, kPlainText), entry_of(kElf, 90, "code"),
                                  entry_of(kPtx, 90, kPlainText), entry_of(kPtx, 90, kText)});
  ASSERT_TRUE(ptx_of(binary));
  EXPECT_EQ(*ptx_of(binary), kText);

  const struct {
    std::uint32_t magic = 0x466243b1;
    std::uint32_t version = 1;
    const std::byte* data;
    const void* file = nullptr;
  } registered{.data = binary.data()};
  ASSERT_TRUE(registered_ptx(&registered));
  EXPECT_EQ(*registered_ptx(&registered), kText);
}

TEST(FatBinaryTest, SaysWhatItHasForOtherArchitectures) {
  const auto found = ptx_of(binary_of(
      {entry_of(kPtx, 80, kText), entry_of(kElf, 90, kText), entry_of(kPtx, 90, kPlainText)}));
  ASSERT_EQ(code_of(found), ErrorCode::kNotFound);
  EXPECT_NE(found.error().message.find("PTX of sm_80 code of sm_90"), std::string::npos)
      << found.error().message;
  EXPECT_EQ(code_of(ptx_of(binary_of({}))), ErrorCode::kNotFound);
}

TEST(FatBinaryTest, NamesTheFlagThatLeavesOutCompression) {
  Bytes entry = entry_of(kPtx, 90, kText);
  put<std::uint32_t>(entry, 16, 40);
  const auto found = ptx_of(binary_of({entry}));
  ASSERT_EQ(code_of(found), ErrorCode::kInvalidArgument);
  EXPECT_NE(found.error().remedy.find("-no-compress"), std::string::npos);
}

TEST(FatBinaryTest, RefusesEveryTruncation) {
  const Bytes whole = binary_of({entry_of(kPtx, 80, kText), entry_of(kPtx, 90, kText)});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(code_of(ptx_of(part)), ErrorCode::kInvalidArgument) << size;
    if (size <= kHeaderBytes) continue;
    // Of entries that the header does count.
    put<std::uint64_t>(part, 8, size - kHeaderBytes);
    const bool ends_with_entry = size == kHeaderBytes + entry_of(kPtx, 80, kText).size();
    EXPECT_EQ(code_of(ptx_of(part)),
              ends_with_entry ? ErrorCode::kNotFound : ErrorCode::kInvalidArgument)
        << size;
  }
}

TEST(FatBinaryTest, RefusesSizesThatLeaveTheBinary) {
  const Bytes whole = binary_of({entry_of(kPtx, 90, kText)});
  const auto with = [&](std::size_t offset, auto value) {
    Bytes bytes = whole;
    put(bytes, offset, value);
    return code_of(ptx_of(bytes));
  };
  EXPECT_EQ(with(0, std::uint32_t{1}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with(6, std::uint16_t{8}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with(6, std::uint16_t{0xffff}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with(8, ~std::uint64_t{0}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with(kHeaderBytes + 4, std::uint32_t{0}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with(kHeaderBytes + 4, ~std::uint32_t{0}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with(kHeaderBytes + 8, ~std::uint64_t{0}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with(kHeaderBytes + 8, ~std::uint64_t{0} - 79), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace dsl::test::ptx
