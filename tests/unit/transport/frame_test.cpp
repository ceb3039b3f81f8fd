// The rendezvous protocol's frames, whole, in pieces and corrupt.
#include "transport/bootstrap/frame.h"

#include <gtest/gtest.h>

#include <random>

#include "transport/base/crypto.h"
#include "transport/bootstrap/socket.h"

namespace dsl::bootstrap {
namespace {

constexpr std::size_t kLimit = 1000;

TEST(FrameTest, FramesComeOutWholeHoweverTheBytesArrive) {
  const std::string stream = encode_frame(FrameType::kReport, "one") +
                             encode_frame(FrameType::kBeat, "") +
                             encode_frame(FrameType::kExchange, std::string(900, 'x'));
  std::string buffer;
  std::vector<Frame> frames;
  for (const char byte : stream) {
    buffer.push_back(byte);
    auto frame = take_frame(buffer, kLimit);
    ASSERT_TRUE(frame);
    if (frame->has_value()) frames.push_back(std::move(**frame));
  }
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].payload, "one");
  EXPECT_EQ(frames[1].type, FrameType::kBeat);
  EXPECT_EQ(frames[2].payload.size(), 900u);
  EXPECT_TRUE(buffer.empty());
}

TEST(FrameTest, LengthsBeyondTheLimitAndUnknownTypesAreProtocolErrors) {
  std::string too_long = encode_frame(FrameType::kReport, std::string(kLimit, 'x'));
  EXPECT_EQ(take_frame(too_long, kLimit).error().code, ErrorCode::kProtocol);
  std::string empty(4, '\0');
  EXPECT_EQ(take_frame(empty, kLimit).error().code, ErrorCode::kProtocol);
  std::string unknown = encode_frame(static_cast<FrameType>(99), "x");
  EXPECT_EQ(take_frame(unknown, kLimit).error().code, ErrorCode::kProtocol);
}

TEST(FrameTest, RandomBytesNeverCrashTheReaders) {
  const unsigned seed = 7;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 12);
    PayloadReader reader(bytes);
    while (reader.text()) {
    }
    (void)read_error(reader);
    while (true) {
      const auto frame = take_frame(bytes, kLimit);
      if (!frame || !frame->has_value()) break;
    }
  }
}

TEST(FrameTest, PayloadFieldsRoundTripAndRefuseToOverrun) {
  const std::string payload = PayloadWriter().u32(0xdeadbeef).text("hello").take();
  PayloadReader reader(payload);
  EXPECT_EQ(reader.u32().value(), 0xdeadbeefu);
  EXPECT_FALSE(reader.finish());
  EXPECT_EQ(reader.text().value(), "hello");
  EXPECT_TRUE(reader.finish());
  EXPECT_EQ(reader.u32().error().code, ErrorCode::kProtocol);
  const std::string lying = PayloadWriter().u32(1000).take() + "short";
  EXPECT_EQ(PayloadReader(lying).text().error().code, ErrorCode::kProtocol);
}

TEST(CryptoTest, HmacMatchesRfc4231) {
  // RFC 4231, test case 2.
  const std::string data = "what do ya want for nothing?";
  const auto digest = hmac_sha256("Jefe", std::as_bytes(std::span(data)));
  ASSERT_TRUE(digest);
  std::string hex;
  for (const std::byte byte : *digest) hex += fmt::format("{:02x}", static_cast<int>(byte));
  EXPECT_EQ(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(SocketTest, AddressesAreParsedStrictly) {
  EXPECT_EQ(parse_host_port("node1:80")->port, 80);
  EXPECT_EQ(parse_host_port("[::1]:80")->host, "::1");
  EXPECT_EQ(format_host_port({"::1", 80}), "[::1]:80");
  for (const char* bad : {"", "node1", "node1:", ":80", "node1:0", "node1:65536", "node1:8x"}) {
    EXPECT_FALSE(parse_host_port(bad)) << bad;
  }
}

}  // namespace
}  // namespace dsl::bootstrap
