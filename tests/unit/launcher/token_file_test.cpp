#include "launcher/commands/token_file.h"

#include <gmock/gmock.h>

namespace dsl::launcher {
namespace {

TEST(TokenFile, ReadsAllThreeForms) {
  const std::vector<std::int32_t> expected = {1, 20, 300};
  for (const char* text :
       {"1,20,300", "1 20\n300\n", "[1, 20, 300]", "  [1,\n20 300]\n", "1, 20,,300,"}) {
    const auto ids = parse_token_ids(text, "t");
    ASSERT_TRUE(ids) << text << ": " << ids.error().to_string();
    EXPECT_EQ(*ids, expected) << text;
  }
}

TEST(TokenFile, NamesWhatIsNoTokenId) {
  for (const char* text : {"", "[]", "[1,2", "1,x", "1.5", "-3", "99999999999", "[[1]]", "1;2"}) {
    const auto ids = parse_token_ids(text, "file.txt");
    ASSERT_FALSE(ids) << text;
    EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(ids.error().message, testing::StartsWith("file.txt: "));
  }
}

TEST(TokenFile, MissingFilesAreNamed) {
  EXPECT_THAT(read_text_file("/no/such/file").error().message, testing::HasSubstr("/no/such/file"));
}

}  // namespace
}  // namespace dsl::launcher
